//! The pods' own /metrics, as an answer to an outgoing request: text in the Prometheus format made from the
//! data plane's counters, in every way in which such an answer can be of no use. How it is read is
//! not known here.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;

use super::client::lock;
use super::delay::Delay;
use super::traffic::{Counters, Traffic};

/// Nobody is there: packets are dropped, the asker's own time limit ends it.
const SILENCE: Duration = Duration::from_secs(3600);
/// One series of a huge answer is about this long.
const LINE: usize = 64;

/// How pods tell their metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Telling {
    /// As they are.
    Plain,
    /// So much later.
    Late(Delay),
    /// 404.
    Missing,
    /// The connection is refused.
    Refused,
    /// Every number is NaN.
    NotANumber,
    /// The numbers of the first time, for ever.
    Stale,
    /// Counted anew since the last time it was asked, as a pod that restarts in between.
    Reset,
    /// This status and no text.
    Status(u16),
    /// This many bytes at least, all valid.
    Huge(usize),
    /// An HTML page with status 200.
    Page,
    /// The text breaks off in a line.
    Cut,
    /// No series of requests at all, others are there.
    NoSeries,
}

/// Where metrics are and what they are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    pub port: u16,
    pub path: String,
    pub requests: String,
    pub code_label: String,
}

impl Default for Series {
    fn default() -> Self {
        Self {
            port: 8080,
            path: "/metrics".to_owned(),
            requests: "http_requests_total".to_owned(),
            code_label: "code".to_owned(),
        }
    }
}

#[derive(Debug, Default)]
struct Table {
    by_image: BTreeMap<String, Telling>,
    by_address: BTreeMap<String, Telling>,
    kept: BTreeMap<String, Counters>,
    asked: BTreeMap<String, Counters>,
}

/// All pods' metrics; a handle.
#[derive(Clone, Debug)]
pub struct PodMetrics {
    traffic: Traffic,
    series: Series,
    random: Arc<Mutex<Rng>>,
    table: Arc<Mutex<Table>>,
}

impl PodMetrics {
    /// Made from these counters.
    #[must_use]
    pub fn new(traffic: Traffic, series: Series, random: Rng) -> Self {
        Self {
            traffic,
            series,
            random: Arc::new(Mutex::new(random)),
            table: Arc::default(),
        }
    }

    /// How pods of this image tell theirs from now on.
    pub fn set_image(&self, image: &str, telling: Telling) {
        lock(&self.table).by_image.insert(image.to_owned(), telling);
    }

    /// How the pod at this address does; it wins over the image.
    pub fn set_address(&self, ip: &str, telling: Telling) {
        lock(&self.table).by_address.insert(ip.to_owned(), telling);
    }

    /// Every pod tells its metrics as they are again.
    pub fn heal(&self) {
        let mut table = lock(&self.table);
        table.by_image.clear();
        table.by_address.clear();
        table.kept.clear();
        table.asked.clear();
    }

    /// Answers a GET of this address.
    ///
    /// # Errors
    /// In words, when there is no HTTP answer at all.
    pub async fn answer(&self, uri: &http::Uri) -> Result<http::Response<Bytes>, String> {
        let ip = uri.host().unwrap_or_default().to_owned();
        let Some(facts) = self.traffic.facts(&ip) else {
            tokio::time::sleep(SILENCE).await;
            return Err(format!("{ip}: connection timed out"));
        };
        let telling = {
            let table = lock(&self.table);
            table
                .by_address
                .get(&ip)
                .or_else(|| table.by_image.get(&facts.image))
                .cloned()
                .unwrap_or(Telling::Plain)
        };
        if let Telling::Late(delay) = &telling {
            let delay = delay.draw(&mut lock(&self.random));
            tokio::time::sleep(delay).await;
        }
        // Counted when it answers, not when it was asked.
        let counters = self.traffic.counters(&ip);
        let refused = || format!("{ip}:{}: connection refused", uri.port_u16().unwrap_or(80));
        let counters = counters
            .filter(|_| telling != Telling::Refused && uri.port_u16() == Some(self.series.port))
            .ok_or_else(refused)?;
        if uri.path() != self.series.path || telling == Telling::Missing {
            return Ok(response(404, "404 page not found\n".to_owned()));
        }
        Ok(match telling {
            Telling::Status(status) => response(status, String::new()),
            Telling::Page => response(200, "<!doctype html><title>Welcome</title>\n".to_owned()),
            Telling::NotANumber => response(200, self.text(Some("NaN"), counters)),
            Telling::Stale => {
                let kept = *lock(&self.table).kept.entry(ip).or_insert(counters);
                response(200, self.text(None, kept))
            }
            Telling::Reset => {
                let before = lock(&self.table)
                    .asked
                    .insert(ip, counters)
                    .unwrap_or_default();
                response(200, self.text(None, counters.since(&before)))
            }
            Telling::Huge(bytes) => {
                let mut text = self.text(None, counters);
                text.reserve(bytes);
                for number in 0..bytes.div_ceil(LINE) {
                    let _ = writeln!(
                        text,
                        "other_series_with_a_long_name_to_fill_it{{number=\"{number:09}\"}} 1.0"
                    );
                }
                response(200, text)
            }
            Telling::Cut => {
                let text = self.text(None, counters);
                let half = text.rfind('}').unwrap_or(text.len());
                response(200, text[..half].to_owned())
            }
            Telling::NoSeries => response(
                200,
                "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds 1\n"
                    .to_owned(),
            ),
            _ => response(200, self.text(None, counters)),
        })
    }

    fn text(&self, instead: Option<&str>, counters: Counters) -> String {
        let Series {
            requests,
            code_label,
            ..
        } = &self.series;
        let mut text = format!(
            "# HELP {requests} Requests answered, by status code.\n# TYPE {requests} counter\n"
        );
        let (all, errors) = (counters.requests(), counters.errors());
        for (code, count) in [("200", all - errors.min(all)), ("500", errors)] {
            // A series begins with its first request, as in every client library.
            if count > 0 {
                let count = instead.map_or_else(|| count.to_string(), str::to_owned);
                let _ = writeln!(text, "{requests}{{{code_label}=\"{code}\"}} {count}");
            }
        }
        text
    }
}

fn response(status: u16, text: String) -> http::Response<Bytes> {
    let mut response = http::Response::new(Bytes::from(text));
    *response.status_mut() =
        http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("text/plain; version=0.0.4"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::traffic::{PodFacts, Target};

    async fn ask(metrics: &PodMetrics) -> Result<(u16, String), String> {
        let uri = "http://10.244.0.1:8080/metrics".parse().unwrap();
        let answer = metrics.answer(&uri).await?;
        let text = String::from_utf8(answer.body().to_vec()).unwrap();
        Ok((answer.status().as_u16(), text))
    }

    #[tokio::test(start_paused = true)]
    async fn counters_as_text_and_every_way_to_be_of_no_use() {
        let traffic = Traffic::new(1, Duration::ZERO);
        let facts = PodFacts {
            namespace: "shop".into(),
            name: "web-1".into(),
            uid: "u".into(),
            image: "app:1".into(),
        };
        let metrics = PodMetrics::new(traffic.clone(), Series::default(), Rng::with_seed(1));
        traffic.started("10.244.0.1", &facts);
        assert!(ask(&metrics).await.unwrap_err().contains("refused"));
        traffic.accepts("10.244.0.1", true);
        let web = ("shop".to_owned(), "web".to_owned());
        traffic.learn(0, &web, vec!["10.244.0.1".into()]);
        traffic.set_errors("app:1", 50_000);
        traffic.flow("users", Target::Service(web), 100);
        tokio::time::advance(Duration::from_secs(10)).await;
        let (status, text) = ask(&metrics).await.unwrap();
        assert_eq!(status, 200);
        assert!(
            text.contains("http_requests_total{code=\"200\"} 950\n"),
            "{text}"
        );
        assert!(
            text.contains("http_requests_total{code=\"500\"} 50\n"),
            "{text}"
        );

        for (telling, status, part) in [
            (Telling::Missing, 404, ""),
            (Telling::Status(503), 503, ""),
            (Telling::NotANumber, 200, "{code=\"200\"} NaN"),
            (Telling::Page, 200, "<!doctype"),
            (Telling::NoSeries, 200, "process_start"),
        ] {
            metrics.set_image("app:1", telling.clone());
            let found = ask(&metrics).await.unwrap();
            assert_eq!(found.0, status, "{telling:?}");
            assert!(found.1.contains(part), "{telling:?}: {}", found.1);
        }
        metrics.set_image("app:1", Telling::Huge(5_000_000));
        assert!(ask(&metrics).await.unwrap().1.len() > 5_000_000);
        metrics.set_image("app:1", Telling::Cut);
        assert!(!ask(&metrics).await.unwrap().1.ends_with('\n'));
        metrics.set_image("app:1", Telling::Stale);
        let first = ask(&metrics).await.unwrap();
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(ask(&metrics).await.unwrap(), first);
        metrics.heal();
        assert_ne!(ask(&metrics).await.unwrap(), first);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_nobody_has_is_silent() {
        let metrics = PodMetrics::new(
            Traffic::new(1, Duration::ZERO),
            Series::default(),
            Rng::with_seed(1),
        );
        let asked = tokio::time::timeout(Duration::from_secs(2), ask(&metrics)).await;
        assert!(asked.is_err());
    }
}
