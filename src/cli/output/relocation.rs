//! How far the move of a tenant has come.

use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use super::eprint_line;
use crate::admin::citus::relocation::MoveProgress;

/// Between two lines where there is no terminal.
const PAUSE: Duration = Duration::from_secs(10);

/// A bar on a terminal, a line now and then elsewhere.
pub(in crate::cli) struct MoveOutput {
    bar: ProgressBar,
    told: Instant,
}

impl MoveOutput {
    pub(in crate::cli) fn new() -> Self {
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} moved") {
            bar.set_style(style);
        }
        Self {
            bar,
            told: Instant::now(),
        }
    }

    pub(in crate::cli) fn progress(&mut self, progress: MoveProgress) {
        let [moved, of] =
            [progress.moved_bytes, progress.of_bytes].map(|bytes| bytes.try_into().unwrap_or(0));
        self.bar.set_length(of);
        self.bar.set_position(moved);
        if self.bar.is_hidden() && self.told.elapsed() >= PAUSE {
            self.told = Instant::now();
            eprint_line(format_args!("{} of {} moved", HumanBytes(moved), HumanBytes(of)));
        }
    }

    pub(in crate::cli) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
