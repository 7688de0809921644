//! The roll-up of a store's figures by day. Every good figure takes part in it, also those that are
//! not sampled for the history.
//!
//! The figures are committed with the next commit of the store. A store whose figures do not change
//! makes a commit for them at the end of each day, and after six hours.

use std::time::Duration;

use super::{CheckPolicy, MeasuredSpace, StepTime};
use crate::common::Timestamp;
use crate::model::{DayFigures, UsedRange, UtcDay};

/// Longest time for which a figure counts, in intervals of the monitor. Two lost probes leave no
/// gap, and a daemon or a disk that hangs does.
const MAX_COVERED_INTERVALS: u32 = 3;
/// Covered time after which figures are committed for their own sake. A crash or a stop loses at
/// most this, so that a daemon that is restarted once a day still knows more than half of the day.
const MAX_UNCOMMITTED: Duration = Duration::from_secs(6 * 60 * 60);

/// The figures that are not committed yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CapacityRollup {
    current: Option<CurrentFigure>,
    pending: Option<PendingDay>,
    /// True if the next figures begin a new series.
    begins_series: bool,
}

/// The newest good figure, which still counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CurrentFigure {
    measured: MeasuredSpace,
    at: Timestamp,
    uptime: Duration,
}

/// The part of a day that is not committed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PendingDay {
    figures: DayFigures,
    covered: Duration,
}

impl PendingDay {
    fn into_figures(self) -> DayFigures {
        let half = Duration::from_millis(500);
        let seconds = self.covered.saturating_add(half).as_secs();
        let covered_seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        DayFigures { covered_seconds, ..self.figures }
    }
}

impl CapacityRollup {
    /// Adds a good figure. Returns the figures of the days that end with it.
    pub(super) fn on_measured(
        &mut self,
        measured: &MeasuredSpace,
        policy: &CheckPolicy,
        now: StepTime,
    ) -> Vec<DayFigures> {
        let mut finished = self.on_lost(policy, now);
        finished.extend(self.add_figure(UtcDay::of(now.wall), measured, Duration::ZERO));
        self.current =
            Some(CurrentFigure { measured: *measured, at: now.wall, uptime: now.uptime });
        finished
    }

    /// Ends the newest figure. Returns the figures of the days that have ended.
    pub(super) fn on_lost(&mut self, policy: &CheckPolicy, now: StepTime) -> Vec<DayFigures> {
        let mut finished = Vec::new();
        let Some(current) = self.current.take() else { return finished };
        let limit = policy.probe_interval.saturating_mul(MAX_COVERED_INTERVALS);
        // The uptime never goes back, and the wall clock only decides the day.
        let mut rest = now.uptime.saturating_sub(current.uptime).min(limit);
        let (mut day, mut from) = (UtcDay::of(current.at), current.at);
        while !rest.is_zero() {
            let midnight = day.plus(1).start();
            let left = midnight.0.saturating_sub(from.0).unsigned_abs();
            let part = rest.min(Duration::from_millis(left));
            finished.extend(self.add_figure(day, &current.measured, part));
            rest = rest.saturating_sub(part);
            (day, from) = (day.plus(1), midnight);
        }
        finished
    }

    /// Creates the roll-up of a store whose directory has moved. Its first figures are due at once,
    /// so that the days of the earlier space are not taken for those of the new one.
    pub(super) fn of_new_series() -> Self {
        Self { begins_series: true, ..Self::default() }
    }

    /// Takes the figures, which the caller commits.
    pub(super) fn take_pending(&mut self) -> Option<DayFigures> {
        self.begins_series &= self.pending.is_none();
        self.pending.take().map(PendingDay::into_figures)
    }

    /// Returns true if the figures should be committed for their own sake.
    pub(super) fn is_due(&self) -> bool {
        self.pending.is_some_and(|pending| self.begins_series || pending.covered >= MAX_UNCOMMITTED)
    }

    /// Adds a figure to a day. Returns the figures of the day before, if it is another one.
    fn add_figure(
        &mut self,
        day: UtcDay,
        measured: &MeasuredSpace,
        covered: Duration,
    ) -> Option<DayFigures> {
        let figures = DayFigures {
            day,
            space: UsedRange::of_capacity(measured.capacity),
            inodes: measured.inodes.and_then(UsedRange::of_inodes),
            covered_seconds: 0,
        };
        match &mut self.pending {
            Some(pending) if pending.figures.day == day => {
                pending.figures = pending.figures.merge(figures);
                pending.covered = pending.covered.saturating_add(covered);
                None
            }
            pending => {
                pending.replace(PendingDay { figures, covered }).map(PendingDay::into_figures)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::tests::transition_table::POLICY;
    use crate::model::{Capacity, InodeCounts};

    const DAY: u64 = 24 * 60 * 60;

    /// Seconds of the wall clock and of the uptime.
    fn at(wall: u64, uptime: u64) -> StepTime {
        let wall = Timestamp(i64::try_from(wall * 1000).unwrap());
        StepTime { wall, uptime: Duration::from_secs(uptime), random: 0 }
    }

    fn measured(total: u64, used: u64) -> MeasuredSpace {
        let capacity = Capacity::new(total, total - used).unwrap();
        MeasuredSpace {
            capacity,
            inodes: Some(InodeCounts { total: 50, available: 50 - used / 2 }),
        }
    }

    fn policy() -> CheckPolicy {
        CheckPolicy { probe_interval: Duration::from_secs(10), ..POLICY }
    }

    /// Day, total, least, greatest and last use, and covered seconds.
    type Row = (i64, u64, u64, u64, u64, u32);

    fn row(figures: DayFigures) -> Row {
        let DayFigures { day, space, inodes, covered_seconds } = figures;
        let inodes = inodes.unwrap();
        assert_eq!((inodes.min(), inodes.max()), (space.min() / 2, space.max() / 2));
        (day.0, space.total(), space.min(), space.max(), space.last(), covered_seconds)
    }

    /// A step of a run: a good figure, or its loss.
    #[derive(Clone, Copy)]
    enum Input {
        Good { wall: u64, uptime: u64, total: u64, used: u64 },
        Lost { wall: u64, uptime: u64 },
    }
    use Input::{Good, Lost};

    fn run(inputs: &[Input]) -> Vec<Row> {
        let (mut rollup, policy) = (CapacityRollup::default(), policy());
        let mut rows = Vec::new();
        for input in inputs {
            rows.extend(match *input {
                Good { wall, uptime, total, used } => {
                    rollup.on_measured(&measured(total, used), &policy, at(wall, uptime))
                }
                Lost { wall, uptime } => rollup.on_lost(&policy, at(wall, uptime)),
            });
        }
        rows.extend(rollup.take_pending());
        rows.into_iter().map(row).collect()
    }

    fn good(wall: u64, uptime: u64, used: u64) -> Input {
        Good { wall, uptime, total: 100, used }
    }

    #[test]
    fn the_first_figures_of_a_new_series_are_due_at_once() {
        let mut rollup = CapacityRollup::of_new_series();
        for is_due in [true, false] {
            assert!(!rollup.is_due());
            rollup.on_measured(&measured(100, 40), &policy(), at(5, 5));
            assert_eq!(rollup.is_due(), is_due);
            assert!(rollup.take_pending().is_some());
        }
    }

    #[test]
    fn figures_count_until_the_next_one_or_their_loss_for_three_intervals_at_most() {
        let cases: [(&str, &[Input], &[Row]); 9] = [
            ("one", &[good(5, 5, 40)], &[(0, 100, 40, 40, 40, 0)]),
            (
                "three",
                &[good(5, 5, 40), good(15, 15, 60), good(25, 25, 50)],
                &[(0, 100, 40, 60, 50, 20)],
            ),
            (
                "lost",
                &[good(5, 5, 40), Lost { wall: 9, uptime: 9 }, good(19, 19, 40)],
                &[(0, 100, 40, 40, 40, 4)],
            ),
            (
                "gap",
                &[good(5, 5, 40), good(5000, 5000, 41), good(5010, 5010, 41)],
                &[(0, 100, 40, 41, 41, 40)],
            ),
            (
                "midnight",
                &[good(DAY - 4, 100, 40), good(DAY + 6, 110, 60)],
                &[(0, 100, 40, 40, 40, 4), (1, 100, 40, 60, 60, 6)],
            ),
            (
                "lost at midnight",
                &[good(DAY - 4, 100, 40), Lost { wall: DAY + 3, uptime: 107 }],
                &[(0, 100, 40, 40, 40, 4), (1, 100, 40, 40, 40, 3)],
            ),
            (
                "days later",
                &[good(100, 100, 40), good(3 * DAY, 3 * DAY, 60)],
                &[(0, 100, 40, 40, 40, 30), (3, 100, 60, 60, 60, 0)],
            ),
            (
                "the clock steps back a day, and later returns",
                &[good(DAY + 5, 10, 40), good(5, 20, 50), good(DAY + 25, 30, 60)],
                &[(1, 100, 40, 40, 40, 10), (0, 100, 50, 50, 50, 10), (1, 100, 60, 60, 60, 0)],
            ),
            (
                "the filesystem grows and shrinks",
                &[
                    good(5, 5, 80),
                    Good { wall: 15, uptime: 15, total: 200, used: 80 },
                    Good { wall: 25, uptime: 25, total: 50, used: 40 },
                ],
                &[(0, 50, 40, 80, 40, 20)],
            ),
        ];
        for (name, inputs, rows) in cases {
            assert_eq!(run(inputs), rows, "{name}");
        }
    }

    #[test]
    fn parts_that_are_committed_one_by_one_merge_to_the_whole_day() {
        let inputs: Vec<_> = (0..DAY / 10).map(|n| (n * 10, 20 + n % 30)).collect();
        let whole: Vec<_> = inputs.iter().map(|(time, used)| good(*time, *time, *used)).collect();
        let (mut rollup, policy) = (CapacityRollup::default(), policy());
        let mut parts: Option<DayFigures> = None;
        for (n, (time, used)) in inputs.iter().enumerate() {
            let finished = rollup.on_measured(&measured(100, *used), &policy, at(*time, *time));
            assert_eq!(finished, []);
            if n % 70 == 0 {
                let part = rollup.take_pending().unwrap();
                parts = Some(parts.map_or(part, |parts| parts.merge(part)));
            }
        }
        let part = rollup.take_pending().unwrap();
        assert_eq!([row(parts.unwrap().merge(part))], run(&whole)[..]);
        assert_eq!(run(&whole)[0].5, 86_390);
    }

    #[test]
    fn figures_that_nothing_else_commits_are_due_after_six_hours() {
        let (mut rollup, policy) = (CapacityRollup::default(), policy());
        let mut due = 0;
        for n in 0..8639 {
            rollup.on_measured(&measured(100, 40), &policy, at(n * 10, n * 10));
            if rollup.is_due() {
                due += 1;
                assert_eq!(rollup.take_pending().unwrap().covered_seconds, 6 * 3600);
            }
        }
        assert_eq!(due, 3, "and the rest ends with the day");
    }

    #[test]
    fn inodes_that_are_not_counted_are_unknown() {
        let mut rollup = CapacityRollup::default();
        let none = MeasuredSpace { inodes: None, ..measured(100, 40) };
        rollup.on_measured(&none, &policy(), at(5, 5));
        assert_eq!(rollup.take_pending().unwrap().inodes, None);
    }
}
