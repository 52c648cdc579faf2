//! What was measured, run by run, and the figures that stand for it.

use serde::Serialize;

/// A line of the table: a case at a number of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    /// What ran.
    pub(crate) name: &'static str,
    /// At how many connections.
    pub(crate) connections: u32,
}

/// Shorthand for a [`Row`].
pub(crate) const fn row(name: &'static str, connections: u32) -> Row {
    Row { name, connections }
}

/// One run of a case.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Sample {
    /// Requests (or pairs, or transactions) that succeeded.
    pub(crate) answered: u64,
    /// The same for each second.
    pub(crate) per_second: u64,
    /// Median latency, microseconds.
    pub(crate) p50_us: Option<u64>,
    /// Latency that one in a hundred exceeds, microseconds.
    pub(crate) p99_us: Option<u64>,
    /// What did not succeed.
    pub(crate) failures: Failures,
    /// Why this run does not count.
    pub(crate) fault: Option<String>,
}

/// Requests that did not succeed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Failures {
    /// Answers that were no 2xx.
    pub(crate) status: u64,
    /// Connections that broke.
    pub(crate) socket: u64,
    /// No answer in time.
    pub(crate) timeout: u64,
}

impl Failures {
    /// Whether everything succeeded.
    pub(crate) fn is_none(self) -> bool {
        self == Self::default()
    }
}

impl Sample {
    /// A run with errors measures something else than the case, so it does not count.
    pub(crate) fn without_failures(mut self) -> Self {
        let Failures {
            status,
            socket,
            timeout,
        } = self.failures;
        if !self.failures.is_none() {
            self.fault
                .get_or_insert(format!("{status} not 2xx, {socket} broken, {timeout} late"));
        } else if self.answered == 0 {
            self.fault.get_or_insert("nothing was answered".to_owned());
        }
        self
    }
}

/// Median and spread of the runs that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: u64,
    pub(crate) min: u64,
    pub(crate) max: u64,
}

impl Spread {
    /// `None` of nothing. The median of an even number of values is the lower of the middle two.
    pub(crate) fn of(values: impl IntoIterator<Item = u64>) -> Option<Self> {
        let mut values: Vec<u64> = values.into_iter().collect();
        values.sort_unstable();
        Some(Self {
            median: *values.get(values.len().checked_sub(1)? / 2)?,
            min: *values.first()?,
            max: *values.last()?,
        })
    }
}

/// A sample with where it belongs.
#[derive(Debug, Clone, Serialize)]
struct Entry {
    row: Row,
    round: u32,
    sample: Sample,
}

/// Everything that was measured.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Results {
    entries: Vec<Entry>,
    /// Cases that were not measured, and why.
    pub(crate) skipped: Vec<(&'static str, String)>,
    /// Runs that broke off, and why.
    pub(crate) broken: Vec<String>,
    /// Resident memory of Plangate after each run on the large database, KiB.
    pub(crate) resident_kib: Vec<u64>,
}

impl Results {
    /// Adds a run.
    pub(crate) fn add(&mut self, row: Row, round: u32, sample: Sample) {
        self.entries.push(Entry { row, round, sample });
    }

    /// Notes, once, why a case is not measured.
    pub(crate) fn skip(&mut self, case: &'static str, why: &str) {
        if !self.skipped.iter().any(|(skipped, _)| *skipped == case) {
            self.skipped.push((case, why.to_owned()));
        }
    }

    /// Notes a run that broke off.
    pub(crate) fn fail(&mut self, case: &str, round: u32, why: &str) {
        self.broken
            .push(format!("{case}, round {}: {why}", round + 1));
    }

    /// The rows in the order of their first runs.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        for entry in &self.entries {
            if !rows.contains(&entry.row) {
                rows.push(entry.row);
            }
        }
        rows
    }

    /// All runs of a row.
    pub(crate) fn samples(&self, row: Row) -> impl Iterator<Item = &Sample> {
        self.entries
            .iter()
            .filter(move |entry| entry.row == row)
            .map(|entry| &entry.sample)
    }

    /// One figure of the runs that count.
    pub(crate) fn spread(
        &self,
        row: Row,
        figure: impl Fn(&Sample) -> Option<u64>,
    ) -> Option<Spread> {
        Spread::of(
            self.samples(row)
                .filter(|sample| sample.fault.is_none())
                .filter_map(figure),
        )
    }

    /// What a row did each second.
    pub(crate) fn rate(&self, row: Row) -> Option<Spread> {
        self.spread(row, |sample| Some(sample.per_second))
    }

    /// What a row did each second in one round.
    pub(crate) fn rate_in(&self, row: Row, round: u32) -> Option<u64> {
        let entry = self
            .entries
            .iter()
            .find(|entry| entry.row == row && entry.round == round)?;
        let sample = &entry.sample;
        sample.fault.is_none().then_some(sample.per_second)
    }
}
