//! Progress output of a tenant's move.

use std::time::Instant;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use super::{LINE_INTERVAL, eprint_line};
use crate::admin::citus::relocation::MoveProgress;

/// Prints progress as a bar on a terminal, and as lines elsewhere.
pub(in crate::cli) struct MoveProgressOutput {
    bar: ProgressBar,
    last_line: Instant,
}

impl MoveProgressOutput {
    pub(in crate::cli) fn new() -> Self {
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} moved") {
            bar.set_style(style);
        }
        Self {
            bar,
            last_line: Instant::now(),
        }
    }

    pub(in crate::cli) fn update(&mut self, progress: MoveProgress) {
        let [moved, total] =
            [progress.moved_bytes, progress.total_bytes].map(|bytes| bytes.try_into().unwrap_or(0));
        self.bar.set_length(total);
        self.bar.set_position(moved);
        if self.bar.is_hidden() && self.last_line.elapsed() >= LINE_INTERVAL {
            self.last_line = Instant::now();
            eprint_line(format_args!(
                "{} of {} moved",
                HumanBytes(moved),
                HumanBytes(total)
            ));
        }
    }

    pub(in crate::cli) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
