//! Checks that do not end: when the condition is raised, and when it is not.

use std::time::Duration;

use proptest::prelude::*;

use super::transition_table::{POLICY, at, ended, fault, login, outcome, probe, record};
use crate::lifecycle::*;
use crate::model::{Condition, Reason, Status, Tags};

const IN_FLIGHT: InFlight = InFlight { probe: true, login: true };

fn due(r: StoreRecord, seconds: u64) -> StoreRecord {
    step(r, StepInput::Due(InFlight::default()), &POLICY, at(seconds)).0
}

fn is_raised(r: &StoreRecord) -> bool {
    r.durable.conditions.contains_key(&Condition::NotProbed)
}

fn overdue(r: &StoreRecord) -> [bool; 3] {
    [&r.checks.examine, &r.checks.write, &r.checks.ssh].map(CheckState::is_overdue)
}

fn no_worker() -> StepInput {
    StepInput::Probed(probe(Some(Reason::AgentBusy), None))
}

#[test]
fn each_check_is_overdue_after_three_of_its_own_intervals() {
    // The record was connected at second 1: probes every 10 s, writes every 60 s, logins every
    // 50 s.
    for (seconds, expected) in [
        (40, [false, false, false]),
        (41, [true, false, false]),
        (200, [true, false, false]),
        (201, [true, false, true]),
        (240, [true, false, true]),
        (241, [true, true, true]),
    ] {
        let r = due(record(Status::Connected), seconds);
        assert_eq!(overdue(&r), expected, "{seconds}");
        assert_eq!(is_raised(&r), expected != [false; 3], "{seconds}");
        assert_eq!(r.durable.status, Status::Connected);
    }
}

#[test]
fn the_machine_asks_to_be_woken_when_a_check_becomes_overdue() {
    let r = record(Status::Connected);
    assert_eq!(r.due_check(IN_FLIGHT), Some(Duration::from_secs(41)));
    let r = due(r, 41);
    assert_eq!(r.due_check(IN_FLIGHT), Some(Duration::from_secs(201)), "raised once");
}

#[test]
fn results_that_say_nothing_of_the_store_neither_clear_the_condition_nor_disconnect() {
    let mut r = record(Status::Connected);
    let mut raised_at = None;
    for seconds in (11..400).step_by(10) {
        r = due(r, seconds);
        (r, _) = step(r, no_worker(), &POLICY, at(seconds));
        if is_raised(&r) && raised_at.is_none() {
            raised_at = Some(seconds);
        }
    }
    assert_eq!(raised_at, Some(41));
    assert_eq!(r.durable.status, Status::Connected);
    assert_eq!(r.checks.examine.obstacle.as_deref(), Some(&fault(Reason::AgentBusy)));
    // One result of each check clears it.
    let (r, effects) = step(r, StepInput::Probed(probe(None, None)), &POLICY, at(401));
    assert_eq!(overdue(&r), [false, false, true]);
    assert!(is_raised(&r) && r.checks.examine.obstacle.is_none());
    assert!(!effects.iter().any(|effect| matches!(effect, StepEffect::PublishTransition(_))));
    let (r, effects) = step(r, StepInput::LoggedIn(login(None)), &POLICY, at(402));
    assert!(!is_raised(&r));
    let cleared = HistoryEvent::ConditionChanged { condition: Condition::NotProbed, active: false };
    assert_eq!(effects.first(), Some(&StepEffect::RecordHistory(r.durable.attempt, cleared)));
}

#[test]
fn a_check_that_is_not_due_is_not_overdue() {
    // A Disconnected store is not logged in to, and a directory that is missing is not written to.
    let mut r = record(Status::Disconnected);
    for seconds in (11..2000).step_by(10) {
        r = due(r, seconds);
        let failed = StepInput::Probed(probe(Some(Reason::NotMounted), None));
        (r, _) = step(r, failed, &POLICY, at(seconds));
        assert!(!is_raised(&r), "{seconds}");
    }
    // Settings that switch the write off leave nothing to wait for.
    let policy = CheckPolicy { write_interval: None, ..POLICY };
    let mut r = record(Status::Connecting);
    let end = ended(&r, None);
    (r, _) = step(r, end, &policy, at(1));
    let read = ProbeOutcome { written: None, ..probe(None, None) };
    for seconds in (11..2000).step_by(10) {
        (r, _) = step(r, StepInput::Due(InFlight::default()), &policy, at(seconds));
        (r, _) = step(r, StepInput::Probed(read.clone()), &policy, at(seconds));
        (r, _) = step(r, StepInput::LoggedIn(login(None)), &policy, at(seconds));
        assert!(!is_raised(&r), "{seconds}");
    }
}

#[test]
fn a_write_rarer_than_the_probes_allow_has_the_interval_of_the_probes() {
    let policy = CheckPolicy { write_interval: Some(Duration::from_secs(1)), ..POLICY };
    let mut r = record(Status::Connecting);
    let end = ended(&r, None);
    (r, _) = step(r, end, &policy, at(1));
    (r, _) = step(r, StepInput::Due(InFlight::default()), &policy, at(31));
    assert_eq!(overdue(&r), [false; 3]);
}

#[test]
fn an_attempt_ends_what_it_has_checked_and_a_fault_of_the_daemon_ends_nothing() {
    let r = due(record(Status::Connected), 500);
    assert_eq!(overdue(&r), [true; 3]);
    let reconnect = StepInput::ReconnectRequested { cause: Cause::User, tags: Tags::default() };
    let (r, _) = step(r, reconnect, &POLICY, at(501));
    let (r, _) = step(r, StepInput::AttemptPrepared, &POLICY, at(501));
    assert!(is_raised(&r), "a running attempt has not ended");
    let end = |outcome| StepInput::AttemptEnded { attempt: r.durable.attempt, outcome };
    let (good, _) = step(r.clone(), end(outcome(None)), &POLICY, at(502));
    assert!(!is_raised(&good));
    let (bad, _) = step(r.clone(), end(outcome(Some(Reason::AgentBusy))), &POLICY, at(502));
    assert!(is_raised(&bad) && bad.durable.status == Status::Connected);
    let part = AttemptOutcome { probe: probe(None, None), login: login(Some(Reason::AgentBusy)) };
    let (part, _) = step(r.clone(), end(Ok(part)), &POLICY, at(502));
    assert_eq!(overdue(&part), [false, false, true]);
}

#[test]
fn a_start_forgets_the_limits_of_the_process_before() {
    let r = due(record(Status::Connected), 500);
    assert!(is_raised(&r));
    let (r, _) = step(StoreRecord::new(r.durable), StepInput::Started, &POLICY, at(0));
    assert!(!is_raised(&r));
    // A store that was never probed since then is overdue like any other.
    assert!(!is_raised(&due(r.clone(), 29)));
    assert!(is_raised(&due(r, 30)));
}

proptest! {
    /// Whatever the times of the results: the condition is raised exactly if the examination has no
    /// result for the patience after it was due, and never before.
    #[test]
    fn the_condition_follows_the_last_result(results in prop::collection::vec(any::<bool>(), 1..60)) {
        let mut r = record(Status::Connected);
        let mut last = 1;
        for (n, good) in results.into_iter().enumerate() {
            let seconds = 11 + 10 * n as u64;
            r = due(r, seconds);
            // The due time after a result, and three intervals.
            let limit = if last == 1 { 41 } else { last + 40 };
            prop_assert_eq!(r.checks.examine.is_overdue(), seconds >= limit, "at {}", seconds);
            prop_assert_eq!(r.durable.status, Status::Connected);
            let input = if good { StepInput::Probed(probe(None, None)) } else { no_worker() };
            (r, _) = step(r, input, &POLICY, at(seconds));
            if good {
                last = seconds;
                prop_assert!(!r.checks.examine.is_overdue());
            }
        }
    }
}
