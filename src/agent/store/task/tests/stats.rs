//! The counts of attempts, transitions and checks.

use std::net::TcpListener;

use super::*;
use crate::agent::store::task::TaskEvent;
use crate::agent::store::{StoreCommand, Waiters};
use crate::agent::{AddError, AgentStats, AttemptEnd, RegistryTask, StoreService as _};
use crate::common::CounterFamily;
use crate::common::{HistogramExemplar, observe_phases, run_phase};
use crate::lifecycle::{AttemptOutcome, Cause, StepInput};
use crate::model::{AddStore, AttemptId, Fault, ImageDir, Reason, Tags};

type Attempts = Vec<((Cause, AttemptEnd), u64)>;
type Transitions = Vec<((Status, Option<Reason>), u64)>;

/// Returns the labels that occurred.
fn occurred<L: Ord + Clone>(family: &CounterFamily<L>) -> Vec<(L, u64)> {
    family.values().into_iter().filter(|(_, count)| *count > 0).collect()
}

fn counts(task: &StoreTask) -> (Attempts, Transitions, u64) {
    let stats = &task.context.stats;
    (occurred(&stats.attempts), occurred(&stats.transitions), stats.joiners.value())
}

async fn save(opened: &OpenedLedger, store: Store) {
    let credentials = SshCredentials::password(Secret::new("hunter2".to_owned()));
    let change = LedgerChange::new().add_store(store, credentials, durable_record());
    opened.ledger.commit(change).await.unwrap();
}

fn reconnect() -> StepInput {
    StepInput::ReconnectRequested { cause: Cause::User, tags: Tags::default() }
}

fn good_probe() -> ProbeOutcome {
    let capacity = Capacity::new(1000, 400).unwrap();
    let examined = Ok(MeasuredSpace { capacity, inodes: None });
    ProbeOutcome { examined, written: None, took: Duration::from_millis(3) }
}

fn failed_probe(reason: Reason) -> StepInput {
    StepInput::Probed(ProbeOutcome { examined: Err(Fault::new(reason, "x")), ..good_probe() })
}

/// The end of attempt `attempt`: with this fault of the login, or with a success.
fn ended(attempt: u64, fault: Option<Reason>) -> StepInput {
    let outcome = match fault {
        None => Ok(HostIdentity::verified_by(HostEvidence::BootId)),
        Some(reason) => Err(Fault::new(reason, "x")),
    };
    let login = LoginOutcome { outcome, took: Duration::from_millis(50) };
    let outcome = Ok(AttemptOutcome { probe: good_probe(), login });
    StepInput::AttemptEnded { attempt: AttemptId(attempt), outcome }
}

#[tokio::test]
async fn a_transition_counts_once_it_is_committed_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let (opened, _lock) = opened(dir.path());
    let (_handle, mut task) = task(&opened);
    // The ledger does not hold the store, so that it refuses every change of its record.
    assert!(task.apply_input(failed_probe(Reason::NotMounted)).await.is_err());
    assert_eq!(counts(&task), (vec![], vec![], 0));
    save(&opened, store()).await;
    task.apply_input(failed_probe(Reason::NotMounted)).await.unwrap();
    let lost = (Status::Disconnected, Some(Reason::NotMounted));
    assert_eq!(counts(&task), (vec![], vec![(lost, 1)], 0));
    // The same fault changes no status.
    task.apply_input(failed_probe(Reason::NotMounted)).await.unwrap();
    assert_eq!(counts(&task), (vec![], vec![(lost, 1)], 0));
}

#[tokio::test]
async fn each_attempt_counts_at_its_end_and_each_joiner_when_it_joins() {
    let dir = tempfile::tempdir().unwrap();
    let (opened, _lock) = opened(dir.path());
    save(&opened, store()).await;
    let (_handle, mut task) = task(&opened);
    let attempt = |end, count| ((Cause::User, end), count);
    let transition = |status, reason, count| ((status, reason), count);
    let (connected, connecting) = (
        |count| transition(Status::Connected, None, count),
        |count| transition(Status::Connecting, None, count),
    );
    let refused = transition(Status::Disconnected, Some(Reason::ConnectionRefused), 1);
    let busy = transition(Status::Disconnected, Some(Reason::AgentBusy), 1);

    // Of a burst, the first request starts the preparation.
    task.apply_all(vec![reconnect(), reconnect(), reconnect()], Waiters::default()).await.unwrap();
    assert_eq!(counts(&task), (vec![], vec![], 2));
    task.apply_input(StepInput::AttemptPrepared).await.unwrap();
    task.apply_input(reconnect()).await.unwrap();
    assert_eq!(counts(&task), (vec![], vec![connecting(1)], 3));
    // The result of another attempt changes nothing.
    task.apply_input(ended(9, None)).await.unwrap();
    assert_eq!(counts(&task), (vec![], vec![connecting(1)], 3));
    task.apply_input(ended(2, None)).await.unwrap();
    let good = attempt(AttemptEnd::Connected, 1);
    assert_eq!(counts(&task), (vec![good], vec![connecting(1), connected(1)], 3));

    for (number, fault) in [(3, Reason::ConnectionRefused), (4, Reason::AgentBusy)] {
        task.apply_input(reconnect()).await.unwrap();
        task.apply_input(StepInput::AttemptPrepared).await.unwrap();
        task.apply_input(ended(number, Some(fault))).await.unwrap();
    }
    let failed = attempt(AttemptEnd::Failed, 1);
    let (attempts, transitions, joiners) = counts(&task);
    assert_eq!(attempts, [good, failed, attempt(AttemptEnd::Abandoned, 1)]);
    // A fault of the daemon returns the store to its status.
    let mut expected = vec![connecting(3), connected(1), refused, busy];
    expected.sort();
    assert_eq!((transitions, joiners), (expected, 3));

    // An attempt that could not be prepared is none.
    task.apply_input(reconnect()).await.unwrap();
    let fault = Fault::new(Reason::AgentBusy, "no worker");
    task.apply_input(StepInput::PreparationFailed(fault)).await.unwrap();
    assert_eq!(counts(&task).0, [good, failed, attempt(AttemptEnd::Abandoned, 1)]);

    // A stop abandons the running attempt.
    task.apply_input(reconnect()).await.unwrap();
    task.apply_input(StepInput::AttemptPrepared).await.unwrap();
    assert!(task.handle_event(TaskEvent::Stopped).await.is_break());
    let expected = [good, failed, attempt(AttemptEnd::Abandoned, 2)];
    assert_eq!((&counts(&task).0[..], counts(&task).1[0]), (&expected[..], connecting(4)));
}

#[tokio::test]
async fn the_end_of_an_attempt_that_is_not_committed_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let (opened, _lock) = opened(dir.path());
    save(&opened, store()).await;
    let (_handle, mut task) = task(&opened);
    task.apply_input(reconnect()).await.unwrap();
    task.apply_input(StepInput::AttemptPrepared).await.unwrap();
    let before = counts(&task);
    opened.ledger.stop_thread();
    assert!(task.apply_input(ended(2, Some(Reason::ConnectionRefused))).await.is_err());
    assert_eq!(counts(&task), before);
    assert_eq!(before, (vec![], vec![((Status::Connecting, None), 1)], 0));
}

#[tokio::test]
async fn the_removal_of_a_connecting_store_abandons_its_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let (opened, _lock) = opened(dir.path());
    save(&opened, store()).await;
    let (_handle, mut task) = task(&opened);
    task.apply_input(reconnect()).await.unwrap();
    task.apply_input(StepInput::AttemptPrepared).await.unwrap();
    let (reply, removed) = tokio::sync::oneshot::channel();
    let remove = StoreCommand::Remove { reply, recorder: None };
    assert!(task.handle_commands(remove).await.is_some());
    removed.await.unwrap().unwrap();
    let (attempts, transitions, _) = counts(&task);
    assert_eq!(attempts, [((Cause::User, AttemptEnd::Abandoned), 1)]);
    assert_eq!(transitions, [((Status::Connecting, None), 1)]);
}

/// A store on a port of loopback on which no server listens.
fn store_without_server() -> Store {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let hostname = "127.0.0.1".parse().unwrap();
    let address = SshAddress { hostname, port: port.try_into().unwrap() };
    Store { address: address.clone(), credentials_address: address, ..store() }
}

/// Returns the count and the exemplars of each phase of a login that occurred.
fn login_phases(stats: &AgentStats) -> Vec<(&'static str, u64, Vec<HistogramExemplar>)> {
    let mut phases = Vec::new();
    for (word, phase) in stats.login_phases.all() {
        let snapshot = phase.snapshot();
        if snapshot.count > 0 {
            let exemplars = snapshot.exemplars.into_iter().map(|(_, exemplar)| exemplar);
            phases.push((word, snapshot.count, exemplars.collect()));
        }
    }
    phases
}

#[tokio::test]
async fn a_real_attempt_counts_its_phases_and_a_check_of_the_monitor_without_an_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let (opened, _lock) = opened(dir.path());
    let store = store_without_server();
    save(&opened, store.clone()).await;
    let record = StoreRecord::new(durable_record());
    let (_handle, mut task) = StoreTask::new(
        context(&opened),
        store.clone(),
        record,
        None,
        None,
        CancellationToken::new(),
    );
    task.checks.start_probe(&store, false);
    task.checks.start_login(&store, false);
    task.checks.next_finished().await;
    task.checks.next_finished().await;
    let stats = Arc::clone(&task.context.stats);
    assert_eq!(stats.examine.snapshot().count, 1);
    assert_eq!(login_phases(&stats), [("resolve", 1, vec![]), ("connect", 1, vec![])]);

    task.apply_input(reconnect()).await.unwrap();
    for _ in ["preparation", "attempt"] {
        let finished = task.checks.next_finished().await;
        task.on_check_finished(finished).await;
    }
    assert_eq!(counts(&task).0, [((Cause::User, AttemptEnd::Failed), 1)]);
    assert_eq!(stats.examine.snapshot().count, 2);
    let phases = login_phases(&stats);
    assert_eq!(
        phases.iter().map(|(word, count, _)| (*word, *count)).collect::<Vec<_>>(),
        [("resolve", 2), ("connect", 2)]
    );
    for (word, _, exemplars) in phases {
        let [exemplar] = &exemplars[..] else { panic!("{word}: {exemplars:?}") };
        let attempt = task.record.durable.attempt.to_string();
        assert_eq!(attempt, "2");
        assert_eq!(exemplar.labels, [("store", store.uuid.to_string()), ("attempt", attempt)]);
        assert_eq!(exemplar.at, Fixed.now());
    }
}

#[tokio::test]
async fn a_phase_that_failed_counts_and_the_work_of_the_daemon_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let (opened, _lock) = opened(dir.path());
    let context = context(&opened);
    let work = async {
        for phase in ["key", "resolve", "connect", "handshake", "auth", "proof", "commit"] {
            let _: Result<(), ()> = run_phase(phase, async { Err(()) }).await;
        }
        for phase in ["examine", "write", "write"] {
            let _: Result<(), ()> = run_phase(phase, async { Ok(()) }).await;
        }
    };
    observe_phases(context.observe_checks(), work).await;
    let stats = &context.stats;
    let counted: Vec<_> = login_phases(stats).into_iter().map(|(word, ..)| word).collect();
    assert_eq!(counted, ["resolve", "connect", "handshake", "auth", "proof"]);
    assert_eq!((stats.examine.snapshot().count, stats.write.snapshot().count), (1, 2));
}

#[tokio::test]
async fn an_add_that_fails_counts_its_attempt_and_phases() {
    let dir = tempfile::tempdir().unwrap();
    let (opened, _lock) = opened(dir.path());
    let (context, stop) = (context(&opened), CancellationToken::new());
    let stats = Arc::clone(&context.stats);
    let (registry, task) = RegistryTask::new(context, Vec::new(), stop.clone());
    let running = async { task.run().await.unwrap() };
    let store = store_without_server();
    let add = AddStore {
        uuid: Some(store.uuid),
        name: store.name,
        description: String::new(),
        image_dir: ImageDir::parse("/srv/images").unwrap(),
        address: store.address,
        username: store.username,
        credentials: SshCredentials::password(Secret::new("hunter2".to_owned())),
        given_fingerprints: Vec::new(),
        take_over: false,
        force: false,
        without_effect: Vec::new(),
        tags: Tags::default(),
    };
    let adding = async {
        let added = registry.add(add).await;
        stop.cancel();
        added
    };
    let ((), added) = tokio::join!(running, adding);
    assert!(matches!(added, Err(AddError::Failed(_))), "{added:?}");
    assert_eq!(occurred(&registry.stats().attempts), [((Cause::User, AttemptEnd::Failed), 1)]);
    assert_eq!(occurred(&stats.transitions), []);
    assert_eq!(stats.examine.snapshot().count, 1);
    let exemplars = login_phases(&stats).into_iter().flat_map(|(.., exemplars)| exemplars);
    let labels: Vec<_> = exemplars.map(|exemplar| exemplar.labels).collect();
    let label = vec![("store", store.uuid.to_string()), ("attempt", "1".to_owned())];
    assert_eq!(labels, [label.clone(), label]);
}
