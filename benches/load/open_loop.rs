//! Load on a schedule that does not wait for answers. A closed loop asks less while a server stalls and so hides the stall;
//! here each latency is counted from the moment at which the request was due.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Outcome;
use crate::http::{Caller, Connection};
use crate::process::go_on;
use crate::results::{Failures, Sample};
use crate::wrk::Crowd;

/// More than are ever busy below saturation: a request that is due finds one.
pub(crate) const CONNECTIONS: u32 = 256;
/// How finely the schedule is kept.
const TICK: Duration = Duration::from_micros(200);
/// How long answers may take after the last request was due.
const DRAIN: Duration = Duration::from_secs(10);
const WARMING_CONNECTIONS: u32 = 32;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Check,
    Consume,
}

fn request(asked: Asked, caller: &Caller, customer: u32) -> Vec<u8> {
    match asked {
        Asked::Check => caller.check(customer),
        Asked::Consume => caller.consume(customer, 1),
    }
}

/// When the requests are due, which of them is next, and how those before did.
struct Schedule {
    start: Instant,
    per_second: u64,
    due: Semaphore,
    next: AtomicU64,
    refused: AtomicU64,
    broken: AtomicU64,
}

impl Schedule {
    fn due_at(&self, number: u64) -> Instant {
        let nanos = number.saturating_mul(1_000_000_000) / self.per_second;
        self.start + Duration::from_nanos(nanos)
    }
}

/// Asks `per_second` times a second for `seconds`, each time the next customer of the crowd.
pub(crate) fn run(
    asked: Asked,
    port: u16,
    caller: Caller,
    crowd: Crowd,
    per_second: u64,
    seconds: u32,
) -> Outcome<Sample> {
    let total = per_second.saturating_mul(u64::from(seconds));
    if total == 0 {
        return Err("there is no saturation to take 70 % of".into());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let schedule = Arc::new(Schedule {
        start: Instant::now() + Duration::from_millis(200),
        per_second,
        due: Semaphore::new(0),
        next: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        broken: AtomicU64::new(0),
    });
    let caller = Arc::new(caller);
    let clerk = release_on_time(Arc::clone(&schedule), total);
    let latencies = runtime.block_on(async {
        let mut callers = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let (schedule, caller) = (Arc::clone(&schedule), Arc::clone(&caller));
            callers.spawn(keep_asking(schedule, caller, asked, port, crowd));
        }
        let limit = Duration::from_secs(u64::from(seconds)) + DRAIN;
        tokio::time::timeout(limit, callers.join_all()).await
    });
    clerk.join().map_err(|_| "the schedule broke off")?;
    go_on()?;
    let mut latencies: Vec<u64> = latencies
        .map_err(|_| "the answers took too long: the rate is above what is sustained")?
        .into_iter()
        .flatten()
        .collect();
    latencies.sort_unstable();
    let answered = latencies.len() as u64;
    let refused = schedule.refused.load(Ordering::Relaxed);
    Ok(Sample {
        answered,
        per_second,
        p50_us: percentile(&latencies, 50),
        p99_us: percentile(&latencies, 99),
        failures: Failures {
            status: refused,
            socket: schedule.broken.load(Ordering::Relaxed),
            timeout: total.saturating_sub(answered + refused),
        },
        fault: None,
    })
}

/// A thread of its own: the runtime's timer is no finer than a millisecond.
fn release_on_time(schedule: Arc<Schedule>, total: u64) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut released = 0;
        while released < total && go_on().is_ok() {
            let now = Instant::now();
            let mut ready = 0;
            while released < total && schedule.due_at(released) <= now {
                released += 1;
                ready += 1;
            }
            if ready > 0 {
                schedule.due.add_permits(ready);
            }
            std::thread::sleep(TICK);
        }
        // Whoever waits for more is told that there is none, once what was released is taken.
        let deadline = Instant::now() + DRAIN;
        while schedule.due.available_permits() > 0 && Instant::now() < deadline {
            std::thread::sleep(TICK);
        }
        schedule.due.close();
    })
}

/// One connection: takes the request that is due next, whichever connection asked the one before.
async fn keep_asking(
    schedule: Arc<Schedule>,
    caller: Arc<Caller>,
    asked: Asked,
    port: u16,
    crowd: Crowd,
) -> Vec<u64> {
    let mut latencies = Vec::new();
    let Ok(mut connection) = Connection::open(port).await else {
        schedule.broken.fetch_add(1, Ordering::Relaxed);
        return latencies;
    };
    while let Ok(permit) = schedule.due.acquire().await {
        permit.forget();
        let number = schedule.next.fetch_add(1, Ordering::Relaxed);
        let index = u32::try_from(number % u64::from(crowd.count.max(1))).unwrap_or(0);
        let request = request(asked, &caller, crowd.member(index));
        match connection.exchange(&request).await {
            Ok(answer) if answer.status == 200 => {
                let latency = schedule.due_at(number).elapsed();
                latencies.push(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
            }
            Ok(_) => {
                schedule.refused.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => {
                schedule.broken.fetch_add(1, Ordering::Relaxed);
                return latencies;
            }
        }
    }
    latencies
}

fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = sorted.len().saturating_mul(percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

/// Asks once for each of these customers, as fast as answers come, before anything is measured: rows are there, plans are
/// made, caches are warm. Fails unless everything is answered with 200.
pub(crate) fn warm(
    asked: Asked,
    port: u16,
    caller: Caller,
    customers: impl Iterator<Item = u32>,
) -> Outcome<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let requests: Vec<Vec<u8>> = customers
        .map(|customer| request(asked, &caller, customer))
        .collect();
    let total = requests.len() as u64;
    let requests = Arc::new(std::sync::Mutex::new(requests));
    let refused = Arc::new(AtomicBool::new(false));
    runtime.block_on(async {
        let mut callers = JoinSet::new();
        for _ in 0..WARMING_CONNECTIONS {
            let (requests, refused) = (Arc::clone(&requests), Arc::clone(&refused));
            callers.spawn(async move {
                let mut connection = Connection::open(port).await?;
                loop {
                    let next = requests.lock().map_or(None, |mut left| left.pop());
                    let Some(request) = next else { break };
                    if connection.exchange(&request).await?.status != 200 {
                        refused.store(true, Ordering::Relaxed);
                    }
                    if go_on().is_err() {
                        break;
                    }
                }
                Ok::<_, std::io::Error>(())
            });
        }
        for ended in callers.join_all().await {
            ended?;
        }
        Ok::<_, std::io::Error>(())
    })?;
    go_on()?;
    if refused.load(Ordering::Relaxed) {
        return Err("a request to warm up was not answered with 200".into());
    }
    Ok(total)
}
