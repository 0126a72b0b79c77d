//! Counters and findings of the soak test.

use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::support::fleet::Lookup;

/// Maximum findings of a kind that are printed.
const MAX_PRINTED: usize = 5;

#[derive(Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    ForeignRow,
    WrongAnswer,
    OutsideTheErrorTable,
    /// A connection with the state of an earlier request.
    LeftoverState,
    /// Not a leak: a connection was closed without an error.
    WastedConnection,
}

pub(super) struct Report {
    lookup: Lookup,
    seed: u64,
    start: Instant,
    pub(super) correct: Counter,
    pub(super) rejected: Counter,
    pub(super) unavailable: Counter,
    pub(super) timed_out: Counter,
    pub(super) disconnected: Counter,
    pub(super) terminated: Counter,
    pub(super) cancelled: Counter,
    pub(super) locked: Counter,
    pub(super) rewritten: Counter,
    pub(super) moved: Counter,
    pub(super) restarted: Counter,
    findings: Mutex<Vec<(Finding, String)>>,
}

impl Report {
    pub(super) fn new(lookup: Lookup, seed: u64) -> Self {
        println!("soak, {lookup:?} lookups: SOAK_SEED={seed}");
        Self {
            lookup,
            seed,
            start: Instant::now(),
            correct: Counter::default(),
            rejected: Counter::default(),
            unavailable: Counter::default(),
            timed_out: Counter::default(),
            disconnected: Counter::default(),
            terminated: Counter::default(),
            cancelled: Counter::default(),
            locked: Counter::default(),
            rewritten: Counter::default(),
            moved: Counter::default(),
            restarted: Counter::default(),
            findings: Mutex::default(),
        }
    }

    pub(super) fn add(&self, finding: Finding, description: String) {
        self.findings.lock().unwrap().push((finding, description));
    }

    pub(super) fn add_leftover_state(&self, description: &str) {
        self.add(Finding::LeftoverState, description.to_owned());
    }

    /// Adds a finding if the service used more backends than the phase without faults needs.
    ///
    /// A timeout closes its connection. Timeouts after a disconnect are not counted; 1 % of the disconnects
    /// allows for them, while a service that closes a connection on every disconnect exceeds the limit.
    pub(super) fn check_backends(&self, seen: usize, needed: usize) {
        let closed = self.timed_out.get() + self.unavailable.get() + self.disconnected.get() / 100;
        let max = needed + usize::try_from(closed).unwrap();
        if seen > max {
            self.add(
                Finding::WastedConnection,
                format!("{seen} backends, expected at most {max}: client disconnects close connections"),
            );
        }
    }

    /// Adds a finding for each line of PostgreSQL's log that reports leftover state on a connection.
    pub(super) fn read_log(&self, log: &str) {
        for line in log.lines() {
            if [
                "POISONED",
                "already a transaction in progress",
                "no transaction in progress",
            ]
            .iter()
            .any(|mark| line.contains(mark) && !line.contains("RAISE EXCEPTION"))
            {
                self.add_leftover_state(line);
            }
        }
    }

    fn count(&self, finding: Finding) -> usize {
        let findings = self.findings.lock().unwrap();
        findings.iter().filter(|(kind, _)| *kind == finding).count()
    }

    fn requests(&self) -> u64 {
        [
            &self.correct,
            &self.rejected,
            &self.unavailable,
            &self.timed_out,
            &self.disconnected,
        ]
        .map(Counter::get)
        .iter()
        .sum()
    }

    pub(super) fn print_progress(&self) {
        println!(
            "{:4} s, {:?} lookups: {} requests, {} findings",
            self.start.elapsed().as_secs(),
            self.lookup,
            self.requests(),
            self.findings.lock().unwrap().len(),
        );
    }

    pub(super) fn print(&self) {
        let seconds = self.start.elapsed().as_secs();
        let mut text = format!(
            "\n{:?} lookups, {seconds} s, SOAK_SEED={}\n",
            self.lookup, self.seed
        );
        let counters = [
            ("requests", self.requests()),
            ("  correct responses", self.correct.get()),
            ("  expected rejections", self.rejected.get()),
            ("  unavailable or overloaded", self.unavailable.get()),
            ("  timeouts", self.timed_out.get()),
            ("  client disconnects", self.disconnected.get()),
            ("backends terminated", self.terminated.get()),
            ("statements cancelled", self.cancelled.get()),
            ("tables locked", self.locked.get()),
            ("tables rewritten", self.rewritten.get()),
            ("users moved to another tenant", self.moved.get()),
            ("servers stopped or killed", self.restarted.get()),
            ("foreign rows", self.count(Finding::ForeignRow) as u64),
            ("wrong responses", self.count(Finding::WrongAnswer) as u64),
            (
                "responses outside the error table",
                self.count(Finding::OutsideTheErrorTable) as u64,
            ),
            (
                "connections with leftover state",
                self.count(Finding::LeftoverState) as u64,
            ),
        ];
        for (name, count) in counters {
            writeln!(text, "{name:36}{count:>10}").unwrap();
        }
        println!("{text}");
    }

    pub(super) fn assert_clean(&self, service_log: &str) {
        let findings = self.findings.lock().unwrap();
        let mut printed = Vec::new();
        for (kind, description) in findings.iter() {
            if printed.iter().filter(|(printed, _)| printed == kind).count() < MAX_PRINTED {
                printed.push((*kind, description));
            }
        }
        assert!(
            findings.is_empty(),
            "{} findings, such as {printed:#?}\nlog of the service:\n{}",
            findings.len(),
            service_log.lines().take(20).collect::<Vec<_>>().join("\n"),
        );
        for (name, counter) in [
            ("correct responses", &self.correct),
            ("rejections", &self.rejected),
            ("disconnects", &self.disconnected),
            ("terminated backends", &self.terminated),
            ("locks", &self.locked),
            ("moves", &self.moved),
            ("restarts", &self.restarted),
        ] {
            assert!(counter.get() > 0, "the soak test had no {name}");
        }
    }
}
