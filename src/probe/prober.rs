//! Entry point of the probe for the daemon.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::identity::{IdentityInput, check_identity};
use super::marker::probe_file;
use super::mount_check::explain_missing_directory;
use super::process::limit::WorkerLimiter;
use super::process::slot::WorkerSlot;
use super::process::{RequestError, WorkerClient, WorkerProgram};
use super::types::{
    DirectoryInspection, PreviousMarker, ProbeExpectation, ProbeOptions, ProbeResult,
};
use super::worker::protocol::{
    DirectoryObservation, MarkerState, MountState, QuotaState, WorkerRequest, WorkerResponse,
};
use super::worker::user_args;
use super::{capacity, errno};
use crate::common::{SystemUser, report_phase, run_phase};
use crate::model::{Fault, ImageDir, Reason, WriteOutcome};

/// The phase of the examination in the progress of an attempt.
pub const EXAMINE_PHASE: &str = "examine";
/// The phase of the write in the progress of an attempt.
pub const WRITE_PHASE: &str = "write";

/// Prober of image directories. It is cheap to clone.
#[derive(Clone, Debug)]
pub struct Prober {
    pub(super) options: Arc<ProbeOptions>,
    program: Arc<WorkerProgram>,
    limiter: WorkerLimiter,
}

impl Prober {
    /// Creates a prober whose workers run this program.
    pub fn new(options: ProbeOptions) -> Self {
        Self {
            options: Arc::new(options),
            program: Arc::default(),
            limiter: WorkerLimiter::default(),
        }
    }

    /// Sets another program as the worker. It must behave as [`worker_main`](super::worker_main)
    /// does.
    #[must_use]
    pub fn with_program(mut self, path: PathBuf, args: Vec<String>) -> Self {
        self.program = Arc::new(WorkerProgram { path, args });
        self
    }

    /// Makes the workers those of another user. Only root can do this.
    #[must_use]
    pub fn with_user(mut self, user: &SystemUser) -> Self {
        Arc::make_mut(&mut self.program).args.extend(user_args(user));
        self
    }

    /// Returns the limiter of the workers of all stores. A caller that probes many stores holds one
    /// of its permits for each worker.
    pub fn limiter(&self) -> &WorkerLimiter {
        &self.limiter
    }

    /// Starts a worker and leaves it in the slot, for the next examination.
    ///
    /// # Errors
    /// `probe_stuck` if an earlier worker cannot be killed. `agent_busy` if no process can be
    /// started.
    pub async fn prepare_worker(&self, slot: &mut WorkerSlot, dir: &ImageDir) -> Result<(), Fault> {
        WorkerClient::prepare(slot, &self.program, dir).await
    }

    /// Examines an image directory: identity, capacity and, if the expectation requires it, a
    /// write. Ends at most 250 ms after `deadline`, even if the disk hangs.
    ///
    /// # Errors
    /// The examination reports the first fault in this order: path, identity, superblock state,
    /// figures. It is `probe_timeout` at the deadline. It is `probe_stuck` while an earlier worker
    /// of the slot cannot be killed, and `agent_busy` if no worker can be started.
    ///
    /// # Cancel safety
    /// The worker is killed, and the slot keeps it until it has exited.
    pub async fn examine(
        &self,
        slot: &mut WorkerSlot,
        dir: &ImageDir,
        expectation: &ProbeExpectation,
        deadline: Instant,
    ) -> ProbeResult {
        let start = Instant::now();
        let (inspection, write) = self.inspect_and_write(slot, dir, expectation, deadline).await;
        let duration = start.elapsed();
        let complete = |fault| complete_fault(fault, dir, duration);
        ProbeResult {
            inspection: inspection.map_err(complete),
            write: write.map(|write| write.map_err(complete)),
            duration,
        }
    }

    async fn inspect_and_write(
        &self,
        slot: &mut WorkerSlot,
        dir: &ImageDir,
        expectation: &ProbeExpectation,
        deadline: Instant,
    ) -> (Result<DirectoryInspection, Fault>, Option<Result<WriteOutcome, Fault>>) {
        let began = Instant::now();
        let mut client = match WorkerClient::spawn(slot, &self.program, dir, deadline).await {
            Ok(client) => client,
            Err(fault) => {
                let outcome = Err(fault);
                report_phase(EXAMINE_PHASE, began.elapsed(), &outcome);
                return (outcome, None);
            }
        };
        let inspecting = self.run_inspection(&mut client, dir, expectation);
        let (inspection, observed) = match run_phase(EXAMINE_PHASE, inspecting).await {
            Ok(result) => result,
            Err(fault) => return (Err(client.kill(fault).await), None),
        };
        let Some(make_folder) = should_write(expectation, &observed) else {
            client.end().await;
            return (Ok(inspection), None);
        };
        let probe = probe_file(self.options.node_id);
        let writing = async {
            let response = client.send_request(&WorkerRequest::Write { probe, make_folder }).await;
            write_outcome(response, &observed, expectation)
        };
        match run_phase(WRITE_PHASE, writing).await {
            Ok((write, created)) => {
                client.end().await;
                (Ok(DirectoryInspection { created_folder: created, ..inspection }), Some(Ok(write)))
            }
            Err(fault) => {
                // A killed worker may have created the folder; a worker that reported an error has
                // removed it.
                let inspection = DirectoryInspection { created_folder: make_folder, ..inspection };
                (Ok(inspection), Some(Err(client.kill(fault).await)))
            }
        }
    }

    /// Runs `work` with a new worker, and ends the worker afterwards.
    pub(super) async fn with_worker<T>(
        &self,
        slot: &mut WorkerSlot,
        dir: &ImageDir,
        deadline: Instant,
        work: impl AsyncFnOnce(&mut WorkerClient<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let start = Instant::now();
        let result = async {
            let mut client = WorkerClient::spawn(slot, &self.program, dir, deadline).await?;
            match work(&mut client).await {
                Ok(done) => {
                    client.end().await;
                    Ok(done)
                }
                Err(fault) => Err(client.kill(fault).await),
            }
        };
        result.await.map_err(|fault| complete_fault(fault, dir, start.elapsed()))
    }

    pub(super) async fn run_inspection(
        &self,
        client: &mut WorkerClient<'_>,
        dir: &ImageDir,
        expectation: &ProbeExpectation,
    ) -> Result<(DirectoryInspection, Box<DirectoryObservation>), Fault> {
        let observed = match self.open_directory(client, dir).await {
            Ok(observed) => observed,
            Err(fault) => return Err(explain_missing_directory(fault, expectation)),
        };
        let marker = check_identity(expectation, &self.identity_input(&observed))?;
        if observed.mount.superblock_read_only {
            return Err(errno::read_only_fault(&observed.mount));
        }
        let (capacity, inodes) = capacity::check_capacity(&observed.statfs)?;
        let inspection = DirectoryInspection {
            capacity,
            inodes,
            place: observed.mount.to_location(quota_folder(&observed.quota, expectation)),
            marker,
            previous_marker: previous_marker(&observed.marker),
            has_registry: observed.registry,
            created_folder: false,
        };
        Ok((inspection, observed))
    }

    pub(super) async fn open_directory(
        &self,
        client: &mut WorkerClient<'_>,
        dir: &ImageDir,
    ) -> Result<Box<DirectoryObservation>, Fault> {
        let roots = self.options.allowed_roots.clone();
        let request = WorkerRequest::Open { dir: dir.as_str().to_owned(), roots };
        match client.send_request(&request).await {
            Ok(WorkerResponse::Observed(observed)) => Ok(observed),
            Ok(_) => {
                Err(Fault::new(Reason::AgentBusy, "the worker process sent an unexpected response"))
            }
            Err(error) => Err(request_fault(error, None)),
        }
    }

    pub(super) fn identity_input<'a>(
        &self,
        observed: &'a DirectoryObservation,
    ) -> IdentityInput<'a> {
        IdentityInput {
            node: self.options.node_id,
            allow_root_disk: self.options.allow_root_disk,
            mount: &observed.mount,
            marker: &observed.marker,
            registry: observed.registry,
        }
    }
}

/// Adds the facts that every fault of a probe carries: the path and the duration.
fn complete_fault(fault: Fault, dir: &ImageDir, duration: Duration) -> Fault {
    fault
        .default_fact("path", dir.as_str())
        .with_detail("milliseconds", duration.as_millis())
        // A marker and a mount point may contain arbitrary text.
        .sanitized()
}

/// Returns `None` if the expectation requires no write. Otherwise the value is true if the write
/// may create the folder. A directory that will be marked is always written, because the marker
/// needs write access.
fn should_write(expectation: &ProbeExpectation, observed: &DirectoryObservation) -> Option<bool> {
    match expectation {
        ProbeExpectation::Serve { write, .. } => write.then_some(false),
        ProbeExpectation::Add { .. } | ProbeExpectation::Init => Some(!observed.folder),
    }
}

/// Returns the folder whose quota limits the directory. If it is unknown, it stays as it was.
fn quota_folder(quota: &QuotaState, expectation: &ProbeExpectation) -> Option<String> {
    match (quota, expectation) {
        (QuotaState::Folder(folder), _) => Some(folder.clone()),
        (QuotaState::Unknown, ProbeExpectation::Serve { place, .. }) => place.quota_folder.clone(),
        (QuotaState::None | QuotaState::Unknown, _) => None,
    }
}

fn previous_marker(marker: &MarkerState) -> PreviousMarker {
    match marker {
        MarkerState::Text(text) => PreviousMarker(Some(text.clone())),
        MarkerState::Nothing | MarkerState::Unreadable(_) => PreviousMarker(None),
    }
}

/// Returns the outcome of a write probe. The second value is true if the probe created the folder.
fn write_outcome(
    response: Result<WorkerResponse, RequestError>,
    observed: &DirectoryObservation,
    expectation: &ProbeExpectation,
) -> Result<(WriteOutcome, bool), Fault> {
    match response {
        Ok(WorkerResponse::Written { micros, made_folder, synced }) => {
            let took = Duration::from_micros(micros);
            let write = match synced {
                true => WriteOutcome::Succeeded(took),
                false => WriteOutcome::Unsynced(took),
            };
            Ok((write, made_folder))
        }
        Ok(_) => {
            Err(Fault::new(Reason::AgentBusy, "the worker process sent an unexpected response"))
        }
        Err(RequestError::Failed(error))
            if matches!(expectation, ProbeExpectation::Serve { .. }) =>
        {
            match errno::out_of_space(&error, &observed.statfs) {
                Some(write) => Ok((write, false)),
                None => Err(errno::to_fault(&error, Some(&observed.mount))),
            }
        }
        Err(error) => Err(request_fault(error, Some(&observed.mount))),
    }
}

pub(super) fn request_fault(error: RequestError, mount: Option<&MountState>) -> Fault {
    match error {
        RequestError::Failed(error) => errno::to_fault(&error, mount),
        RequestError::WorkerLost(fault) => fault,
    }
}
