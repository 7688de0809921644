//! Bounds the lines of the audit log about rejected requests, from all sources together.
//!
//! # Guarantees
//!
//! - A flood of rejected requests leaves room in the log: each minute has at most
//!   [`MAX_DENIAL_LINES`] lines about them, and one line with the number of the others.
//! - Each rejected request is written or counted.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::AUDIT_TARGET;
use crate::common::lock_unpoisoned;

/// Maximum number of lines within [`DENIAL_WINDOW`]: ten sources that use up their lines. They have
/// about 80 KiB, a third of what the log queues for a reader that hangs.
const MAX_DENIAL_LINES: u32 = 210;
/// Length of the window. It begins with the first line.
const DENIAL_WINDOW: Duration = Duration::from_secs(60);

/// The lines of the current window. It does not read a clock: callers pass the time.
#[derive(Debug, Default)]
struct DenialWindow {
    /// `None` before the first denial.
    start: Option<Instant>,
    lines: u32,
    /// Number of denials without a line since the last summary.
    omitted: u64,
}

impl DenialWindow {
    /// Counts a denial. Returns true if its line is to be written. A `repeated` denial has no line.
    fn count_denial(&mut self, repeated: bool, now: Instant) -> bool {
        if self.start.is_none_or(|start| now >= start + DENIAL_WINDOW) {
            (self.start, self.lines) = (Some(now), 0);
        }
        if repeated || self.lines >= MAX_DENIAL_LINES {
            self.omitted = self.omitted.saturating_add(1);
            return false;
        }
        self.lines += 1;
        true
    }

    /// Returns the end of the window.
    fn end(&self) -> Option<Instant> {
        self.start.map(|start| start + DENIAL_WINDOW)
    }
}

/// The bound on the lines, and the task that writes their summary.
#[derive(Debug, Default)]
pub(in crate::http) struct DenialLog {
    window: Mutex<DenialWindow>,
    /// Signals the first denial without a line.
    omission: Notify,
}

impl DenialLog {
    /// Counts a denial. Returns true if its line is to be written.
    pub(in crate::http) fn count_denial(&self, repeated: bool, now: Instant) -> bool {
        let mut window = lock_unpoisoned(&self.window);
        let is_written = window.count_denial(repeated, now);
        if !is_written && window.omitted == 1 {
            self.omission.notify_one();
        }
        is_written
    }

    /// Writes a summary at the end of each window with denials without a line, and a last one when
    /// `stop` is cancelled.
    ///
    /// # Cancel safety
    /// Cancel safe. The next run writes the summary.
    pub(in crate::http) async fn run_summaries(&self, stop: &CancellationToken) {
        loop {
            let window_end = async {
                self.omission.notified().await;
                let end = lock_unpoisoned(&self.window).end();
                sleep_until(end.unwrap_or_else(Instant::now)).await;
            };
            tokio::select! {
                () = window_end => {}
                () = stop.cancelled() => {}
            }
            self.write_summary();
            if stop.is_cancelled() {
                return;
            }
        }
    }

    fn write_summary(&self) {
        let requests = std::mem::take(&mut lock_unpoisoned(&self.window).omitted);
        if requests > 0 {
            info!(target: AUDIT_TARGET, requests, "rejected requests not logged");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_a_bounded_number_of_lines_and_every_other_denial_is_counted() {
        let (mut window, start) = (DenialWindow::default(), Instant::now());
        let second = |n| start + Duration::from_secs(n);
        let written = (0..1000).filter(|_| window.count_denial(false, second(1))).count();
        assert_eq!((written, window.omitted), (210, 790));
        assert_eq!(window.end(), Some(second(61)));
        assert!(!window.count_denial(false, second(60)));
        assert!(window.count_denial(false, second(61)), "the next window has begun");
        assert_eq!((window.lines, window.omitted, window.end()), (1, 791, Some(second(121))));
    }

    #[test]
    fn a_repeated_denial_is_counted_and_takes_no_line() {
        let (mut window, now) = (DenialWindow::default(), Instant::now());
        assert!((0..50).all(|_| !window.count_denial(true, now)));
        assert!((0..210).all(|_| window.count_denial(false, now)));
        assert_eq!((window.lines, window.omitted), (210, 50));
    }

    #[tokio::test]
    async fn a_stop_writes_what_is_left_and_ends_the_task() {
        let (log, stop) = (DenialLog::default(), CancellationToken::new());
        let now = Instant::now();
        assert!((0..300).filter(|_| log.count_denial(false, now)).count() == 210);
        stop.cancel();
        log.run_summaries(&stop).await;
        assert_eq!(lock_unpoisoned(&log.window).omitted, 0);
    }
}
