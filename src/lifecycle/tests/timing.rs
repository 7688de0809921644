//! The rules over time that a table of single steps cannot show.

use std::time::Duration;

use super::transition_table::{
    POLICY, at, ended, login, probe, record, step_prepared as step, words,
};
use crate::lifecycle::overdue::CheckWatch;
use crate::lifecycle::*;
use crate::model::{
    AttemptFailure, Capacity, Condition, Fault, HostEvidence, HostIdentity, Obstacle, Reason,
    Status, UnverifiedHost, WriteOutcome,
};

#[test]
fn a_failed_login_is_retried_by_time_and_slower_after_a_rejection() {
    for (reason, cap) in [(Reason::ConnectionRefused, 300), (Reason::CredentialsRefused, 900)] {
        let mut r = record(Status::Connecting);
        let mut longest = Duration::ZERO;
        for n in 0..20 {
            let now = StepTime { random: u64::MAX, ..at(n * 10_000) };
            let end = ended(&r, Some(reason));
            (r, _) = step(r, end, &POLICY, now);
            // Leaves out the probe, which is due earlier.
            let due = unwatched(&r).due_check(InFlight { probe: true, login: false });
            let due = due.expect("an SSH fault is retried by time");
            longest = longest.max(due - now.uptime);
            let then = StepTime { uptime: due, ..now };
            (r, _) = step(r, StepInput::Due(InFlight::default()), &POLICY, then);
            assert_eq!(r.durable.status, Status::Connecting);
        }
        assert_eq!(longest, Duration::from_secs(cap), "{reason}");
    }
}

/// Returns the monitor's checks that a step at this time starts.
fn started(r: &StoreRecord, seconds: u64) -> Vec<StepEffect> {
    step(unwatched(r), StepInput::Due(InFlight::default()), &POLICY, at(seconds)).1
}

/// Returns the record without the watch for checks that do not end, which needs a wakeup too.
fn unwatched(r: &StoreRecord) -> StoreRecord {
    let mut r = r.clone();
    for check in [&mut r.checks.examine, &mut r.checks.write, &mut r.checks.ssh] {
        check.watch = CheckWatch::default();
    }
    r
}

#[test]
fn a_storage_fault_is_waited_out_by_probes_that_write_and_not_by_time() {
    let r = record(Status::Disconnected);
    assert_eq!(unwatched(&r).due_check(InFlight { probe: true, login: false }), None);
    assert_eq!(started(&r, 11), [StepEffect::Probe { write: true }]);
}

#[test]
fn a_healthy_store_is_written_and_logged_into_at_intervals() {
    let r = record(Status::Connected);
    assert_eq!(r.due_check(InFlight::default()), Some(Duration::from_secs(11)));
    assert_eq!(started(&r, 10), []);
    assert_eq!(started(&r, 11), [StepEffect::Probe { write: false }]);
    assert_eq!(
        started(&r, 51),
        [StepEffect::Probe { write: false }, StepEffect::LogIn { requested: false }]
    );
    assert_eq!(
        started(&r, 61),
        [StepEffect::Probe { write: true }, StepEffect::LogIn { requested: false }]
    );
}

#[test]
fn after_a_failed_check_the_next_ones_follow_at_the_pace_of_probes_until_it_is_decided() {
    let r = record(Status::Connected);
    let failed = StepInput::Probed(probe(None, Some(Reason::IoError)));
    let (r, effects) = step(r, failed, &POLICY, at(11));
    assert_eq!(words(&effects), "-");
    assert_eq!(
        started(&r, 12),
        [StepEffect::Probe { write: true }],
        "though none is due for a minute"
    );
    // The examination alone says nothing about the write.
    let read = ProbeOutcome { written: None, ..probe(None, None) };
    let (r, _) = step(r, StepInput::Probed(read), &POLICY, at(13));
    assert_eq!(r.checks.write.consecutive_failures(), 1);
    let (r, _) = step(r, StepInput::Probed(probe(None, None)), &POLICY, at(14));
    assert_eq!(r.checks.write.consecutive_failures(), 0);

    let (r, _) = step(r, StepInput::Due(InFlight::default()), &POLICY, at(51));
    let lost = StepInput::LoggedIn(login(Some(Reason::ConnectTimeout)));
    let (r, _) = step(r, lost, &POLICY, at(52));
    let in_flight = InFlight { probe: true, login: false };
    assert_eq!(unwatched(&r).due_check(in_flight), Some(Duration::from_secs(61)));
    let (r, _) = step(r, StepInput::Due(in_flight), &POLICY, at(61));
    let (r, _) = step(r, StepInput::LoggedIn(login(None)), &POLICY, at(62));
    assert_eq!(unwatched(&r).due_check(in_flight), Some(Duration::from_secs(112)));
}

#[test]
fn each_check_counts_for_itself() {
    let mut r = record(Status::Connected);
    for n in 0..2 {
        for input in [
            StepInput::Probed(probe(Some(Reason::IoError), None)),
            StepInput::LoggedIn(login(Some(Reason::ConnectionLost))),
        ] {
            (r, _) = step(r, input, &POLICY, at(20 + n));
        }
        assert_eq!(r.durable.status, Status::Connected, "two of each are not three of one");
    }
    let (r, _) = step(r, StepInput::Probed(probe(None, None)), &POLICY, at(30));
    assert_eq!(
        (r.checks.examine.consecutive_failures(), r.checks.ssh.consecutive_failures()),
        (0, 2)
    );
}

#[test]
fn a_start_spreads_the_first_probes_and_the_ones_after_them() {
    let policy = CheckPolicy { start_spread: Duration::from_secs(2), ..POLICY };
    let durable = record(Status::Connected).durable;
    let mut firsts = std::collections::BTreeSet::new();
    for n in 0..16_u64 {
        let now = StepTime { random: n << 60, ..at(0) };
        let (r, _) = step(StoreRecord::new(durable.clone()), StepInput::Started, &policy, now);
        let first = r.due_check(InFlight::default()).unwrap();
        assert!(first <= policy.start_spread);
        let (r, _) = step(
            r,
            StepInput::Due(InFlight::default()),
            &policy,
            StepTime { uptime: first, ..now },
        );
        let second = r.due_check(InFlight { probe: false, login: true }).unwrap();
        assert!(second - first <= policy.probe_interval);
        firsts.insert((first, second));
    }
    assert_eq!(firsts.len(), 16);
}

#[test]
fn attempts_that_fail_beside_good_probes_are_spaced() {
    let slow = StepTime { random: u64::MAX, ..at(1000) };
    let mut r = record(Status::Connecting);
    for _ in 0..2 {
        let end = ended(&r, Some(Reason::IoError));
        (r, _) = step(r, end, &POLICY, slow);
        for _ in 0..5 {
            (r, _) = step(r, StepInput::Probed(probe(None, None)), &POLICY, slow);
        }
        assert_eq!(r.durable.status, Status::Disconnected, "the wait is not over");
        let later = StepTime { uptime: slow.uptime + Duration::from_secs(20), ..slow };
        (r, _) = step(r, StepInput::Probed(probe(None, None)), &POLICY, later);
        assert_eq!(r.durable.status, Status::Connecting);
    }
}

#[test]
fn without_auto_reconnect_nothing_starts_by_itself() {
    let policy = CheckPolicy { auto_reconnect: false, ..POLICY };
    let mut r = record(Status::Connecting);
    let end = ended(&r, Some(Reason::ConnectionRefused));
    (r, _) = step(r, end, &policy, at(5));
    assert_eq!(unwatched(&r).due_check(InFlight { probe: true, login: false }), None);
    let good = || StepInput::Probed(probe(None, None));
    for input in [good(), good(), good()] {
        (r, _) = step(r, input, &policy, at(500));
        assert_eq!(r.durable.status, Status::Disconnected);
    }
}

#[test]
fn the_reason_of_a_disconnected_store_follows_the_probes() {
    let mut r = record(Status::Connecting);
    let end = ended(&r, Some(Reason::ConnectionRefused));
    (r, _) = step(r, end, &POLICY, at(5));
    let bad = |reason| StepInput::Probed(probe(Some(reason), None));
    (r, _) = step(r, bad(Reason::NotMounted), &POLICY, at(6));
    let reasons = |r: &StoreRecord| -> Vec<Reason> {
        r.durable.failure.iter().flat_map(AttemptFailure::all_faults).map(Fault::reason).collect()
    };
    assert_eq!(reasons(&r), [Reason::NotMounted, Reason::ConnectionRefused]);
    let in_flight = InFlight { probe: true, login: false };
    assert_eq!(
        unwatched(&r).due_check(in_flight),
        None,
        "now the probes decide when an attempt is worth it"
    );
    (r, _) = step(r, bad(Reason::WrongStore), &POLICY, at(7));
    assert_eq!(reasons(&r), [Reason::WrongStore, Reason::ConnectionRefused]);
}

#[test]
fn conditions_are_noted_when_they_turn_and_disconnect_nothing() {
    let mut r = record(Status::Connected);
    let full = || ProbeOutcome { written: Some(Ok(WriteOutcome::Full)), ..probe(None, None) };
    let (next, effects) = step(r, StepInput::Probed(full()), &POLICY, at(20));
    let turned = HistoryEvent::ConditionChanged { condition: Condition::Full, active: true };
    assert!(effects.contains(&StepEffect::RecordHistory(next.durable.attempt, turned)));
    assert_eq!(next.durable.status, Status::Connected);
    // A probe that does not write leaves what the last write met.
    let read = ProbeOutcome { written: None, ..probe(None, None) };
    let (next, effects) = step(next, StepInput::Probed(read), &POLICY, at(30));
    assert_eq!(words(&effects), "-");
    assert_eq!(next.durable.conditions[&Condition::Full], at(20).wall);
    (r, _) = step(next, StepInput::Probed(probe(None, None)), &POLICY, at(40));
    assert!(r.durable.conditions.is_empty());
}

#[test]
fn figures_are_kept_when_the_size_changes_and_else_now_and_then() {
    let r = record(Status::Connected);
    let sized = |total, available| {
        let capacity = Capacity::new(total, available).unwrap();
        let measured = MeasuredSpace { capacity, inodes: None };
        StepInput::Probed(ProbeOutcome { examined: Ok(measured), ..probe(None, None) })
    };
    let kept = |effects: &[StepEffect]| {
        let kept = |e: &&StepEffect| {
            matches!(e, StepEffect::RecordHistory(_, HistoryEvent::SpaceMeasured(_)))
        };
        effects.iter().filter(kept).count()
    };
    let (r, effects) = step(r, sized(100, 39), &POLICY, at(20));
    assert_eq!((kept(&effects), r.durable.capacity.unwrap().available()), (0, 39));
    let (r, effects) = step(r, sized(200, 139), &POLICY, at(30));
    assert_eq!(kept(&effects), 1, "it has grown");
    let (r, effects) = step(r, sized(200, 138), &POLICY, at(629));
    assert_eq!(kept(&effects), 0);
    let (r, effects) = step(r, sized(200, 137), &POLICY, at(630));
    assert_eq!(kept(&effects), 1);
    let (_, effects) = step(r, sized(200, 137), &POLICY, at(9000));
    assert_eq!(kept(&effects), 0, "nothing has changed");
}

/// A commit with figures by day has the sample of the history, another line, the end of a day, or
/// six hours without any of these.
#[test]
fn figures_by_day_make_no_commit_of_their_own_but_at_the_end_of_a_day_and_after_six_hours() {
    let policy = CheckPolicy { probe_interval: Duration::from_secs(10), ..POLICY };
    let sized = |available| {
        let capacity = Capacity::new(100, available).unwrap();
        let measured = MeasuredSpace { capacity, inodes: None };
        StepInput::Probed(ProbeOutcome { examined: Ok(measured), ..probe(None, None) })
    };
    let (mut own, mut with_lines, mut covered) = (Vec::new(), 0, 0);
    let mut r = record(Status::Connected);
    // The first midnight is after 6400 s, and the use changes in the first hour only.
    for seconds in (10..26 * 3600).step_by(10) {
        let available = if seconds < 3600 { seconds / 100 } else { 40 };
        let (next, effects) = step(r, sized(available), &policy, at(seconds));
        r = next;
        let days: Vec<_> = effects
            .iter()
            .filter_map(|effect| match effect {
                StepEffect::RecordCapacity(figures) => Some(*figures),
                _ => None,
            })
            .collect();
        covered += days.iter().map(|day| day.covered_seconds).sum::<u32>();
        let has_line = effects.iter().any(|e| matches!(e, StepEffect::RecordHistory(..)));
        match (days.is_empty(), has_line) {
            (true, has_line) => assert!(!has_line, "a measurement is committed without its day"),
            (false, true) => with_lines += 1,
            (false, false) => own.push(seconds / 3600),
        }
    }
    assert!(with_lines >= 5, "{with_lines}");
    assert_eq!(own, [1, 7, 13, 19, 25], "hours");
    assert_eq!(covered, 24 * 3600 + 6400 - 1, "since the attempt of the first second");
    // A figure ends when the store is Disconnected.
    let failed = StepInput::Probed(probe(Some(Reason::NotMounted), None));
    let (r, effects) = step(r, failed, &policy, at(26 * 3600));
    assert_eq!(r.durable.status, Status::Disconnected);
    let last = effects.iter().find_map(|effect| match effect {
        StepEffect::RecordCapacity(figures) => Some(figures.covered_seconds),
        _ => None,
    });
    assert_eq!(last, Some(2 * 3600 - 6400));
    let (_, effects) = step(r, sized(50), &policy, at(26 * 3600 + 10));
    assert!(!effects.iter().any(|effect| matches!(effect, StepEffect::RecordCapacity(_))));
}

#[test]
fn a_host_that_cannot_be_proven_is_a_condition_until_a_login_proves_it() {
    let unproven = UnverifiedHost { obstacle: Obstacle::NoSftp, details: "no SFTP".to_owned() };
    let shown = |proof| StepInput::LoggedIn(LoginOutcome { outcome: Ok(proof), ..login(None) });
    let condition = Condition::ProofUnavailable;
    let turned = |effects: &[StepEffect]| {
        let turned = |effect: &StepEffect| match effect {
            StepEffect::RecordHistory(
                _,
                HistoryEvent::ConditionChanged { condition, active: holds },
            ) => Some((*condition, *holds)),
            _ => None,
        };
        effects.iter().filter_map(turned).collect::<Vec<_>>()
    };
    let r = record(Status::Connected);
    let (r, effects) = step(r, shown(HostIdentity::Unverified(unproven.clone())), &POLICY, at(20));
    assert_eq!(turned(&effects), [(condition, true)]);
    assert_eq!((r.durable.status, r.host_identity.is_some()), (Status::Connected, true));
    let (r, effects) = step(r, shown(HostIdentity::Unverified(unproven)), &POLICY, at(30));
    assert_eq!(turned(&effects), []);
    assert_eq!(r.durable.conditions[&condition], at(20).wall);
    // A login that fails, and a probe, show nothing of it.
    let (r, _) = step(r, StepInput::LoggedIn(login(Some(Reason::AuthTimeout))), &POLICY, at(40));
    let (r, _) = step(r, StepInput::Probed(probe(None, None)), &POLICY, at(40));
    assert!(r.durable.conditions.contains_key(&condition));
    let (r, effects) =
        step(r, shown(HostIdentity::verified_by(HostEvidence::Marker)), &POLICY, at(50));
    assert_eq!(turned(&effects), [(condition, false)]);
    assert!(r.durable.conditions.is_empty());
}

/// Returns the decision on the request for a check that is not in flight.
fn decided(r: &StoreRecord, check: RequestedCheck, seconds: u64) -> RequestDecision {
    r.decide_request(check, InFlight::default(), &POLICY, at(seconds))
}

#[test]
fn a_caller_may_request_a_probe_once_in_an_interval_and_one_that_is_due_anyway() {
    let requested = || StepInput::CheckRequested(RequestedCheck::Probe, InFlight::default());
    let r = record(Status::Connected);
    let (first, effects) = step(r, requested(), &POLICY, at(3));
    assert_eq!(words(&effects), "probe");
    for (seconds, wait) in [(3, 10), (4, 9), (12, 1)] {
        let wait = RequestDecision::Wait(Duration::from_secs(wait));
        assert_eq!(decided(&first, RequestedCheck::Probe, seconds), wait);
        let (same, effects) = step(first.clone(), requested(), &POLICY, at(seconds));
        assert_eq!((&same, words(&effects).as_str()), (&first, "-"));
    }
    // The request has delayed the probe of the monitor.
    assert_eq!(started(&first, 12), []);
    assert_eq!(words(&started(&first, 13)), "probe");
    let (second, effects) = step(first, requested(), &POLICY, at(13));
    assert_eq!(words(&effects), "probe");
    // That one was due, so it was not the caller's.
    assert_eq!(decided(&second, RequestedCheck::Probe, 14), RequestDecision::Start);
}

#[test]
fn a_request_joins_what_runs() {
    let connected = record(Status::Connected);
    let reconnect =
        StepInput::ReconnectRequested { cause: Cause::User, tags: crate::model::Tags::default() };
    let preparing = super::super::step(connected.clone(), reconnect, &POLICY, at(1)).0;
    let (probe, login) = (RequestedCheck::Probe, RequestedCheck::Login);
    for check in [probe, login] {
        let in_flight = InFlight { probe: check == probe, login: check == login };
        let other = InFlight { probe: check == login, login: check == probe };
        let decide = |in_flight| connected.decide_request(check, in_flight, &POLICY, at(1));
        assert_eq!(decide(in_flight), RequestDecision::Join, "{check}");
        assert_eq!(decide(other), RequestDecision::Start, "{check}");
        let connecting = record(Status::Connecting);
        assert_eq!(decided(&connecting, check, 1), RequestDecision::Join, "{check}");
    }
    // The preparation has ended a login, and a probe may still start.
    assert_eq!(decided(&preparing, login, 1), RequestDecision::Join);
    assert_eq!(decided(&preparing, probe, 1), RequestDecision::Start);
}

#[test]
fn a_requested_login_of_a_disconnected_store_is_recorded_and_decides_nothing() {
    let r = record(Status::Disconnected);
    let failed = StepInput::LoggedIn(login(Some(Reason::CredentialsRefused)));
    let (after, effects) = step(r.clone(), failed, &POLICY, at(5));
    assert_eq!((words(&effects).as_str(), &after.durable), ("-", &r.durable));
    let fault = after.checks.ssh.fault.as_ref().map(Fault::reason);
    assert_eq!(
        (fault, after.checks.ssh.last),
        (Some(Reason::CredentialsRefused), Some(at(5).wall))
    );
    let (after, _) = step(after, StepInput::LoggedIn(login(None)), &POLICY, at(6));
    assert_eq!((after.durable.status, after.checks.ssh.fault.as_ref()), (r.durable.status, None));
}
