//! Compares the transition table of the module's doc with the code, row by row.

use std::time::Duration;

use crate::common::Timestamp;
use crate::lifecycle::*;
use crate::model::{
    Capacity, Condition, Epoch, Fault, HostEvidence, HostIdentity, Reason, Status, Tags,
    WriteOutcome,
};

pub(crate) const POLICY: CheckPolicy = CheckPolicy {
    probe_interval: Duration::from_secs(10),
    write_interval: Some(Duration::from_secs(60)),
    login_interval: Duration::from_secs(50),
    start_spread: Duration::ZERO,
    fail_after: 3,
    recover_after: 2,
    auto_reconnect: true,
    space: SpaceThresholds { reserved: 10, near_full: 0.85, full: 0.95, filling_up: None },
    slow_probe_after: Duration::from_secs(1),
};

pub(crate) fn at(seconds: u64) -> StepTime {
    let wall = Timestamp(1_700_000_000_000 + i64::try_from(seconds).unwrap() * 1000);
    StepTime { wall, uptime: Duration::from_secs(seconds), random: u64::MAX / 2 }
}

pub(crate) fn measured() -> MeasuredSpace {
    MeasuredSpace { capacity: Capacity::new(100, 40).unwrap(), inodes: None }
}

pub(crate) fn fault(reason: Reason) -> Fault {
    Fault::new(reason, "seen")
}

/// A probe that wrote, with this fault of its examination or of its write.
pub(crate) fn probe(examined: Option<Reason>, written: Option<Reason>) -> ProbeOutcome {
    let took = Duration::from_millis(2);
    let Some(reason) = examined else {
        let written =
            written.map_or(Ok(WriteOutcome::Succeeded(took)), |reason| Err(fault(reason)));
        return ProbeOutcome { examined: Ok(measured()), written: Some(written), took };
    };
    ProbeOutcome { examined: Err(fault(reason)), written: None, took }
}

pub(crate) fn login(reason: Option<Reason>) -> LoginOutcome {
    let shown = Ok(HostIdentity::verified_by(HostEvidence::HostKey));
    let outcome = reason.map_or(shown, |reason| Err(fault(reason)));
    LoginOutcome { outcome, took: Duration::from_millis(30) }
}

/// Returns the outcome of an attempt in which the check of this reason fails.
pub(crate) fn outcome(reason: Option<Reason>) -> Result<AttemptOutcome, Fault> {
    use crate::model::Check;
    match reason.map(|reason| (reason, reason.failed_check())) {
        None => Ok(AttemptOutcome { probe: probe(None, None), login: login(None) }),
        Some((reason, Check::Ssh)) => {
            Ok(AttemptOutcome { probe: probe(None, None), login: login(Some(reason)) })
        }
        Some((reason, Check::Identity | Check::Storage)) => {
            Ok(AttemptOutcome { probe: probe(Some(reason), None), login: login(None) })
        }
        Some((reason, Check::Agent)) => Err(fault(reason)),
    }
}

pub(crate) fn ended(r: &StoreRecord, reason: Option<Reason>) -> StepInput {
    StepInput::AttemptEnded { attempt: r.durable.attempt, outcome: outcome(reason) }
}

/// A record in this status, as the running daemon would have it; Disconnected by a lost mount.
pub(crate) fn record(status: Status) -> StoreRecord {
    let durable = DurableRecord::new_connecting(Epoch(7), Timestamp(0));
    let (record, _) = step_prepared(StoreRecord::new(durable), StepInput::Started, &POLICY, at(0));
    let end = match status {
        Status::Connecting => return record,
        Status::Connected => ended(&record, None),
        Status::Disconnected => ended(&record, Some(Reason::NotMounted)),
    };
    step(record, end, &POLICY, at(1)).0
}

/// As `step`, but an attempt that the step orders is prepared at once.
pub(crate) fn step_prepared(
    record: StoreRecord,
    input: StepInput,
    policy: &CheckPolicy,
    now: StepTime,
) -> (StoreRecord, Vec<StepEffect>) {
    let (record, mut effects) = step(record, input, policy, now);
    let ordered = effects.len();
    effects.retain(|effect| *effect != StepEffect::PrepareAttempt);
    if effects.len() == ordered {
        return (record, effects);
    }
    let (record, more) = step(record, StepInput::AttemptPrepared, policy, now);
    effects.extend(more);
    (record, effects)
}

/// A store that is Disconnected by its login.
fn disconnected_by_login() -> StoreRecord {
    let r = record(Status::Connecting);
    let end = ended(&r, Some(Reason::NotSsh));
    step(r, end, &POLICY, at(1)).0
}

/// Returns the inputs that the words of a row name. The last one is tested; the others prepare the
/// record.
fn inputs(words: &str, record: &StoreRecord) -> Vec<StepInput> {
    let bad = |reason| StepInput::Probed(probe(Some(reason), None));
    let good = || StepInput::Probed(probe(None, None));
    let reconnect = || StepInput::ReconnectRequested { cause: Cause::User, tags: Tags::default() };
    let tagged = || {
        let tags = Tags::new(Vec::new(), vec!["ticket::4711".to_owned()]).unwrap();
        StepInput::ReconnectRequested { cause: Cause::User, tags }
    };
    let requested = |check| StepInput::CheckRequested(check, InFlight::default());
    let not_prepared = || StepInput::PreparationFailed(fault(Reason::AgentBusy));
    let ended_with = |outcome| {
        let attempt = record.durable.attempt.next_id();
        let end = StepInput::AttemptEnded { attempt, outcome };
        vec![reconnect(), StepInput::AttemptPrepared, end]
    };
    match words {
        "started" => vec![StepInput::Started],
        "started, prepared" => vec![StepInput::Started, StepInput::AttemptPrepared],
        "started, not prepared" => vec![StepInput::Started, not_prepared()],
        "reconnect requested" => vec![reconnect()],
        "reconnect requested with tags" => vec![tagged()],
        "reconnect requested twice" => vec![reconnect(), reconnect()],
        "reconnect requested, prepared" => vec![reconnect(), StepInput::AttemptPrepared],
        "reconnect, tags joined, prepared" => {
            vec![reconnect(), tagged(), StepInput::AttemptPrepared]
        }
        "reconnect requested, not prepared" => vec![reconnect(), not_prepared()],
        "hard fault while prepared" => vec![reconnect(), bad(Reason::WrongStore)],
        "late preparation" => vec![StepInput::AttemptPrepared],
        "attempt started, internal error" => ended_with(outcome(Some(Reason::AgentBusy))),
        "internal error beside a fault" => ended_with(Ok(AttemptOutcome {
            probe: probe(Some(Reason::AgentBusy), None),
            login: login(Some(Reason::NotSsh)),
        })),
        "attempt succeeded" => vec![ended(record, None)],
        "attempt failed" => vec![ended(record, Some(Reason::NotSsh))],
        "late result" => {
            let attempt = crate::model::AttemptId(record.durable.attempt.0 - 1);
            vec![StepInput::AttemptEnded { attempt, outcome: outcome(None) }]
        }
        "good probe" => vec![good()],
        "good probes, recover_after in a row" => vec![bad(Reason::NotMounted), good(), good()],
        "soft fault" => vec![bad(Reason::IoError)],
        "soft faults, fail_after in a row" => vec![bad(Reason::IoError); 3],
        "hard fault" => vec![bad(Reason::WrongStore)],
        "internal error" => vec![bad(Reason::AgentBusy)],
        "hanging write, then no worker can start" => {
            let hang = StepInput::Probed(probe(None, Some(Reason::ProbeStuck)));
            vec![hang, bad(Reason::ProbeStuck), bad(Reason::ProbeStuck)]
        }
        "good login" => vec![StepInput::LoggedIn(login(None))],
        "rejected login" => vec![StepInput::LoggedIn(login(Some(Reason::CredentialsRefused)))],
        "lost login" => vec![StepInput::LoggedIn(login(Some(Reason::ConnectionRefused)))],
        "lost logins, fail_after in a row" => {
            vec![StepInput::LoggedIn(login(Some(Reason::ConnectionRefused))); 3]
        }
        "retry due" | "all due" => vec![StepInput::Due(InFlight::default())],
        "all due, probe in flight" => vec![StepInput::Due(InFlight { probe: true, login: false })],
        "all due while prepared" => vec![reconnect(), StepInput::Due(InFlight::default())],
        "probe requested" => vec![requested(RequestedCheck::Probe)],
        "login requested" => vec![requested(RequestedCheck::Login)],
        "login requested while prepared" => vec![reconnect(), requested(RequestedCheck::Login)],
        "stopping" => vec![StepInput::Stopping],
        other => panic!("the table has an input that the test does not know: {other}"),
    }
}

/// Figures for the history and for their day are left out, because they come with any good probe.
/// So is the condition of overdue checks, which the rows would raise by their time.
pub(crate) fn words(effects: &[StepEffect]) -> String {
    let words: Vec<&str> = effects
        .iter()
        .filter(|effect| {
            !matches!(
                effect,
                StepEffect::RecordHistory(
                    _,
                    HistoryEvent::SpaceMeasured(_)
                        | HistoryEvent::ConditionChanged { condition: Condition::NotProbed, .. }
                ) | StepEffect::RecordCapacity(_)
            )
        })
        .map(|effect| match effect {
            StepEffect::PublishTransition(_) => "publish",
            StepEffect::RecordHistory(..) => "record",
            StepEffect::RecordCapacity(_) => "record figures",
            StepEffect::PrepareAttempt => "prepare attempt",
            StepEffect::StartAttempt(_) => "start attempt",
            StepEffect::RejectRequests(_) => "reject requests",
            StepEffect::Probe { .. } => "probe",
            StepEffect::LogIn { .. } => "log in",
            StepEffect::CancelAttempt(_) => "cancel attempt",
            StepEffect::CompleteAttempt(..) => "complete attempt",
        })
        .collect();
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

#[test]
fn the_table_in_the_documentation_is_the_code() {
    let rows: Vec<Vec<&str>> = include_str!("../mod.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//! | "))
        .map(|line| line.trim_end_matches(" |").split(" | ").collect())
        .filter(|row: &Vec<&str>| row[0] != "status")
        .collect();
    assert!(rows.len() > 25, "{rows:?}");
    for row in rows {
        let [status, input, next, effects] = row[..] else { panic!("{row:?}") };
        let mut record = match input {
            "retry due" => disconnected_by_login(),
            _ => record(status.parse().unwrap()),
        };
        assert_eq!(record.durable.status.as_str(), status, "{row:?}");
        if input.starts_with("started") {
            record = StoreRecord::new(record.durable);
        }
        let mut last = Vec::new();
        for (n, input) in inputs(input, &record).into_iter().enumerate() {
            (record, last) = step(record, input, &POLICY, at(100 + n as u64));
        }
        assert_eq!(record.durable.status.as_str(), next, "{row:?}");
        assert_eq!(words(&last), effects, "{row:?}");
    }
}

#[test]
fn every_status_has_a_row_for_every_input_it_can_meet() {
    let text = include_str!("../mod.rs");
    for status in Status::ALL {
        for input in ["started", "reconnect requested", "late result", "good probe", "hard fault"] {
            assert!(text.contains(&format!("//! | {status} | {input} |")), "{status} {input}");
        }
    }
}
