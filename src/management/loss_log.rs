//! A bound on the log lines about lost replies and results. A caller of the agent protocol leaves
//! up to a thousand replies a minute that cannot be posted. Pure: callers pass the time.

use std::time::Duration;

use tokio::time::Instant;

/// Maximum number of lines about single losses in one minute. They show the destinations and the
/// errors; more of them would hide other lines of the log.
const MAX_LINES: u32 = 16;
/// Time between two summaries.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(60);

/// The losses of the current minute, which begins with a loss.
#[derive(Debug, Default)]
pub struct LossLog {
    ends_at: Option<Instant>,
    lines: u32,
    unlogged: u64,
}

impl LossLog {
    /// Records a loss. Returns true if it gets a line of its own.
    pub fn record_loss(&mut self, now: Instant) -> bool {
        self.ends_at.get_or_insert_with(|| now + SUMMARY_INTERVAL);
        if self.lines >= MAX_LINES {
            self.unlogged = self.unlogged.saturating_add(1);
            return false;
        }
        self.lines = self.lines.saturating_add(1);
        true
    }

    /// Returns the time of the next summary.
    pub fn summary_due(&self) -> Option<Instant> {
        self.ends_at
    }

    /// Ends the minute if it is over. Returns the number of losses without a line, if there are
    /// any.
    pub fn end_minute(&mut self, now: Instant) -> Option<u64> {
        self.ends_at.filter(|ends_at| *ends_at <= now)?;
        Some(std::mem::take(self).unlogged).filter(|unlogged| *unlogged > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_sixteen_lines_and_one_number_for_the_others() {
        let (mut log, begun) = (LossLog::default(), Instant::now());
        assert_eq!((log.summary_due(), log.end_minute(begun)), (None, None));
        for (losses, summary) in [(1, None), (16, None), (17, Some(1)), (1024, Some(1008))] {
            let begun = begun + Duration::from_secs(losses);
            let lines = (0..losses).filter(|_| log.record_loss(begun)).count();
            assert_eq!(lines, usize::try_from(losses.min(16)).unwrap());
            assert_eq!(log.end_minute(begun + Duration::from_secs(59)), None, "too early");
            assert_eq!(log.summary_due(), Some(begun + SUMMARY_INTERVAL));
            assert_eq!(log.end_minute(begun + SUMMARY_INTERVAL), summary, "{losses}");
            assert_eq!(log.summary_due(), None);
        }
    }
}
