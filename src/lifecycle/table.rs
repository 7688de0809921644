//! Compares the transition table of the module's doc with the code, row by row.

use std::time::Duration;

use super::*;
use crate::model::{Capacity, Epoch, Failure, Fault, Reason, Status, Tags, Timestamp};

pub(super) const POLICY: Policy = Policy {
    interval: Duration::from_secs(10),
    fail_after: 3,
    recover_after: 2,
    auto_reconnect: true,
};

pub(super) fn at(seconds: u64) -> Moment {
    let wall = Timestamp(1_700_000_000_000 + i64::try_from(seconds).unwrap() * 1000);
    Moment { wall, uptime: Duration::from_secs(seconds), roll: u64::MAX / 2 }
}

pub(super) fn measured() -> Measured {
    Measured { capacity: Capacity::new(100, 40).unwrap(), inodes: None }
}

pub(super) fn fault(reason: Reason) -> Fault {
    Fault::new(reason, "seen")
}

/// A record in this status, as the running daemon would have it.
pub(super) fn record(status: Status) -> Record {
    let standing = Standing::connecting(Epoch(7), Timestamp(0));
    let (record, _) = step(Record::new(standing), Input::Started, &POLICY, at(0));
    let attempt = record.standing.attempt;
    let outcome = match status {
        Status::Connecting => return record,
        Status::Connected => Ok(measured()),
        Status::Disconnected => Err(Failure::of(fault(Reason::NotMounted))),
    };
    step(record, Input::AttemptEnded { attempt, outcome }, &POLICY, at(1)).0
}

/// The inputs a row's words stand for; all but the last lead up to the one that is looked at.
fn inputs(words: &str, record: &Record) -> Vec<Input> {
    let newest = record.standing.attempt;
    let ended = |attempt, outcome| Input::AttemptEnded { attempt, outcome };
    let bad = |reason| Input::Probed(Err(fault(reason)));
    match words {
        "started" => vec![Input::Started],
        "reconnect asked" => {
            vec![Input::ReconnectAsked { cause: Cause::Person, tags: Tags::default() }]
        }
        "attempt succeeded" => vec![ended(newest, Ok(measured()))],
        "attempt failed" => vec![ended(newest, Err(Failure::of(fault(Reason::NotSsh))))],
        "late result" => vec![ended(crate::model::AttemptId(newest.0 - 1), Ok(measured()))],
        "good probe" => vec![Input::Probed(Ok(measured()))],
        "good probes again and again" => {
            vec![
                bad(Reason::NotMounted),
                Input::Probed(Ok(measured())),
                Input::Probed(Ok(measured())),
            ]
        }
        "soft fault" => vec![bad(Reason::IoError)],
        "soft fault again and again" => vec![bad(Reason::IoError); 3],
        "hard fault" => vec![bad(Reason::WrongStore)],
        "retry due" => vec![Input::RetryDue],
        "stopping" => vec![Input::Stopping],
        other => panic!("the table has an input that the test does not know: {other}"),
    }
}

fn words(effects: &[Effect]) -> String {
    let words: Vec<&str> = effects
        .iter()
        .map(|effect| match effect {
            Effect::Changed(_) => "changed",
            Effect::Noted(..) => "noted",
            Effect::Begun(_) => "begun",
            Effect::Abandoned(_) => "abandoned",
            Effect::Settled(..) => "settled",
        })
        .collect();
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

#[test]
fn the_table_in_the_documentation_is_the_code() {
    let rows: Vec<Vec<&str>> = include_str!("mod.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//! | "))
        .map(|line| line.trim_end_matches(" |").split(" | ").collect())
        .filter(|row: &Vec<&str>| row[0] != "status")
        .collect();
    assert!(rows.len() > 25, "{rows:?}");
    for row in rows {
        let [status, input, next, effects] = row[..] else { panic!("{row:?}") };
        let mut record = record(status.parse().unwrap());
        if input == "started" {
            record = Record::new(record.standing);
        }
        let mut last = Vec::new();
        for (n, input) in inputs(input, &record).into_iter().enumerate() {
            (record, last) = step(record, input, &POLICY, at(100 + n as u64));
        }
        assert_eq!(record.standing.status.as_str(), next, "{row:?}");
        assert_eq!(words(&last), effects, "{row:?}");
    }
}

#[test]
fn every_status_has_a_row_for_every_input_it_can_meet() {
    let text = include_str!("mod.rs");
    for status in Status::ALL {
        for input in ["started", "reconnect asked", "late result", "good probe", "hard fault"] {
            assert!(text.contains(&format!("//! | {status} | {input} |")), "{status} {input}");
        }
    }
}

#[test]
fn a_failed_login_is_tried_again_by_time_and_slower_when_refused() {
    for (reason, cap) in [(Reason::ConnectionRefused, 300), (Reason::CredentialsRefused, 900)] {
        let mut r = record(Status::Connecting);
        let mut longest = Duration::ZERO;
        for n in 0..20 {
            let outcome = Err(Failure::of(fault(reason)));
            let now = Moment { roll: u64::MAX, ..at(n * 10_000) };
            let attempt = r.standing.attempt;
            (r, _) = step(r, Input::AttemptEnded { attempt, outcome }, &POLICY, now);
            let due = r.retry_at().expect("an SSH fault is retried by time");
            longest = longest.max(due - now.uptime);
            (r, _) = step(r, Input::RetryDue, &POLICY, Moment { uptime: due, ..now });
            assert_eq!(r.standing.status, Status::Connecting);
        }
        assert_eq!(longest, Duration::from_secs(cap), "{reason}");
    }
}

#[test]
fn a_storage_fault_is_waited_out_by_probes_and_not_by_time() {
    let r = record(Status::Disconnected);
    assert_eq!(r.retry_at(), None);
    assert!(r.next_probe_writes());
}

#[test]
fn attempts_that_fail_beside_good_probes_are_spaced() {
    let slow = Moment { roll: u64::MAX, ..at(1000) };
    let mut r = record(Status::Connecting);
    for _ in 0..2 {
        let attempt = r.standing.attempt;
        let outcome = Err(Failure::of(fault(Reason::IoError)));
        (r, _) = step(r, Input::AttemptEnded { attempt, outcome }, &POLICY, slow);
        for _ in 0..5 {
            (r, _) = step(r, Input::Probed(Ok(measured())), &POLICY, slow);
        }
        assert_eq!(r.standing.status, Status::Disconnected, "the wait is not over");
        let later = Moment { uptime: slow.uptime + Duration::from_secs(20), ..slow };
        (r, _) = step(r, Input::Probed(Ok(measured())), &POLICY, later);
        assert_eq!(r.standing.status, Status::Connecting);
    }
}

#[test]
fn without_auto_reconnect_nothing_starts_by_itself() {
    let policy = Policy { auto_reconnect: false, ..POLICY };
    let mut r = record(Status::Connecting);
    let attempt = r.standing.attempt;
    let outcome = Err(Failure::of(fault(Reason::ConnectionRefused)));
    (r, _) = step(r, Input::AttemptEnded { attempt, outcome }, &policy, at(5));
    assert_eq!(r.retry_at(), None);
    for input in [Input::RetryDue, Input::Probed(Ok(measured())), Input::Probed(Ok(measured()))] {
        let effects;
        (r, effects) = step(r, input, &policy, at(500));
        assert_eq!((r.standing.status, effects), (Status::Disconnected, vec![]));
    }
}

#[test]
fn the_reason_of_a_disconnected_store_follows_the_probes() {
    let mut r = record(Status::Connecting);
    let attempt = r.standing.attempt;
    let outcome = Err(Failure::of(fault(Reason::ConnectionRefused)));
    (r, _) = step(r, Input::AttemptEnded { attempt, outcome }, &POLICY, at(5));
    (r, _) = step(r, Input::Probed(Err(fault(Reason::NotMounted))), &POLICY, at(6));
    let reasons = |r: &Record| -> Vec<Reason> {
        r.standing.failure.iter().flat_map(Failure::faults).map(Fault::reason).collect()
    };
    assert_eq!(reasons(&r), [Reason::NotMounted, Reason::ConnectionRefused]);
    assert_eq!(r.retry_at(), None, "now the probes decide when an attempt is worth it");
    (r, _) = step(r, Input::Probed(Err(fault(Reason::WrongStore))), &POLICY, at(7));
    assert_eq!(reasons(&r), [Reason::WrongStore, Reason::ConnectionRefused]);
}
