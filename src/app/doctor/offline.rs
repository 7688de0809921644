//! The stores while no daemon answers: the last records of the ledger, from its copy, and a look at
//! each image directory now.

use std::time::Duration;

use hyper::Uri;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::daemon_view::resolve_all;
use super::state_files::StateView;
use crate::app::tasks::new_policy;
use crate::catalog::{DoctorCheck, Observation};
use crate::cli::StoreReference;
use crate::common::{Clock as _, ErrorChain, SystemClock, Timestamp, run_blocking};
use crate::diagnosis::{
    ConditionFact, Finding, ReportFact, StoreFacts, StoreObserver, StoreTitle, Summary, Verdict,
    diagnose_store,
};
use crate::ledger::{LEDGER_FILE, LedgerCopy, LoadedStore, NODE_ID_FILE};
use crate::lifecycle::{CheckPolicy, CheckState, MeasuredSpace, StoreChecks, examined_conditions};
use crate::management::host_and_port;
use crate::model::{Condition, Fault, Reason};
use crate::probe::{ProbeExpectation, ProbeOptions, ProbeResult, Prober, WorkerSlot};
use crate::settings::Settings;

/// Maximum time to read the copy of the ledger. It lies on the disk for temporary files.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// Maximum time to look at all image directories. A healthy one takes milliseconds.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// The stores as they are known without the daemon.
#[derive(Debug, Default)]
pub(super) struct OfflineView {
    /// The finding about the ledger, and those of the stores.
    pub(super) findings: Vec<Finding>,
    /// The stores, in the form of the summary of the daemon.
    pub(super) stores: Vec<Value>,
    /// True if a secret is stored, or `None` if the ledger was not read.
    pub(super) has_secrets: Option<bool>,
    /// True if the ledger was read, or there is none yet.
    pub(super) knows_stores: bool,
    /// The newest time in the ledger, if it was read.
    pub(super) newest_record: Option<Timestamp>,
}

impl OfflineView {
    /// Reads the copy of the ledger, and looks at the directories of the chosen stores.
    ///
    /// # Errors
    /// Returns a message if a reference names no store.
    pub(super) async fn look(
        state: &StateView,
        settings: &Settings,
        chosen: &[StoreReference],
    ) -> Result<Self, String> {
        let check = DoctorCheck::StateLedger;
        let ledger = match read_copy(state, settings).await {
            Ok(Some(ledger)) => ledger,
            Ok(None) => {
                let finding = finding_without_ledger(state, settings);
                let knows_stores = finding.verdict == Verdict::Ok;
                return Ok(Self { findings: vec![finding], knows_stores, ..Self::default() });
            }
            Err(problem) => {
                let finding = Finding::new(check, Verdict::Error, Summary::quoted(problem));
                return Ok(Self { findings: vec![finding], ..Self::default() });
            }
        };
        let listed: Vec<Value> = ledger.stores.iter().map(store_line).collect();
        let chosen = resolve_all(chosen, &listed)?;
        let is_chosen =
            |loaded: &LoadedStore| chosen.is_empty() || chosen.contains(&loaded.store.uuid);
        let mut view = Self {
            findings: vec![ledger_finding(state, settings, ledger.stores.len())],
            stores: Vec::new(),
            has_secrets: Some(ledger.has_secrets),
            knows_stores: true,
            newest_record: Some(ledger.newest_record),
        };
        let known = ledger.stores.into_iter().zip(ledger.pending).zip(listed);
        let (stores, lines): (Vec<_>, Vec<_>) =
            known.filter(|((loaded, _), _)| is_chosen(loaded)).unzip();
        view.stores = lines;
        let looks = look_at_all(state, settings, &stores).await;
        let policy = new_policy(settings);
        let has_node_id = matches!(state.node(), Ok(Some(_)));
        let observer = StoreObserver::OtherProcess { has_node_id };
        for ((loaded, pending), look) in stores.iter().zip(looks) {
            let report = report_fact(settings, *pending);
            view.findings.extend(store_findings(loaded, observer, look, report.as_ref(), &policy));
        }
        Ok(view)
    }
}

/// Returns the finding about a ledger that was not read or does not exist.
fn finding_without_ledger(state: &StateView, settings: &Settings) -> Finding {
    let check = DoctorCheck::StateLedger;
    match (state.node(), state.ledger_need()) {
        (Err(problem), _) => Finding::new(check, Verdict::Error, Summary::quoted(problem)),
        (Ok(_), Some(_)) if state.lacks_account() => {
            Finding::without_daemon(check, Observation::NeedsAccount)
        }
        (Ok(_), None) if state.is_node_denied() => {
            Finding::without_daemon(check, Observation::NeedsAccount)
        }
        (Ok(_), Some(problem)) => {
            Finding::without_daemon(check, Observation::NeedsMore { problem })
        }
        // The first start has made both.
        (Ok(Some(_)), None) => {
            let path = settings.state.dir.join(LEDGER_FILE).display().to_string();
            Finding::new(check, Verdict::Error, Observation::LedgerLost { path })
        }
        (Ok(None), None) => Finding::new(check, Verdict::Ok, Observation::NoStoreYet),
    }
}

/// Returns the finding about a ledger that can be read, with the id of the installation beside it.
fn ledger_finding(state: &StateView, settings: &Settings, stores: usize) -> Finding {
    let check = DoctorCheck::StateLedger;
    match state.node() {
        Err(problem) => Finding::new(check, Verdict::Error, Summary::quoted(problem)),
        Ok(None) if state.is_node_denied() => Finding::skipped(check, Observation::NeedsAccount),
        Ok(None) if stores > 0 => {
            let path = settings.state.dir.join(NODE_ID_FILE);
            let (path, stores) = (path.display().to_string(), stores.to_string());
            Finding::new(check, Verdict::Error, Observation::NodeIdMissing { path, stores })
        }
        Ok(_) => {
            let count = stores.to_string();
            Finding::new(check, Verdict::Ok, Observation::LedgerStores { count })
        }
    }
}

/// Reads the copy, or returns `None` if there is none.
///
/// # Errors
/// Returns the reason why this program cannot read it.
async fn read_copy(state: &StateView, settings: &Settings) -> Result<Option<LedgerCopy>, String> {
    let Some(folder) = &state.copy else { return Ok(None) };
    let copy = folder.path().join(LEDGER_FILE);
    let original = settings.state.dir.join(LEDGER_FILE);
    let read = move || LedgerCopy::read(&copy, &original);
    match run_blocking(Instant::now() + READ_TIMEOUT, read).await {
        Ok(Ok(ledger)) => Ok(ledger),
        Ok(Err(error)) => Err(ErrorChain(&error).to_string()),
        Err(error) => Err(format!("the copy of the ledger cannot be read: {error}")),
    }
}

/// Returns a store in the form of the summary of the daemon.
fn store_line(loaded: &LoadedStore) -> Value {
    json!({
        "name": loaded.store.name,
        "uuid": loaded.store.uuid.to_string(),
        "url": loaded.store.image_dir.as_str(),
        "status": loaded.durable.status.as_str(),
        "since": loaded.durable.since.to_string(),
        "lastKnown": true,
    })
}

/// Looks at the directories of the stores, many at a time, without a write. The results have the
/// order of the stores. There are none without the id of this installation.
async fn look_at_all(
    state: &StateView,
    settings: &Settings,
    stores: &[(LoadedStore, u64)],
) -> Vec<Option<ProbeResult>> {
    // Without the id of this installation, each marker would look like that of another one.
    let Ok(Some(node_id)) = state.node() else {
        return stores.iter().map(|_| None).collect();
    };
    let prober = Prober::new(ProbeOptions {
        allowed_roots: settings.storage.allowed_roots.clone(),
        allow_root_disk: settings.storage.allow_root_disk,
        node_id,
    });
    let prober = match state.daemon_user() {
        Some(user) => prober.with_user(&user),
        None => prober,
    };
    let deadline = Instant::now() + LOOK_TIMEOUT.min(settings.monitor.probe_deadline);
    let mut looks = JoinSet::new();
    for (index, (loaded, _)) in stores.iter().enumerate() {
        let (prober, loaded) = (prober.clone(), loaded.clone());
        looks.spawn(async move {
            let permit = prober.limiter().acquire_until(false, deadline).await;
            if permit.is_err() {
                return (index, None);
            }
            // A worker that an earlier daemon left behind still holds the directory.
            let stuck = loaded.stuck_worker.map(WorkerSlot::with_stuck);
            let mut slot = stuck.unwrap_or_default();
            let store = loaded.store;
            let expectation = ProbeExpectation::Serve {
                store: store.uuid,
                marker: store.marker,
                place: store.mount,
                had_registry: store.had_registry,
                write: false,
            };
            let result = prober.examine(&mut slot, &store.image_dir, &expectation, deadline).await;
            (index, Some(result))
        });
    }
    let mut found: Vec<Option<ProbeResult>> = stores.iter().map(|_| None).collect();
    while let Some(ended) = looks.join_next().await {
        if let Ok((index, result)) = ended
            && let Some(place) = found.get_mut(index)
        {
            *place = result;
        }
    }
    found
}

/// Returns the delivery of a store, or `None` without a callback.
fn report_fact(settings: &Settings, pending: u64) -> Option<ReportFact> {
    let url: Uri = settings.callback.urls.first()?.parse().ok()?;
    Some(ReportFact { destination: Some(host_and_port(&url)), pending, ..ReportFact::default() })
}

fn store_findings(
    loaded: &LoadedStore,
    observer: StoreObserver,
    look: Option<ProbeResult>,
    report: Option<&ReportFact>,
    policy: &CheckPolicy,
) -> Vec<Finding> {
    let LoadedStore { store, durable, .. } = loaded;
    let title = StoreTitle { uuid: store.uuid, name: store.name.clone() };
    let mut checks = StoreChecks::default();
    let (mut capacity, mut inodes) = (durable.capacity, durable.inodes);
    let mut conditions = write_conditions(loaded);
    if let Some(look) = look {
        let now = SystemClock.now();
        let fault = look.inspection.as_ref().err().cloned();
        // A worker that this system could not start says nothing about the directory.
        let has_result = fault.as_ref().is_none_or(|it| it.reason() != Reason::AgentBusy);
        if has_result {
            checks.examine = examined(fault, look.duration, now);
        }
        if let Ok(seen) = look.inspection {
            (capacity, inodes) = (Some(seen.capacity), seen.inodes);
            let measured = MeasuredSpace { capacity: seen.capacity, inodes };
            let active = examined_conditions(&durable.conditions, &measured, look.duration, policy);
            conditions.extend(active.into_iter().map(|condition| ConditionFact {
                condition,
                message: space_message(condition, &measured, look.duration),
                since: durable.conditions.get(&condition).copied(),
            }));
        }
    }
    diagnose_store(&StoreFacts {
        title: &title,
        observer,
        status: durable.status,
        since: durable.since,
        failure: durable.failure.as_ref(),
        checks: &checks,
        conditions: &conditions,
        capacity,
        inodes,
        host_identity: None,
        report,
    })
}

fn examined(fault: Option<Fault>, took: Duration, now: Timestamp) -> CheckState {
    let mut state = CheckState::default();
    state.last_good = fault.is_none().then_some(now);
    (state.last, state.took, state.fault) = (Some(now), took, fault);
    state
}

/// Returns the last known conditions that only a write can show.
fn write_conditions(loaded: &LoadedStore) -> Vec<ConditionFact> {
    let is_of_write = |condition: &Condition| {
        matches!(condition, Condition::QuotaExceeded | Condition::SyncUnsupported)
    };
    let active = loaded.durable.conditions.iter().filter(|(condition, _)| is_of_write(condition));
    let fact = |(&condition, &since): (&Condition, _)| ConditionFact {
        condition,
        message: format!("last known: {condition}"),
        since: Some(since),
    };
    active.map(fact).collect()
}

fn space_message(condition: Condition, measured: &MeasuredSpace, took: Duration) -> String {
    let MeasuredSpace { capacity, inodes } = measured;
    match (condition, inodes) {
        (Condition::InodesFull, Some(inodes)) => {
            format!("{} of {} inodes available", inodes.available, inodes.total)
        }
        (Condition::SlowProbe, _) => format!("the look took {} ms", took.as_millis()),
        _ => format!("{} of {} bytes available", capacity.available(), capacity.total()),
    }
}
