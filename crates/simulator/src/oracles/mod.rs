//! The laws, checked after every change on raw objects, with code of their own: nothing of the planner,
//! of traffic-switching or of the kinds' types is asked. An oracle says what is wrong, never what to do.
//!
//! [`model`] keeps the objects, [`book`] what a release has been through; the laws are in [`traffic`],
//! [`handover`], [`writes`], [`fence`] and [`waits`], the state at rest in [`rest`].

pub mod book;
pub mod fence;
pub mod handover;
pub mod model;
pub mod rest;
pub mod traffic;
pub mod waits;
pub mod writes;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossfade_fakeapi::Change;

use crate::faults::Class;
use crate::faults::door::{ISSUED, Issued};
use crate::json::{annotation, label};
use crate::trace::lock;
use book::Book;
use fence::Fences;
use model::Model;

/// Something a law forbids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The law, `1` to `13`, or the name of another check.
    pub law: &'static str,
    /// Since the world began.
    pub at: Duration,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "law {} at {}.{:03} s: {}",
            self.law,
            self.at.as_secs(),
            self.at.subsec_millis(),
            self.what
        )
    }
}

/// What is known of a world from outside.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The controller's user name, and that of another installation.
    pub ourselves: Vec<String>,
    /// Shortest wait of settling and draining together, as the plan of the scenario says.
    pub drain: Duration,
    /// Between two scrapes; `None`: nothing is scraped.
    pub scrape: Option<Duration>,
    /// Longest time a write may take.
    pub write_timeout: Duration,
    /// How long a lease holds that is not renewed.
    pub lease: Duration,
    /// Longest time the controller's sight may lag behind in this world.
    pub lag: Duration,
}

/// How long something may last before it is a violation.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    calm: bool,
    since: Duration,
}

/// Under faults liveness is judged by this alone.
const UNDER_FAULTS: Duration = Duration::from_secs(300);

impl Patience {
    /// Whether a state that began at `since` has lasted longer than it may: `calm` without faults,
    /// minutes with them. Time under faults does not count against the calm limit.
    #[must_use]
    pub fn over(&self, since: Duration, calm: Duration, now: Duration) -> bool {
        if self.calm {
            now.saturating_sub(since.max(self.since)) > calm
        } else {
            now.saturating_sub(since) > UNDER_FAULTS
        }
    }
}

/// What the laws look at together.
#[derive(Debug)]
pub struct Sight<'a> {
    pub now: Duration,
    pub facts: &'a Facts,
    pub model: &'a Model,
    pub patience: Patience,
    /// By how much a controller's clock may be behind in this world.
    pub behind: Duration,
    /// The call a change came from, if it was the controller's.
    pub issued: Option<&'a Issued>,
    /// When that call was sent.
    pub sent_at: Duration,
}

struct Inner {
    facts: Facts,
    model: Model,
    /// By uid of the workload.
    books: BTreeMap<String, Book>,
    scraped: BTreeMap<String, Duration>,
    patience: Patience,
    behind: Duration,
    /// Admission was taken away.
    unguarded: bool,
    /// By the installation.
    leases: BTreeMap<String, Held>,
    fences: Fences,
    /// When something other than a lease was last written.
    written: Duration,
    looked: Duration,
    violations: Vec<Violation>,
}

/// A lease of an installation.
#[derive(Debug)]
struct Held {
    holder: String,
    since: Duration,
    /// When it was last written.
    renewed: Duration,
}

/// How long after a change of leader a call of the former one may still be on its way.
const ON_ITS_WAY: Duration = Duration::from_millis(200);

/// A leader renews at least this often, whatever the length of its lease: every five seconds, give or
/// take a slow call.
const RENEWED: Duration = Duration::from_secs(8);

/// Between two looks at what time alone makes wrong.
const LOOK: Duration = Duration::from_secs(1);
/// The same where nothing but leases was written for [`AT_REST`].
const LOOK_AT_REST: Duration = Duration::from_secs(10);
const AT_REST: Duration = Duration::from_secs(900);

/// All laws of one world.
pub struct Oracles {
    began: tokio::time::Instant,
    inner: Mutex<Inner>,
}

impl fmt::Debug for Oracles {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Oracles").finish_non_exhaustive()
    }
}

/// Violations kept: one is enough, a few more help.
const KEPT: usize = 20;

impl Oracles {
    /// Begins now, with nothing seen.
    #[must_use]
    pub fn new(facts: Facts) -> Arc<Self> {
        Arc::new(Self {
            began: tokio::time::Instant::now(),
            inner: Mutex::new(Inner {
                facts,
                model: Model::default(),
                books: BTreeMap::new(),
                scraped: BTreeMap::new(),
                patience: Patience {
                    calm: true,
                    since: Duration::ZERO,
                },
                behind: Duration::ZERO,
                unguarded: false,
                leases: BTreeMap::new(),
                fences: Fences::default(),
                written: Duration::ZERO,
                looked: Duration::ZERO,
                violations: Vec::new(),
            }),
        })
    }

    /// A commit.
    pub fn change(&self, change: &Change) {
        let now = self.began.elapsed();
        let issued = ISSUED.try_with(Arc::clone).ok();
        lock(&self.inner).change(change, now, issued.as_deref(), self.began);
    }

    /// A call of the controller, as it is sent.
    pub fn sent(&self, issued: &Issued) {
        let now = self.began.elapsed();
        let mut inner = lock(&self.inner);
        if let Some(what) = writes::precondition(issued) {
            inner.tell("12", now, what);
        }
        if issued.method == http::Method::PATCH && issued.path.contains("/services/") {
            for book in inner.books.values_mut() {
                let abort = book.abort.as_mut();
                if let Some(abort) = abort.filter(|_| issued.path.contains(&book.namespace)) {
                    abort.tried = true;
                }
            }
        }
        let Inner {
            facts,
            model,
            books,
            leases,
            fences,
            ..
        } = &mut *inner;
        let since = leases.get(&*issued.installation).map(|held| held.since);
        let late = fences.sent(issued, now, since, facts.write_timeout, model, books);
        if let Some(what) = late {
            inner.tell("7", now, what);
        }
        let process = format!("-{}-{}", issued.replica, issued.incarnation);
        let other = (inner.leases.get(&*issued.installation)).filter(|held| {
            !held.holder.is_empty()
                && !held.holder.ends_with(&process)
                && now.saturating_sub(held.since) >= ON_ITS_WAY
        });
        if issued.class == Class::Write
            && !issued.path.ends_with("/events")
            && let Some(held) = other
        {
            let what = format!("{} while {} holds the lease", issued.words(), held.holder);
            inner.tell("leader", now, what);
        }
    }

    /// A process is told what came of its write.
    pub fn answered(&self, issued: &Issued) {
        lock(&self.inner).fences.answered(issued);
    }

    /// A pod answered the controller's scrape with counters.
    pub fn scraped(&self, address: &str) {
        let now = self.began.elapsed();
        lock(&self.inner).scraped.insert(address.to_owned(), now);
    }

    /// Time passes. Gives when to look again: seldom where nothing is written any more, since what is
    /// wrong by time alone is wrong a few seconds later, too.
    pub fn tick(&self) -> Duration {
        let now = self.began.elapsed();
        let mut inner = lock(&self.inner);
        inner.look(now);
        if now.saturating_sub(inner.written) > AT_REST {
            LOOK_AT_REST
        } else {
            LOOK
        }
    }

    /// Faults begin or end.
    pub fn calm(&self, calm: bool) {
        let now = self.began.elapsed();
        lock(&self.inner).patience = Patience { calm, since: now };
    }

    /// A controller's clock may show so much less than the time: so much later come its deadlines.
    pub fn clocks_behind(&self, behind: Duration) {
        lock(&self.inner).behind = behind;
    }

    /// Somebody took admission away: nobody keeps what others store any more.
    pub fn unguarded(&self) {
        lock(&self.inner).unguarded = true;
    }

    /// Something found outside of the laws' own code.
    pub fn report(&self, law: &'static str, what: String) {
        let now = self.began.elapsed();
        lock(&self.inner).tell(law, now, what);
    }

    /// Everything found so far.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        lock(&self.inner).violations.clone()
    }

    /// What of the controller's is left on objects of a namespace at rest.
    #[must_use]
    pub fn leftovers(&self, namespace: &str) -> Vec<String> {
        rest::leftovers(&lock(&self.inner).model, namespace)
    }

    /// What a namespace looks like, without names, uids, versions and times.
    #[must_use]
    pub fn ending(&self, namespace: &str) -> serde_json::Value {
        rest::ending(&lock(&self.inner).model, namespace)
    }
}

impl Inner {
    fn tell(&mut self, law: &'static str, at: Duration, what: String) {
        if self.violations.len() < KEPT
            && !self
                .violations
                .iter()
                .any(|known| known.law == law && known.what == what)
        {
            self.violations.push(Violation { law, at, what });
        }
    }

    fn change(
        &mut self,
        change: &Change,
        now: Duration,
        issued: Option<&Issued>,
        began: tokio::time::Instant,
    ) {
        let ours = self.facts.ourselves.contains(&change.caller.user);
        // What was wrong before it must not be hidden by it.
        if change.key.resource != "leases" && now.saturating_sub(self.looked) > LOOK {
            self.look(now);
        }
        self.model.apply(change);
        if change.key.resource == "deployments" {
            self.keep_books(change);
        }
        if change.key.resource == "leases" {
            self.see_lease(change, now);
            return;
        }
        self.written = now;
        let mut found: Vec<(&'static str, String)> = Vec::new();
        if ours {
            found.extend(writes::touched(change, &self.books).map(|what| ("8", what)));
        }
        if ours || !self.unguarded {
            found.extend(
                writes::stored_unpaused(change, &self.model, &self.books).map(|what| ("9", what)),
            );
        }
        let sight = Sight {
            now,
            facts: &self.facts,
            model: &self.model,
            patience: self.patience(now),
            behind: self.behind,
            issued: issued.filter(|_| ours),
            sent_at: issued.map_or(now, |issued| issued.at.saturating_duration_since(began)),
        };
        for book in self.books.values_mut() {
            if book.namespace != change.key.namespace {
                continue;
            }
            book.see(change, &sight);
            if ours {
                traffic::of_a_write(book, change, &sight, &mut found);
                handover::of_a_write(book, change, &sight, &mut found);
            }
            handover::of_a_change(book, change, &sight, &mut found);
            waits::of_a_change(book, change, &sight, &self.scraped, &mut found);
            traffic::of_a_state(book, &sight, &mut found);
            book.seen(change, &sight);
        }
        for (law, what) in found {
            self.tell(law, now, what);
        }
    }

    /// Named like its installation.
    fn see_lease(&mut self, change: &Change, now: Duration) {
        let Some(lease) = change.after.as_deref() else {
            self.leases.remove(&change.key.name);
            return;
        };
        let holder = crate::json::text(lease, "/spec/holderIdentity");
        let held = (self.leases.entry(change.key.name.clone())).or_insert_with(|| Held {
            holder: holder.to_owned(),
            since: now,
            renewed: now,
        });
        held.renewed = now;
        if held.holder != holder {
            holder.clone_into(&mut held.holder);
            held.since = now;
        }
    }

    /// Patience begins anew with a leader, and lasts while an installation has none.
    fn patience(&self, now: Duration) -> Patience {
        let since = (self.leases.values().map(|held| held.since).max()).unwrap_or(now);
        let within = (self.facts.lease * 2 / 3).min(RENEWED);
        let renewed = (self.leases.values().map(|held| held.renewed).min()).unwrap_or_default();
        let led = now.saturating_sub(renewed) < within;
        Patience {
            since: self.patience.since.max(if led { since } else { now }),
            ..self.patience
        }
    }

    fn look(&mut self, now: Duration) {
        self.looked = now;
        let mut found = Vec::new();
        let patience = self.patience(now);
        let sight = Sight {
            now,
            facts: &self.facts,
            model: &self.model,
            patience,
            behind: self.behind,
            issued: None,
            sent_at: now,
        };
        for book in self.books.values_mut() {
            traffic::of_a_state(book, &sight, &mut found);
            waits::of_a_state(book, &sight, &mut found);
            writes::of_a_state(book, &sight, &mut found);
        }
        for (law, what) in found {
            self.tell(law, now, what);
        }
    }

    /// One book for each Deployment that is opted in, until it is gone.
    fn keep_books(&mut self, change: &Change) {
        let object = change.after.as_ref().or(change.before.as_ref());
        let Some(object) = object else { return };
        let uid = crate::json::text(object, "/metadata/uid").to_owned();
        let ours = !label(object, "crossfade.dev/rollout-uid").is_empty();
        let opted_in = !annotation(object, "crossfade.dev/strategy").is_empty();
        if change.after.is_none() {
            self.books.remove(&uid);
        } else if opted_in && !ours {
            self.books
                .entry(uid.clone())
                .or_insert_with(|| Book::new(&change.key.namespace, &change.key.name, &uid));
        }
    }
}
