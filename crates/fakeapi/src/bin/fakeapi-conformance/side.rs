//! One of the two servers: sends a step as plain HTTP and reads what comes back, watches included.
//! Does not compare.

use std::time::Duration;

use anyhow::Context;
use crossfade_fakeapi::{Caller, FakeApi};
use http::Request;
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::Value;

use crate::normalise::Normaliser;
use crate::script::{Memory, Step};

/// Who both servers see; the first part is the field manager of writes that name none.
pub const AGENT: &str = "conformance/v1";

/// An answer, as it came or normalised.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub status: u16,
    /// An object, a list or a Status; the events of a watch as an array.
    pub body: Value,
    pub warnings: Vec<String>,
}

/// How long a watch is read.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// So many events are waited for.
    pub events: usize,
    /// That long at most.
    pub limit: Duration,
    /// And that long for one event more.
    pub quiet: Duration,
}

/// One server and what it said in this script.
#[derive(Clone)]
pub struct Side {
    client: Client,
    memory: Memory,
    normaliser: Normaliser,
}

/// A client of a fake server, as the administrator a kubeconfig of kubeadm names.
pub fn fake_client(api: &FakeApi) -> Client {
    let caller = Caller {
        user: "admin".to_owned(),
        groups: vec![
            "system:masters".to_owned(),
            "system:authenticated".to_owned(),
        ],
        agent: AGENT.to_owned(),
    };
    Client::new(api.service(caller), "default")
}

impl Side {
    /// `begin`: the resourceVersion the namespace began with.
    pub fn new(client: Client, namespace: &str, begin: &str) -> Self {
        Self {
            client,
            memory: Memory::new(namespace, begin),
            normaliser: Normaliser::new(namespace),
        }
    }

    /// Sends a step; the answer is normalised.
    ///
    /// # Errors
    /// When no answer came: the connection failed, or the answer is not JSON.
    pub async fn send(&mut self, step: &Step, patience: Patience) -> anyhow::Result<Answer> {
        let path = self.memory.text(&step.path);
        let body = step.body.as_ref().map(|body| self.memory.value(body));
        let answer = exchange(&self.client, step, &path, body.as_ref(), patience).await?;
        self.memory.learn(step, answer.status, &answer.body);
        let body = match &answer.body {
            Value::Array(events) => events
                .iter()
                .map(|event| self.normaliser.answer(event))
                .collect(),
            body => self.normaliser.answer(body),
        };
        Ok(Answer {
            status: answer.status,
            body,
            warnings: answer
                .warnings
                .iter()
                .map(|text| self.normaliser.text(text))
                .collect(),
        })
    }
}

/// One exchange, nothing normalised.
///
/// # Errors
/// See [`Side::send`].
pub async fn exchange(
    client: &Client,
    step: &Step,
    path: &str,
    body: Option<&Value>,
    patience: Patience,
) -> anyhow::Result<Answer> {
    let mut request = Request::builder()
        .method(step.method.clone())
        .uri(path)
        .header(http::header::USER_AGENT, AGENT)
        .header(http::header::ACCEPT, step.accept);
    if body.is_some() {
        request = request.header(http::header::CONTENT_TYPE, step.content_type);
    }
    let bytes = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
    let request = request
        .body(Body::from(bytes))
        .with_context(|| format!("{path} is not a path"))?;
    let response = tokio::time::timeout(Duration::from_secs(40), client.send(request))
        .await
        .with_context(|| format!("no answer to {} {path}", step.method))?
        .with_context(|| format!("{} {path}", step.method))?;
    let status = response.status().as_u16();
    let warnings = response
        .headers()
        .get_all(http::header::WARNING)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect();
    let body = if step.is_watch() && status == 200 {
        Value::Array(events(response.into_body(), patience).await?)
    } else {
        let bytes = response.into_body().collect().await?.to_bytes();
        serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()))
    };
    Ok(Answer {
        status,
        body,
        warnings,
    })
}

async fn events(mut body: Body, patience: Patience) -> anyhow::Result<Vec<Value>> {
    let mut events = Vec::new();
    let mut unread = Vec::new();
    let begin = tokio::time::Instant::now();
    loop {
        let wait = if events.len() < patience.events {
            patience.limit.saturating_sub(begin.elapsed())
        } else {
            patience.quiet
        };
        let Ok(Some(frame)) = tokio::time::timeout(wait, body.frame()).await else {
            return Ok(events);
        };
        if let Ok(data) = frame?.into_data() {
            unread.extend_from_slice(&data);
        }
        while let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = unread.drain(..=end).collect();
            events.push(serde_json::from_slice(&line).context("a line of a watch")?);
        }
    }
}
