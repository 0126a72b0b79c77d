//! What a soak saw.

use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::support::fleet::Lookup;

/// So many findings of a kind are told in full.
const TOLD: usize = 5;

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

/// What must never be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    ForeignRow,
    WrongAnswer,
    OutsideTheTable,
    Poisoned,
    /// Not a leak, but a connection was given up where nothing had gone wrong with it.
    WastedConnection,
}

pub(super) struct Report {
    lookup: Lookup,
    seed: u64,
    start: Instant,
    pub(super) right: Counter,
    pub(super) refused: Counter,
    pub(super) unavailable: Counter,
    pub(super) timed_out: Counter,
    pub(super) hung_up: Counter,
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
        println!("soak, {lookup:?} look-ups: SOAK_SEED={seed}");
        Self {
            lookup,
            seed,
            start: Instant::now(),
            right: Counter::default(),
            refused: Counter::default(),
            unavailable: Counter::default(),
            timed_out: Counter::default(),
            hung_up: Counter::default(),
            terminated: Counter::default(),
            cancelled: Counter::default(),
            locked: Counter::default(),
            rewritten: Counter::default(),
            moved: Counter::default(),
            restarted: Counter::default(),
            findings: Mutex::default(),
        }
    }

    pub(super) fn found(&self, finding: Finding, what: String) {
        self.findings.lock().unwrap().push((finding, what));
    }

    pub(super) fn poisoned(&self, what: &str) {
        self.found(Finding::Poisoned, what.to_owned());
    }

    /// An answer that the database did not give in time costs its connection. That of a client who hung
    /// up is not counted, but such answers are rare: where each such client cost one, it would be many.
    pub(super) fn backends_in_calm(&self, seen: usize, needed: usize) {
        let lost = self.timed_out.get() + self.unavailable.get() + self.hung_up.get() / 100;
        let most = needed + usize::try_from(lost).unwrap();
        if seen > most {
            self.found(
                Finding::WastedConnection,
                format!("{seen} backends where {most} do: clients who hang up cost connections"),
            );
        }
    }

    /// Takes from PostgreSQL's log what the table of users, and the server itself, saw on a connection.
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
                self.poisoned(line);
            }
        }
    }

    fn count(&self, finding: Finding) -> usize {
        let findings = self.findings.lock().unwrap();
        findings.iter().filter(|(kind, _)| *kind == finding).count()
    }

    fn requests(&self) -> u64 {
        [
            &self.right,
            &self.refused,
            &self.unavailable,
            &self.timed_out,
            &self.hung_up,
        ]
        .map(Counter::get)
        .iter()
        .sum()
    }

    pub(super) fn progress(&self) {
        println!(
            "{:4} s, {:?} look-ups: {} requests, {} findings",
            self.start.elapsed().as_secs(),
            self.lookup,
            self.requests(),
            self.findings.lock().unwrap().len(),
        );
    }

    pub(super) fn tell(&self) {
        let seconds = self.start.elapsed().as_secs();
        let mut text = format!(
            "\n{:?} look-ups, {seconds} s, SOAK_SEED={}\n",
            self.lookup, self.seed
        );
        let counters = [
            ("requests", self.requests()),
            ("  answered in full", self.right.get()),
            ("  refused, as they should be", self.refused.get()),
            ("  database or tenant unavailable", self.unavailable.get()),
            ("  out of time", self.timed_out.get()),
            ("  given up by their client", self.hung_up.get()),
            ("backends terminated", self.terminated.get()),
            ("statements cancelled", self.cancelled.get()),
            ("tables locked", self.locked.get()),
            ("tables rewritten", self.rewritten.get()),
            ("users moved to another tenant", self.moved.get()),
            ("servers stopped or killed", self.restarted.get()),
            ("foreign rows seen", self.count(Finding::ForeignRow) as u64),
            ("wrong answers", self.count(Finding::WrongAnswer) as u64),
            (
                "answers outside the error table",
                self.count(Finding::OutsideTheTable) as u64,
            ),
            ("connections poisoned", self.count(Finding::Poisoned) as u64),
        ];
        for (what, count) in counters {
            writeln!(text, "{what:36}{count:>10}").unwrap();
        }
        println!("{text}");
    }

    pub(super) fn assert_clean(&self, log_of_the_service: &str) {
        let findings = self.findings.lock().unwrap();
        let mut told = Vec::new();
        for (kind, what) in findings.iter() {
            if told.iter().filter(|(told, _)| told == kind).count() < TOLD {
                told.push((*kind, what));
            }
        }
        assert!(
            findings.is_empty(),
            "{} findings, such as {told:#?}\nthe service told:\n{}",
            findings.len(),
            log_of_the_service.lines().take(20).collect::<Vec<_>>().join("\n"),
        );
        for (what, counter) in [
            ("answers", &self.right),
            ("refusals", &self.refused),
            ("hang-ups", &self.hung_up),
            ("terminated backends", &self.terminated),
            ("locks", &self.locked),
            ("moves", &self.moved),
            ("restarts", &self.restarted),
        ] {
            assert!(counter.get() > 0, "a soak without {what} shows nothing");
        }
    }
}
