//! Many callers on one service: what they tried, and what they were told became of it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::bookings::{self, Booking};
use super::deeds::Deed;
use super::dice::Dice;
use super::service::{Reply, Service};

/// Callers at the same time.
const CALLERS: u64 = 32;
/// How long a caller leaves a service alone that could not answer. Shorter than it asks for: it must bear that.
const PAUSE: Duration = Duration::from_millis(50);
/// How long the load may take to get on. A database that was killed recovers in a fraction of it.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a caller knows of a deed.
#[derive(Debug, Clone)]
pub(super) enum Fate {
    /// 2xx with this body: it is stored. `replayed`: of an earlier call.
    Acknowledged { body: Value, replayed: bool },
    /// 402 or 409: nothing was stored.
    Refused,
    /// No answer or a 503: it may be stored.
    Unknown,
}

impl Fate {
    /// Whether the answer says that the deed's nth wish had been carried out before; `None`: it was not carried out.
    pub(super) fn repeats(&self, nth: usize) -> Option<bool> {
        let Self::Acknowledged { body, replayed } = self else {
            return None;
        };
        Some(*replayed || body["results"][nth]["status"] == "duplicate")
    }
}

/// A deed, and what its caller knows of it.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) deed: Deed,
    pub(super) fate: Fate,
}

/// All that was tried.
pub(super) struct Tried {
    pub(super) attempts: Vec<Attempt>,
    pub(super) bookings: Vec<Booking>,
    /// Requests whose connection broke before an answer came.
    pub(super) lost: usize,
    /// Requests that were answered 503.
    pub(super) unavailable: usize,
}

impl Tried {
    /// How many were turned away by a cap.
    pub(super) fn denied(&self) -> usize {
        let denied =
            |attempt: &&Attempt| attempt.deed.is_capped() && matches!(attempt.fate, Fate::Refused);
        self.attempts.iter().filter(denied).count()
    }
}

/// Callers at work, until they are stopped.
pub(super) struct Load {
    desk: Arc<Desk>,
    callers: Vec<JoinHandle<Vec<Attempt>>>,
    bookers: Vec<JoinHandle<Vec<Booking>>>,
}

impl Load {
    /// Sets the callers to work.
    pub(super) async fn start(base: &str, seed: u64) -> Self {
        let desk = Arc::new(Desk::new(base));
        for customer in Deed::customers() {
            desk.service.grant(&customer, "scale").await;
        }
        let callers = (0..CALLERS).map(|n| {
            let dice = Dice::new(seed, n);
            tokio::spawn(call(Arc::clone(&desk), n, dice))
        });
        let callers = callers.collect();
        let bookers = bookings::start(&desk, seed).await;
        Self {
            desk,
            callers,
            bookers,
        }
    }

    /// The service has another address now.
    pub(super) fn move_to(&self, base: &str) {
        self.desk.service.move_to(base);
    }

    /// Others take the places of the customers who are at their cap.
    pub(super) fn next_round(&self) {
        self.desk.round.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until so many more requests were acknowledged.
    pub(super) async fn until_acknowledged(&self, more: usize) {
        let acknowledged = || self.desk.acknowledged.load(Ordering::Relaxed);
        let goal = acknowledged() + more;
        let deadline = Instant::now() + PATIENCE;
        while acknowledged() < goal {
            assert!(
                Instant::now() < deadline,
                "{} of {goal} requests are acknowledged",
                acknowledged()
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Stops the callers, each once it has the answer it waits for.
    pub(super) async fn stop(self) -> Tried {
        self.desk.stopped.store(true, Ordering::Relaxed);
        let (mut attempts, mut bookings) = (Vec::new(), Vec::new());
        for caller in self.callers {
            attempts.extend(caller.await.unwrap());
        }
        for booker in self.bookers {
            bookings.extend(booker.await.unwrap());
        }
        self.desk.assert_no_offence();
        Tried {
            attempts,
            bookings,
            lost: self.desk.lost.load(Ordering::Relaxed),
            unavailable: self.desk.unavailable.load(Ordering::Relaxed),
        }
    }
}

async fn call(desk: Arc<Desk>, caller: u64, mut dice: Dice) -> Vec<Attempt> {
    let mut attempts = Vec::new();
    while !desk.is_stopped() {
        let round = desk.round.load(Ordering::Relaxed);
        let key = format!("{caller}-{}", attempts.len());
        let deed = Deed::random(&mut dice, round, &key);
        let mut fate = desk.attempt(&deed).await;
        // Half of those who are left in the dark ask again at once, as a client library does.
        while matches!(fate, Some(Fate::Unknown)) && dice.below(2) == 0 && !desk.is_stopped() {
            fate = desk.attempt(&deed).await.or(fate);
        }
        attempts.extend(fate.map(|fate| Attempt { deed, fate }));
    }
    attempts
}

/// Where all requests pass: it keeps the count of the answers, and a list of those that may never be given.
pub(super) struct Desk {
    pub(super) service: Service,
    round: AtomicUsize,
    acknowledged: AtomicUsize,
    lost: AtomicUsize,
    unavailable: AtomicUsize,
    stopped: AtomicBool,
    offences: Mutex<Vec<String>>,
}

impl Desk {
    pub(super) fn new(base: &str) -> Self {
        Self {
            service: Service::at(base),
            round: AtomicUsize::new(0),
            acknowledged: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
            unavailable: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            offences: Mutex::default(),
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Sends the deed once; `None`: nobody was there, so it was not tried.
    pub(super) async fn attempt(&self, deed: &Deed) -> Option<Fate> {
        let (method, path, body) = deed.request();
        let fate = self.ask(method, path, &body).await?;
        if let Fate::Acknowledged { body, .. } = &fate
            && path == "/usage"
        {
            let results = body["results"].as_array().map_or(&[][..], Vec::as_slice);
            let words = results
                .iter()
                .filter_map(|result| result["status"].as_str());
            let known = words.filter(|word| matches!(*word, "recorded" | "duplicate"));
            if known.count() != deed.0.len() {
                self.offend(format!("{deed:?} was answered {body}"));
            }
        }
        Some(fate)
    }

    /// Sends any request once; `None`: nobody was there.
    pub(super) async fn ask(&self, method: Method, path: &str, body: &Value) -> Option<Fate> {
        match self.service.send(method, path, body).await {
            Reply::Answered {
                status: 200 | 201,
                body,
                replayed,
                ..
            } => {
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
                return Some(Fate::Acknowledged { body, replayed });
            }
            Reply::Answered {
                status: 402 | 409, ..
            } => return Some(Fate::Refused),
            Reply::Answered {
                status: 503,
                asks_to_retry: true,
                ..
            } => {
                self.unavailable.fetch_add(1, Ordering::Relaxed);
            }
            Reply::Lost => {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
            Reply::NotReached => {
                tokio::time::sleep(PAUSE).await;
                return None;
            }
            offence @ (Reply::Answered { .. } | Reply::Hung) => {
                self.offend(format!("{path} {body}: {offence:?}"));
            }
        }
        tokio::time::sleep(PAUSE).await;
        Some(Fate::Unknown)
    }

    /// The same until its outcome is known.
    pub(super) async fn insist(&self, deed: &Deed) -> Fate {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(fate @ (Fate::Acknowledged { .. } | Fate::Refused)) =
                self.attempt(deed).await
            {
                return fate;
            }
            assert!(Instant::now() < deadline, "{deed:?} is not answered");
        }
    }

    fn offend(&self, offence: String) {
        let mut offences = self.offences.lock().unwrap_or_else(PoisonError::into_inner);
        offences.push(offence);
    }

    /// Nobody was given an answer that may never be given.
    #[track_caller]
    pub(super) fn assert_no_offence(&self) {
        let offences = self.offences.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, first) = (offences.len(), offences.first());
        assert!(offences.is_empty(), "{count} such answers: {first:#?}");
    }
}
