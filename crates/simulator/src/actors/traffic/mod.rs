//! The data plane as a fluid: a flow of requests per second goes to the endpoints each proxy knows,
//! whatever the pods behind them can do by now. Counts per pod what was sent, what failed and what
//! was lost. Whole numbers of millionths of a request, so that nothing drifts. No Kubernetes object
//! is read here: proxies and kubelets say what they know.

mod ledger;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

pub use ledger::{Counters, Loss, PodFacts, PodTraffic, Why};

use self::ledger::Pod;
use super::client::lock;
use super::informer::Name;

/// Millionths in a request.
pub const MILLION: u64 = 1_000_000;

/// Where a flow goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A Service, through a proxy on each node.
    Service(Name),
    /// A route with weights, through gateways that know routes and endpoints.
    Route(Name),
}

#[derive(Clone, Debug)]
struct Flow {
    target: Target,
    per_second: u64,
}

/// What one proxy knows.
#[derive(Debug, Default)]
struct Proxy {
    /// IPs by Service, in order.
    endpoints: BTreeMap<Name, Vec<String>>,
    /// Services and weights by route.
    routes: BTreeMap<Name, Vec<(Name, u64)>>,
}

#[derive(Debug)]
struct State {
    until: Instant,
    request: Duration,
    proxies: Vec<Proxy>,
    flows: BTreeMap<String, Flow>,
    /// Millionths of answers that are errors, by image.
    errors: BTreeMap<String, u64>,
    pods: BTreeMap<String, Pod>,
    /// Pods that are gone, with what they were sent, oldest first.
    past: Vec<PodTraffic>,
    losses: Vec<Loss>,
}

/// The data plane; a handle.
#[derive(Clone, Debug)]
pub struct Traffic(Arc<Mutex<State>>);

impl Traffic {
    /// With this many proxies among which each flow is split evenly, and requests that last
    /// `request`: so long a pod must go on after the last one was sent to it.
    #[must_use]
    pub fn new(proxies: usize, request: Duration) -> Self {
        Self(Arc::new(Mutex::new(State {
            until: Instant::now(),
            request,
            proxies: (0..proxies.max(1)).map(|_| Proxy::default()).collect(),
            flows: BTreeMap::new(),
            errors: BTreeMap::new(),
            pods: BTreeMap::new(),
            past: Vec::new(),
            losses: Vec::new(),
        })))
    }

    /// Runs `change` with everything counted up to now.
    fn settled<T>(&self, change: impl FnOnce(&mut State, Instant) -> T) -> T {
        let now = Instant::now();
        let mut state = lock(&self.0);
        state.flow_until(now);
        change(&mut state, now)
    }

    /// Starts, changes or (with 0) stops a flow.
    pub fn flow(&self, name: &str, target: Target, per_second: u64) {
        self.settled(|state, _| {
            if per_second == 0 {
                state.flows.remove(name);
            } else {
                state
                    .flows
                    .insert(name.to_owned(), Flow { target, per_second });
            }
        });
    }

    /// From now on this many of a million answers of pods with this image are errors.
    pub fn set_errors(&self, image: &str, per_million: u32) {
        self.settled(|state, _| {
            state
                .errors
                .insert(image.to_owned(), u64::from(per_million).min(MILLION));
        });
    }

    /// A container starts; it does not accept yet. Its own counters begin at 0.
    pub fn started(&self, ip: &str, facts: &PodFacts) {
        self.settled(|state, _| {
            let pod = state
                .pods
                .entry(ip.to_owned())
                .or_insert_with(|| Pod::new(facts.clone()));
            pod.started();
        });
    }

    /// Whether it accepts connections from now on.
    pub fn accepts(&self, ip: &str, accepts: bool) {
        self.settled(|state, _| {
            if let Some(pod) = state.pods.get_mut(ip) {
                pod.accepts(accepts);
            }
        });
    }

    /// Its process has ended: open requests are lost.
    pub fn ended(&self, ip: &str) {
        self.settled(|state, now| {
            let request = state.request;
            if let Some(pod) = state.pods.get_mut(ip) {
                let open = pod.ended(now, request);
                let facts = pod.facts().clone();
                state.lose(now, now, Some(facts), Why::Open, open);
            }
        });
    }

    /// The pod is gone and its address with it.
    pub fn gone(&self, ip: &str) {
        self.ended(ip);
        self.settled(|state, _| {
            if let Some(pod) = state.pods.remove(ip) {
                state.past.push(pod.traffic(ip));
            }
        });
    }

    /// What a proxy knows of a Service from now on; nothing known is no endpoint.
    pub fn learn(&self, proxy: usize, service: &Name, endpoints: Vec<String>) {
        self.settled(|state, _| {
            if let Some(proxy) = state.proxies.get_mut(proxy) {
                proxy.endpoints.insert(service.clone(), endpoints);
            }
        });
    }

    /// What a gateway knows of a route from now on.
    pub fn learn_route(&self, proxy: usize, route: &Name, weights: Vec<(Name, u64)>) {
        self.settled(|state, _| {
            if let Some(proxy) = state.proxies.get_mut(proxy) {
                proxy.routes.insert(route.clone(), weights);
            }
        });
    }

    /// Every pod so far, past ones first, then those of now by address.
    #[must_use]
    pub fn pods(&self) -> Vec<PodTraffic> {
        self.settled(|state, _| {
            let now = state.pods.iter().map(|(ip, pod)| pod.traffic(ip));
            state.past.iter().cloned().chain(now).collect()
        })
    }

    /// Every loss so far, in order; one that goes on is one entry.
    #[must_use]
    pub fn losses(&self) -> Vec<Loss> {
        self.settled(|state, _| state.losses.clone())
    }

    /// Millionths of requests lost so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.losses().iter().map(|loss| loss.millionths).sum()
    }

    /// What the container at this address would tell of itself; nothing if none accepts there.
    #[must_use]
    pub fn counters(&self, ip: &str) -> Option<Counters> {
        self.settled(|state, _| state.pods.get(ip).and_then(Pod::counters))
    }

    /// Who is at this address.
    #[must_use]
    pub fn facts(&self, ip: &str) -> Option<PodFacts> {
        lock(&self.0).pods.get(ip).map(|pod| pod.facts().clone())
    }

    /// Millionths of a flow that go to each address now, as the proxies know it.
    #[must_use]
    pub fn shares(&self, target: &Target) -> BTreeMap<String, u64> {
        let state = lock(&self.0);
        let mut shares = BTreeMap::new();
        for (proxy, part) in state
            .proxies
            .iter()
            .zip(split(MILLION, state.proxies.len()))
        {
            for (ip, amount) in proxy.spread(target, part) {
                *shares.entry(ip.unwrap_or_default().to_owned()).or_default() += amount;
            }
        }
        shares
    }
}

/// `amount` in `count` parts that differ by one at most and add up to it.
fn split(amount: u64, count: usize) -> impl Iterator<Item = u64> {
    let count = u64::try_from(count.max(1)).unwrap_or(1);
    (0..count).map(move |index| amount / count + u64::from(index < amount % count))
}

impl Proxy {
    /// To which address how much goes; to none where nothing is known.
    fn spread(&self, target: &Target, amount: u64) -> Vec<(Option<&str>, u64)> {
        match target {
            Target::Service(service) => self.spread_service(service, amount),
            Target::Route(route) => {
                let weights = self.routes.get(route).map_or(&[][..], Vec::as_slice);
                let sum: u64 = weights.iter().map(|(_, weight)| weight).sum();
                if sum == 0 {
                    return vec![(None, amount)];
                }
                let mut left = amount;
                let mut rest = sum;
                let mut parts = Vec::new();
                for (service, weight) in weights.iter().filter(|(_, weight)| *weight > 0) {
                    // Of what is left, so that the parts add up.
                    let part =
                        u64::try_from(u128::from(left) * u128::from(*weight) / u128::from(rest))
                            .unwrap_or(left);
                    left -= part;
                    rest -= weight;
                    parts.extend(self.spread_service(service, part));
                }
                parts
            }
        }
    }

    fn spread_service(&self, service: &Name, amount: u64) -> Vec<(Option<&str>, u64)> {
        match self.endpoints.get(service) {
            Some(known) if !known.is_empty() => known
                .iter()
                .zip(split(amount, known.len()))
                .map(|(ip, part)| (Some(ip.as_str()), part))
                .collect(),
            _ => vec![(None, amount)],
        }
    }
}

impl State {
    fn flow_until(&mut self, now: Instant) {
        let from = std::mem::replace(&mut self.until, now);
        let micros =
            u64::try_from(now.saturating_duration_since(from).as_micros()).unwrap_or_default();
        if micros == 0 || self.flows.is_empty() {
            return;
        }
        let mut lost = Vec::new();
        for flow in self.flows.values() {
            // Requests per second times microseconds are millionths of requests.
            let amount = flow.per_second * micros;
            for (proxy, part) in self.proxies.iter().zip(split(amount, self.proxies.len())) {
                for (ip, part) in proxy.spread(&flow.target, part) {
                    let Some(ip) = ip else {
                        lost.push((None, Why::NoEndpoint, part));
                        continue;
                    };
                    let Some(pod) = self.pods.get_mut(ip) else {
                        lost.push((None, Why::Gone, part));
                        continue;
                    };
                    let errors = self.errors.get(pod.image()).copied().unwrap_or_default();
                    if let Some(why) = pod.send(part, errors, from, now, self.request) {
                        lost.push((Some(pod.facts().clone()), why, part));
                    }
                }
            }
        }
        for (facts, why, part) in lost {
            self.lose(from, now, facts, why, part);
        }
    }

    /// Notes a loss; one that goes on without a pause extends its entry.
    fn lose(
        &mut self,
        from: Instant,
        to: Instant,
        pod: Option<PodFacts>,
        why: Why,
        millionths: u64,
    ) {
        if millionths == 0 {
            return;
        }
        if let Some(last) = self
            .losses
            .iter_mut()
            .rev()
            .take_while(|loss| loss.to >= from)
            .find(|loss| loss.why == why && loss.pod == pod)
        {
            last.to = to;
            last.millionths += millionths;
            return;
        }
        self.losses.push(Loss {
            from,
            to,
            pod,
            why,
            millionths,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        ("shop".to_owned(), text.to_owned())
    }

    fn pod(text: &str) -> PodFacts {
        PodFacts {
            namespace: "shop".to_owned(),
            name: text.to_owned(),
            uid: text.to_owned(),
            image: "app:1".to_owned(),
        }
    }

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn requests_are_split_among_what_is_known_and_lost_where_nobody_accepts() {
        let traffic = Traffic::new(2, Duration::from_millis(100));
        for ip in ["10.0.0.1", "10.0.0.2"] {
            traffic.started(ip, &pod(ip));
            traffic.accepts(ip, true);
        }
        let web = name("web");
        for proxy in 0..2 {
            traffic.learn(proxy, &web, vec!["10.0.0.1".into(), "10.0.0.2".into()]);
        }
        traffic.set_errors("app:1", 100_000);
        traffic.flow("users", Target::Service(web.clone()), 100);
        pass(10).await;
        let counters = traffic.counters("10.0.0.1").unwrap();
        assert_eq!((counters.requests(), counters.errors()), (500, 50));
        assert_eq!(traffic.lost(), 0);
        // The second one exits: what was open is lost, and what proxies send until they learn.
        traffic.ended("10.0.0.2");
        pass(1).await;
        traffic.learn(0, &web, vec!["10.0.0.1".into()]);
        pass(1).await;
        traffic.learn(1, &web, vec!["10.0.0.1".into()]);
        pass(10).await;
        let losses: Vec<(Why, u64)> = traffic
            .losses()
            .iter()
            .map(|loss| (loss.why, loss.millionths / MILLION))
            .collect();
        assert_eq!(losses, [(Why::Open, 5), (Why::NotAccepting, 75)]);
        let sent: u64 = traffic.pods().iter().map(|pod| pod.answered).sum::<u64>() + traffic.lost();
        assert_eq!(sent, 2200 * MILLION, "every request is somewhere");
    }

    #[tokio::test(start_paused = true)]
    async fn routes_split_by_weight_and_no_endpoint_is_a_loss() {
        let traffic = Traffic::new(1, Duration::ZERO);
        for ip in ["10.0.0.1", "10.0.0.2"] {
            traffic.started(ip, &pod(ip));
            traffic.accepts(ip, true);
        }
        traffic.learn(0, &name("web"), vec!["10.0.0.1".into()]);
        traffic.learn(0, &name("web-new"), vec!["10.0.0.2".into()]);
        let route = Target::Route(name("web"));
        traffic.flow("users", route.clone(), 100);
        pass(1).await;
        assert_eq!(traffic.losses()[0].why, Why::NoEndpoint);
        traffic.learn_route(
            0,
            &name("web"),
            vec![(name("web"), 95), (name("web-new"), 5)],
        );
        pass(10).await;
        assert_eq!(traffic.counters("10.0.0.1").unwrap().requests(), 950);
        assert_eq!(traffic.counters("10.0.0.2").unwrap().requests(), 50);
        assert_eq!(traffic.shares(&route)["10.0.0.2"], 50_000);
        assert_eq!(traffic.lost(), 100 * MILLION);
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_begins_at_zero_and_the_total_goes_on() {
        let traffic = Traffic::new(1, Duration::ZERO);
        traffic.started("10.0.0.1", &pod("a"));
        traffic.accepts("10.0.0.1", true);
        traffic.learn(0, &name("web"), vec!["10.0.0.1".into()]);
        traffic.flow("users", Target::Service(name("web")), 10);
        pass(5).await;
        traffic.ended("10.0.0.1");
        assert!(traffic.counters("10.0.0.1").is_none());
        traffic.started("10.0.0.1", &pod("a"));
        traffic.accepts("10.0.0.1", true);
        pass(2).await;
        assert_eq!(traffic.counters("10.0.0.1").unwrap().requests(), 20);
        assert_eq!(traffic.pods()[0].answered, 70 * MILLION);
        traffic.gone("10.0.0.1");
        pass(1).await;
        assert_eq!(traffic.losses()[0].why, Why::Gone);
        assert_eq!(traffic.pods()[0].answered, 70 * MILLION);
    }
}
