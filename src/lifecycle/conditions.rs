//! Derives conditions from a measurement. Hysteresis prevents a condition from flapping if a figure
//! is near its threshold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{CheckPolicy, MeasuredSpace};
use crate::common::Timestamp;
use crate::model::{Capacity, Condition, WriteOutcome};

/// The conditions that a probe decides.
const PROBE_CONDITIONS: [Condition; 6] = [
    Condition::NearFull,
    Condition::Full,
    Condition::QuotaExceeded,
    Condition::InodesFull,
    Condition::SyncUnsupported,
    Condition::SlowProbe,
];

/// Returns true if a successful probe decides the condition. A probe that fails measures nothing:
/// the condition then stays as it is.
pub fn is_probe_condition(condition: Condition) -> bool {
    PROBE_CONDITIONS.contains(&condition)
}

/// Distance below a threshold at which its condition ends, as a share in use (2 percentage points).
const HYSTERESIS: f64 = 0.02;

/// The active conditions, each with the time at which it began.
pub type ActiveConditions = BTreeMap<Condition, Timestamp>;

/// Returns the conditions that this measurement starts (true) or ends (false).
pub(super) fn condition_changes(
    active: &ActiveConditions,
    measured: &MeasuredSpace,
    written: Option<WriteOutcome>,
    took: Duration,
    policy: &CheckPolicy,
) -> Vec<(Condition, bool)> {
    let holds = current_conditions(active, measured, written, took, policy);
    let changed =
        PROBE_CONDITIONS.into_iter().filter(|c| holds.contains(c) != active.contains_key(c));
    changed.map(|condition| (condition, holds.contains(&condition))).collect()
}

/// Returns the conditions of the space and the time that one examination shows, without a write.
/// `active` are those before it.
pub fn examined_conditions(
    active: &ActiveConditions,
    measured: &MeasuredSpace,
    took: Duration,
    policy: &CheckPolicy,
) -> BTreeSet<Condition> {
    current_conditions(active, measured, None, took, policy)
}

fn current_conditions(
    active: &ActiveConditions,
    measured: &MeasuredSpace,
    written: Option<WriteOutcome>,
    took: Duration,
    policy: &CheckPolicy,
) -> BTreeSet<Condition> {
    let before = |condition| active.contains_key(&condition);
    let space = policy.space;
    let (capacity, used) = (measured.capacity, share_in_use(measured.capacity));
    // A condition ends at a lower share, or if 10 % more than the reserve is available.
    let beyond = |threshold: f64, active| {
        // The end is above 0, so that the condition of a low threshold ends too.
        used >= if active { (threshold - HYSTERESIS).max(threshold / 2.0) } else { threshold }
    };
    let reserve = if before(Condition::Full) {
        space.reserved.saturating_add(space.reserved / 10)
    } else {
        space.reserved
    };
    let full = beyond(space.full, before(Condition::Full))
        || capacity.available() < reserve
        || written == Some(WriteOutcome::Full);
    // A full store is not also near full.
    let near = before(Condition::NearFull) || before(Condition::Full);
    let near_full = !full && beyond(space.near_full, near);
    let no_inode = measured.inodes.is_some_and(|inodes| inodes.available == 0);
    let slow = if before(Condition::SlowProbe) {
        policy.slow_probe_after / 2
    } else {
        policy.slow_probe_after
    };
    let found = [
        (Condition::NearFull, near_full),
        (Condition::Full, full),
        (Condition::QuotaExceeded, written == Some(WriteOutcome::QuotaExceeded)),
        (Condition::InodesFull, no_inode || written == Some(WriteOutcome::InodesFull)),
        (Condition::SyncUnsupported, matches!(written, Some(WriteOutcome::Unsynced(_)))),
        (Condition::SlowProbe, took >= slow),
    ];
    found.into_iter().filter_map(|(condition, holds)| holds.then_some(condition)).collect()
}

/// Returns the share that is in use or not available to an unprivileged writer: 0 to 1.
#[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
fn share_in_use(capacity: Capacity) -> f64 {
    let used = capacity.total().saturating_sub(capacity.available());
    used as f64 / capacity.total() as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::transition_table::POLICY;
    use super::*;
    use crate::model::InodeCounts;

    const GIB: u64 = 1 << 30;

    /// Returns the conditions after each measurement of a run: available GiB of 1000.
    fn run(available: &[u64]) -> Vec<Vec<&'static str>> {
        let mut active = ActiveConditions::new();
        let mut seen = Vec::new();
        for &gib in available {
            let capacity = Capacity::new(1000 * GIB, gib * GIB).unwrap();
            let measured = MeasuredSpace { capacity, inodes: None };
            for (condition, holds) in
                condition_changes(&active, &measured, None, Duration::ZERO, &POLICY)
            {
                match holds {
                    true => active.insert(condition, Timestamp(0)),
                    false => active.remove(&condition),
                };
            }
            seen.push(active.keys().map(|condition| condition.as_str()).collect());
        }
        seen
    }

    #[test]
    fn a_condition_is_cleared_at_a_lower_share_than_it_is_raised() {
        // near_full 0.85, full 0.95; each ends 2 points below.
        let none: [&str; 0] = [];
        let expected: [(u64, &[&str]); 10] = [
            (200, &none),
            (150, &["near_full"]),
            (151, &["near_full"]),
            (170, &["near_full"]),
            (171, &none),
            (50, &["full"]),
            (69, &["full"]),
            (71, &["near_full"]),
            (0, &["full"]),
            (500, &none),
        ];
        let (available, words): (Vec<u64>, Vec<&[&str]>) = expected.into_iter().unzip();
        assert_eq!(run(&available), words);
    }

    #[test]
    fn the_condition_of_the_lowest_threshold_ends_on_an_empty_disk() {
        let space = super::super::SpaceThresholds { near_full: 0.01, ..POLICY.space };
        let policy = CheckPolicy { space, ..POLICY };
        let active = ActiveConditions::from([(Condition::NearFull, Timestamp(0))]);
        for (available, expected) in [(1000, Some(false)), (995, None), (990, None)] {
            let capacity = Capacity::new(1000 * GIB, available * GIB).unwrap();
            let measured = MeasuredSpace { capacity, inodes: None };
            let changes = condition_changes(&active, &measured, None, Duration::ZERO, &policy);
            assert_eq!(changes.first().map(|(_, holds)| *holds), expected, "{available}");
        }
    }

    #[test]
    fn a_store_below_its_reserve_is_full_at_any_share_in_use() {
        let capacity = |available| Capacity::new(10 * GIB, available).unwrap();
        let policy = CheckPolicy {
            space: super::super::SpaceThresholds { reserved: 4 * GIB, ..POLICY.space },
            ..POLICY
        };
        let changes = |active: &ActiveConditions, available| {
            let measured = MeasuredSpace { capacity: capacity(available), inodes: None };
            condition_changes(active, &measured, None, Duration::ZERO, &policy)
        };
        let active = ActiveConditions::from([(Condition::Full, Timestamp(0))]);
        assert_eq!(changes(&ActiveConditions::new(), 4 * GIB - 1), [(Condition::Full, true)]);
        assert_eq!(changes(&active, 4 * GIB), []);
        assert_eq!(changes(&active, 5 * GIB), [(Condition::Full, false)]);
    }

    #[test]
    fn each_outcome_of_a_write_raises_its_own_condition() {
        let measured = |available| MeasuredSpace {
            capacity: Capacity::new(1000 * GIB, 900 * GIB).unwrap(),
            inodes: Some(InodeCounts { total: 100, available }),
        };
        for (written, inodes, condition) in [
            (Some(WriteOutcome::Full), 5, Condition::Full),
            (Some(WriteOutcome::InodesFull), 5, Condition::InodesFull),
            (Some(WriteOutcome::QuotaExceeded), 5, Condition::QuotaExceeded),
            (Some(WriteOutcome::Unsynced(Duration::ZERO)), 5, Condition::SyncUnsupported),
            (None, 0, Condition::InodesFull),
        ] {
            let none = ActiveConditions::new();
            let changed =
                condition_changes(&none, &measured(inodes), written, Duration::ZERO, &POLICY);
            assert_eq!(changed, [(condition, true)]);
        }
    }

    #[test]
    fn a_slow_probe_is_slow_until_one_takes_half_as_long() {
        let measured =
            MeasuredSpace { capacity: Capacity::new(1000 * GIB, 900 * GIB).unwrap(), inodes: None };
        let changes = |active: &ActiveConditions, took| {
            condition_changes(active, &measured, None, took, &POLICY)
        };
        let active = ActiveConditions::from([(Condition::SlowProbe, Timestamp(0))]);
        assert_eq!(
            changes(&ActiveConditions::new(), POLICY.slow_probe_after),
            [(Condition::SlowProbe, true)]
        );
        assert_eq!(changes(&active, POLICY.slow_probe_after / 2), []);
        assert_eq!(changes(&active, POLICY.slow_probe_after / 3), [(Condition::SlowProbe, false)]);
    }

    proptest! {
        #[test]
        fn no_figure_causes_a_panic_and_a_repeated_one_changes_nothing(
            total in 1_u64..=1 << 62, part in 0.0..=1.0_f64, reserved: u64, took: u32,
        ) {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            let available = ((total as f64 * part) as u64).min(total);
            let measured = MeasuredSpace { capacity: Capacity::new(total, available).unwrap(), inodes: None };
            let space = super::super::SpaceThresholds { reserved, ..POLICY.space };
            let policy = CheckPolicy { space, ..POLICY };
            let took = Duration::from_millis(took.into());
            let mut active = ActiveConditions::new();
            for (condition, holds) in condition_changes(&active.clone(), &measured, None, took, &policy) {
                prop_assert!(holds);
                active.insert(condition, Timestamp(0));
            }
            prop_assert!(!(active.contains_key(&Condition::Full) && active.contains_key(&Condition::NearFull)));
            prop_assert_eq!(condition_changes(&active, &measured, None, took, &policy), []);
        }
    }
}
