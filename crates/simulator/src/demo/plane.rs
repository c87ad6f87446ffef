//! The data plane of the demo: a proxy on loopback that gives each new connection to one ready endpoint
//! of the Service, as kube-proxy does. It learns EndpointSlices late and in order; open connections stay
//! where they are. It never tries a second endpoint: a wrong one is a lost request, and is counted.

use crossfade_fakeapi::At;
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use crossfade_fakeapi::{Change, FakeApi};
use fastrand::Rng;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::backends::Backends;
use crate::actors::Delay;
use crate::json::{entries, label, text};
use crate::trace::lock;

/// Label of a slice that names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Most open connections.
const CONNECTIONS: usize = 512;

/// What the proxy knows: the slices of one Service.
#[derive(Clone, Debug, Default)]
pub struct Table {
    slices: BTreeMap<String, Arc<Value>>,
    usable: Vec<String>,
}

impl Table {
    /// Takes in one slice; nothing means it is gone.
    pub fn learn(&mut self, name: &str, slice: Option<Arc<Value>>) {
        match slice {
            Some(slice) => self.slices.insert(name.to_owned(), slice),
            None => self.slices.remove(name),
        };
        self.usable = usable(self.slices.values().map(Arc::as_ref));
    }

    /// Addresses a connection may go to.
    #[must_use]
    pub fn usable(&self) -> &[String] {
        &self.usable
    }

    /// One of them, each equally likely: so a Service splits by pods.
    pub fn pick(&self, draw: &mut Rng) -> Option<&str> {
        draw.choice(&self.usable).map(String::as_str)
    }
}

/// Ready endpoints; where there is none, those that still serve while they end.
fn usable<'a>(slices: impl Iterator<Item = &'a Value> + Clone) -> Vec<String> {
    let pick = |condition: &str, missing: bool| -> Vec<String> {
        slices
            .clone()
            .flat_map(|slice| entries(slice, "/endpoints"))
            .filter(|endpoint| {
                endpoint
                    .at(condition)
                    .and_then(Value::as_bool)
                    .unwrap_or(missing)
            })
            .map(|endpoint| text(endpoint, "/addresses/0").to_owned())
            .filter(|address| !address.is_empty())
            .collect()
    };
    let ready = pick("/conditions/ready", true);
    if ready.is_empty() {
        pick("/conditions/serving", false)
    } else {
        ready
    }
}

/// The proxy.
#[derive(Debug)]
pub struct Plane {
    listener: TcpListener,
    table: Arc<Mutex<Table>>,
    slices: mpsc::UnboundedReceiver<(Instant, String, Option<Arc<Value>>)>,
    backends: Backends,
    delay: Delay,
    draw: Rng,
}

impl Plane {
    /// Opens the port and begins to listen for slices of the Service.
    ///
    /// # Errors
    /// When there is no free port on loopback.
    pub async fn open(
        api: &FakeApi,
        service: &str,
        backends: &Backends,
        delay: Delay,
        draw: Rng,
    ) -> Result<Self, String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(|error| format!("no port on loopback: {error}"))?;
        let (sender, slices) = mpsc::unbounded_channel();
        let service = service.to_owned();
        api.observe(Arc::new(move |change: &Change| {
            if change.key.resource != "endpointslices" {
                return;
            }
            let known = change.after.as_ref().or(change.before.as_ref());
            if known.is_some_and(|slice| label(slice, SERVICE_NAME) == service) {
                // Nobody listens any more at the end of the demo.
                let _ = sender.send((
                    Instant::now(),
                    change.key.name.clone(),
                    change.after.clone(),
                ));
            }
        }));
        Ok(Self {
            listener,
            table: Arc::default(),
            slices,
            backends: backends.clone(),
            delay,
            draw,
        })
    }

    /// Where clients connect.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> Result<SocketAddr, String> {
        self.listener
            .local_addr()
            .map_err(|error| error.to_string())
    }

    /// What the proxy knows, to look at.
    #[must_use]
    pub fn table(&self) -> Arc<Mutex<Table>> {
        Arc::clone(&self.table)
    }

    /// Works until dropped.
    pub async fn run(mut self) {
        let mut connections = JoinSet::new();
        let mut coming: VecDeque<(Instant, String, Option<Arc<Value>>)> = VecDeque::new();
        loop {
            let due = coming.front().map(|(at, ..)| *at);
            let next = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some((at, name, slice)) = self.slices.recv() => {
                    let at = at + self.delay.draw(&mut self.draw);
                    // Never before what came earlier: a proxy sees changes in order.
                    let at = coming.back().map_or(at, |(last, ..)| at.max(*last));
                    coming.push_back((at, name, slice));
                }
                () = next => {
                    if let Some((_, name, slice)) = coming.pop_front() {
                        lock(&self.table).learn(&name, slice);
                    }
                }
                accepted = self.listener.accept() => {
                    while connections.try_join_next().is_some() {}
                    let chosen = lock(&self.table).pick(&mut self.draw).map(str::to_owned);
                    let address = chosen.and_then(|ip| self.backends.address(&ip));
                    if let (Ok((stream, _)), Some(address)) = (accepted, address)
                        && connections.len() < CONNECTIONS
                    {
                        connections.spawn(forward(stream, address));
                    }
                    // Otherwise the connection is dropped: nobody is there for it.
                }
            }
        }
    }
}

/// Bytes both ways until both ends are done.
async fn forward(mut client: TcpStream, address: SocketAddr) {
    let Ok(mut server) = TcpStream::connect(address).await else {
        return;
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    // A connection that breaks shows at its client.
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn slice(endpoints: &[(&str, bool, bool)]) -> Arc<Value> {
        let endpoints: Vec<Value> = endpoints
            .iter()
            .map(|(address, ready, serving)| {
                json!({ "addresses": [address], "conditions": { "ready": ready, "serving": serving } })
            })
            .collect();
        Arc::new(json!({ "endpoints": endpoints }))
    }

    #[test]
    fn only_ready_endpoints_are_picked_and_each_as_often() {
        let mut table = Table::default();
        table.learn(
            "a",
            Some(slice(&[
                ("10.0.0.1", true, true),
                ("10.0.0.2", true, true),
                ("10.0.0.3", false, true),
            ])),
        );
        table.learn("b", Some(slice(&[("10.0.0.4", true, true)])));
        let mut draw = Rng::with_seed(7);
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for _ in 0..30_000 {
            *counts
                .entry(table.pick(&mut draw).unwrap().to_owned())
                .or_default() += 1;
        }
        assert_eq!(
            counts.keys().map(String::as_str).collect::<Vec<_>>(),
            ["10.0.0.1", "10.0.0.2", "10.0.0.4"]
        );
        for count in counts.values() {
            assert!((9_500..10_500).contains(count), "{counts:?}");
        }
    }

    #[test]
    fn serving_ones_are_the_last_resort_and_none_is_none() {
        let mut table = Table::default();
        let mut draw = Rng::with_seed(7);
        assert_eq!(table.pick(&mut draw), None);
        table.learn(
            "a",
            Some(slice(&[
                ("10.0.0.1", false, true),
                ("10.0.0.2", false, false),
            ])),
        );
        assert_eq!(table.usable(), ["10.0.0.1"]);
        table.learn("a", None);
        assert_eq!(table.pick(&mut draw), None);
    }
}
