//! The contents of the ledger that [`super::fixture`] keeps: the changes that write it, and the
//! values that must be read from it.

use super::hooks::{hook, stored};
use super::jobs::{job, result};
use super::*;
use crate::lifecycle::{ActiveConditions, MeasuredSpace};
use crate::model::{
    CapacityDay, DayFigures, LoginDigest, LoginRejections, ProcessId, StoredHook, StoredJob,
    StoredJobEnd, TrialRejections, UsedRange, UtcDay,
};

/// Ninety-one days before the fixture is written: a line of history this old is pruned.
const LONG_AGO: Timestamp = Timestamp(NOW.0 - 91 * 24 * 60 * 60 * 1000);

pub(super) const PRIVATE_KEY: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\ninvented\n";
pub(super) const PASSPHRASE: &str = "pass phräse";

pub(super) const WORKER: ProcessId = ProcessId { pid: 4711, start_time: 123_456_789 };

fn secret(text: &str) -> Option<Secret> {
    Some(Secret::new(text.to_owned()))
}

fn offered_key() -> HostKey {
    HostKey {
        algorithm: "ecdsa-sha2-nistp256".to_owned(),
        blob: "AAAAE2VjZHNh".to_owned(),
        fingerprint: "SHA256:def".to_owned(),
    }
}

/// A failure with every kind of evidence.
fn every_evidence() -> AttemptFailure {
    let refused = Fault::new(Reason::ConnectionRefused, "nobody listens \"here\"")
        .with_detail("port", 2222_u16)
        .with_detail("address", "::1")
        .with_detail("tried", vec!["::1".to_owned(), "fe80::1".to_owned()])
        .with_detail("again", true);
    let read_only = Fault::new(Reason::ReadOnly, "read-only").with_recorded_remedy("remount it");
    let changed = Fault::new(Reason::HostKeyChanged, "another key")
        .with_offered_host_key(offered_key())
        .with_detail("expectedFingerprint", "SHA256:abc");
    let rejected = Fault::new(Reason::CredentialsRefused, "three times").with_retry_after(900);
    AttemptFailure::from_faults([refused, read_only, changed, rejected]).unwrap()
}

/// Disconnected, with a pinned key, all three secrets, and a stuck worker.
pub(super) fn first_store() -> Store {
    store(1)
}

pub(super) fn first_credentials() -> SshCredentials {
    SshCredentials {
        password: secret(PASSWORD),
        private_key: secret(PRIVATE_KEY),
        passphrase: secret(PASSPHRASE),
    }
}

pub(super) fn first_standing() -> DurableRecord {
    DurableRecord { failure: Some(every_evidence()), ..durable(Status::Disconnected) }
}

/// Connected, without a pinned key and without figures.
pub(super) fn second_store() -> Store {
    let address = SshAddress { hostname: "node-2".parse().unwrap(), port: 22.try_into().unwrap() };
    Store {
        name: "renamed".to_owned(),
        description: String::new(),
        credentials_address: address.clone(),
        address,
        state: State::Disabled,
        zone_uuids: Vec::new(),
        had_registry: false,
        pinned_key: None,
        given_fingerprints: Vec::new(),
        ..store(2)
    }
}

pub(super) fn second_standing() -> DurableRecord {
    let conditions = [(Condition::NearFull, NOW), (Condition::StaleNamespace, LONG_AGO)];
    DurableRecord {
        status: Status::Connected,
        position: Position { epoch: Epoch(6), seq: Seq(1) },
        attempt: AttemptId(12),
        capacity: None,
        inodes: None,
        failure: None,
        previous: None,
        since: LONG_AGO,
        conditions: ActiveConditions::from(conditions),
    }
}

/// A notice without a failure.
fn moved(n: u128, (epoch, seq): (u64, u64), old_status: Status, new_status: Status) -> Notice {
    let plain = notice(n, epoch, seq);
    let inventory = Inventory { status: new_status, capacity: None, ..plain.inventory };
    let tags = Tags::default();
    Notice { old_status, new_status, failure: None, inventory, tags, ..plain }
}

/// Returns a notice that represents three transitions, and one that represents one.
pub(super) fn first_notices() -> [Notice; 2] {
    use Status::{Connected, Connecting, Disconnected};
    let folded = moved(1, (5, 1), Connected, Disconnected)
        .coalesce(moved(1, (5, 2), Disconnected, Connecting))
        .coalesce(moved(1, (5, 3), Connecting, Disconnected));
    assert_eq!((folded.kind, folded.transition_count), (NoticeKind::Changed, 3));
    [folded, Notice { failure: Some(every_evidence()), ..notice(1, 5, 4) }]
}

/// One of a run of transitions that ended where it began, and one of a later epoch.
pub(super) fn second_notices() -> [Notice; 2] {
    use Status::{Connected, Connecting, Disconnected};
    let folded = moved(2, (5, 1), Connected, Disconnected)
        .coalesce(moved(2, (5, 2), Disconnected, Connecting))
        .coalesce(moved(2, (5, 3), Connecting, Connected));
    assert_eq!((folded.kind, folded.transition_count), (NoticeKind::Resync, 3));
    [folded, moved(2, (6, 1), Connecting, Connected)]
}

/// Each kind of event, oldest first, and as many figures as it takes to prune a line that is too
/// old.
pub(super) fn first_history() -> Vec<HistoryEntry> {
    let tags = || Tags::new(vec!["a::b".to_owned()], vec!["c".to_owned()]).unwrap();
    let measured = |inodes| {
        HistoryEvent::SpaceMeasured(MeasuredSpace {
            capacity: Capacity::new(100, 40).unwrap(),
            inodes,
        })
    };
    let (condition, text) = (Condition::StateDiskTrouble, str::to_owned);
    let mut events = vec![
        HistoryEvent::AttemptStarted { cause: Cause::User, tags: tags() },
        HistoryEvent::AttemptStarted { cause: Cause::Monitor, tags: Tags::default() },
        HistoryEvent::AttemptStarted { cause: Cause::Restart, tags: Tags::default() },
        HistoryEvent::RequestJoined { tags: tags() },
        HistoryEvent::InterruptedByRestart,
        HistoryEvent::StatusChanged {
            old: Status::Connecting,
            new: Status::Disconnected,
            failure: Some(every_evidence()),
        },
        HistoryEvent::StatusChanged {
            old: Status::Connecting,
            new: Status::Connected,
            failure: None,
        },
        HistoryEvent::ConditionChanged { condition, active: true },
        HistoryEvent::ConditionChanged { condition, active: false },
        HistoryEvent::DefinitionUpdated { fields: vec![text("name"), text("password")] },
        HistoryEvent::HostKeyAccepted {
            algorithm: text("ssh-ed25519"),
            fingerprint: text("SHA256:abc"),
        },
        HistoryEvent::DirectoryMoved(store(1).mount),
        measured(Some(InodeCounts { total: 10, available: 4 })),
    ];
    events.resize(63, measured(None));
    let lines = events.into_iter().zip(0..);
    let line = |(event, n): (_, u32)| HistoryEntry {
        at: Timestamp(NOW.0 + i64::from(n)),
        attempt: AttemptId(n.into()),
        event,
    };
    lines.map(line).collect()
}

/// A job that runs and has changed a definition, and one that has ended.
pub(super) fn stored_jobs() -> Vec<StoredJob> {
    let ended = Some(StoredJobEnd { at: Timestamp(NOW.0 + 100), bytes: 15 });
    vec![
        StoredJob { request: job(1), changed_definition: true, ended: None },
        StoredJob { request: job(2), changed_definition: false, ended },
    ]
}

/// The web hooks of both jobs, that of the second in its second turn. Format 3 has none.
pub(super) fn stored_hooks() -> Vec<StoredHook> {
    vec![stored(1), stored(2)]
}

/// The history of the second store, oldest first. Formats before 5 have the last line only.
pub(super) fn second_history() -> Vec<HistoryEntry> {
    let added = HistoryEvent::StoreAdded { name: "renamed".to_owned() };
    vec![HistoryEntry { event: added, ..entry(NOW.0) }, entry(NOW.0)]
}

/// The figures of two days, in two series.
pub(super) fn figures() -> [(DayFigures, MountLocation); 2] {
    let used = |total, min, max, last| UsedRange::new(total, min, max, last).unwrap();
    let yesterday = DayFigures {
        day: UtcDay::of(NOW).plus(-1),
        space: used(100, 20, 70, 30),
        inodes: Some(used(10, 1, 9, 4)),
        covered_seconds: 86_400,
    };
    let today = DayFigures {
        day: UtcDay::of(NOW),
        space: used(50, 30, 60, 40),
        inodes: None,
        covered_seconds: 12,
    };
    let elsewhere = MountLocation { device: "8:2".to_owned(), ..store(1).mount };
    [(yesterday, store(1).mount), (today, elsewhere)]
}

pub(super) fn capacity_days() -> Vec<CapacityDay> {
    let series = 1..;
    series.zip(figures()).map(|(series, (figures, _))| CapacityDay { series, figures }).collect()
}

/// The figures that the migration to format 5 finds in [`first_history`], in which a move is before
/// the first figure.
pub(super) fn migrated_days() -> Vec<CapacityDay> {
    let used = |total, used| UsedRange::new(total, used, used, used).unwrap();
    let figures = DayFigures {
        day: UtcDay::of(NOW),
        space: used(100, 60),
        inodes: Some(used(10, 6)),
        covered_seconds: 0,
    };
    vec![CapacityDay { series: 2, figures }]
}

/// Makes the changes that produce a fixture.
pub(super) async fn fill(place: &TestStateDir) {
    let opened = place.open();
    let (one, two) = (uuid(1), uuid(2));
    let too_old = HistoryEntry { at: LONG_AGO, ..entry(0) };
    let first = LedgerChange::new()
        .add_store(first_store(), first_credentials(), durable(Status::Connecting))
        .add_history(one, too_old);
    opened.ledger.commit(first).await.unwrap();
    opened.ledger.commit(added(2)).await.unwrap();

    let [folded, last] = first_notices();
    let mut change = LedgerChange::new()
        .save_record(one, first_standing())
        .save_stuck_worker(one, WORKER)
        .save_rejections(one, Some(rejections()))
        .save_trial_rejections(TRIAL, Some(trial_rejections()), LONG_AGO)
        .save_trial_rejections(LoginDigest([7; 32]), Some(trial_rejections()), LONG_AGO)
        .save_trial_rejections(LoginDigest([7; 32]), None, LONG_AGO);
    for seq in 1..=3 {
        change = change.enqueue(notice(1, 5, seq));
    }
    change = change.coalesce(folded.position, folded).enqueue(last);
    for line in first_history() {
        change = change.add_history(one, line);
    }
    opened.ledger.commit(change).await.unwrap();

    let [resync, last] = second_notices();
    let done = Position { epoch: Epoch(5), seq: Seq(4) };
    let key = SshCredentials { password: None, ..first_credentials() };
    let change = LedgerChange::new()
        .save_store(second_store())
        .replace_secrets(two, key)
        .save_record(two, second_standing())
        .enqueue(notice(2, 5, 1))
        .coalesce(resync.position, resync)
        .enqueue(notice(2, 5, 4))
        .acknowledge(two, done)
        .enqueue(last)
        .save_stuck_worker(two, WORKER)
        .clear_stuck_worker(two)
        .add_history(two, second_history().remove(0))
        .add_history(two, entry(NOW.0));
    opened.ledger.commit(change).await.unwrap();
    for (figures, place) in figures() {
        let change = LedgerChange::new().add_capacity(one, figures, place);
        opened.ledger.commit(change).await.unwrap();
    }
    let jobs = LedgerChange::new()
        .add_job(job(1))
        .mark_job_change(job(1).job)
        .add_job(job(2))
        .finish_job(job(2).job, result("{\"naïve\":true}"))
        .add_job(job(3))
        .owe_hook(&job(1), hook())
        .owe_hook(&job(2), hook())
        .owe_hook(&job(2), hook())
        .remove_hook(job(2).job, 1)
        .owe_hook(&job(3), hook())
        .remove_job(job(3).job);
    opened.ledger.commit(jobs).await.unwrap();
    // A third store leaves nothing behind.
    opened.ledger.commit(added(3).enqueue(notice(3, 5, 1))).await.unwrap();
    opened.ledger.commit(LedgerChange::new().remove_store(uuid(3), removed(NOW.0))).await.unwrap();
    opened.writer.close_ledger().await;
}

/// Two rejected logins of the first store. Format 1 has none.
pub(super) fn rejections() -> LoginRejections {
    let last = Fault::new(Reason::CredentialsRefused, "root may not log in")
        .with_detail("methods", vec!["password".to_owned()]);
    LoginRejections { rejected_at: vec![NOW, Timestamp(NOW.0 + 1)], last }
}

pub(super) const TRIAL: LoginDigest = LoginDigest([0xa5; 32]);

/// Two rejected trial logins. Format 1 has none.
pub(super) fn trial_rejections() -> TrialRejections {
    let rejected_at = vec![NOW, Timestamp(NOW.0 + 1)];
    TrialRejections { rejected_at, reason: Reason::ConnectionLost }
}
