//! Entry point of the probe for the daemon.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::identity::{ObservedMarker, check_identity};
use super::marker::probe_file;
use super::mount_check::explain_missing_directory;
use super::process::slot::WorkerSlot;
use super::process::{RequestError, WorkerClient, WorkerProgram};
use super::types::{
    DirectoryInspection, PreviousMarker, ProbeExpectation, ProbeOptions, ProbeResult,
};
use super::worker::protocol::{
    DirectoryObservation, MarkerState, MountState, WorkerRequest, WorkerResponse,
};
use super::{capacity, errno};
use crate::model::{Fault, ImageDir, Reason, WriteOutcome};

/// Prober of image directories. It is cheap to clone.
#[derive(Clone, Debug)]
pub struct Prober {
    pub(super) options: Arc<ProbeOptions>,
    program: Arc<WorkerProgram>,
}

impl Prober {
    /// Creates a prober whose workers run this program.
    pub fn new(options: ProbeOptions) -> Self {
        Self { options: Arc::new(options), program: Arc::default() }
    }

    /// Sets another program as the worker. It must behave as [`worker_main`](super::worker_main)
    /// does.
    #[must_use]
    pub fn with_program(mut self, path: PathBuf, args: Vec<String>) -> Self {
        self.program = Arc::new(WorkerProgram { path, args });
        self
    }

    /// Examines an image directory: identity, capacity and, if the purpose requires it, a write.
    /// Ends at most 250 ms after `deadline`, even if the disk hangs.
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
        purpose: &ProbeExpectation,
        deadline: Instant,
    ) -> ProbeResult {
        let begun = Instant::now();
        let (examined, written) = self.look_and_write(slot, dir, purpose, deadline).await;
        let took = begun.elapsed();
        let whole = |fault| complete_fault(fault, dir, took);
        ProbeResult {
            examined: examined.map_err(whole),
            written: written.map(|written| written.map_err(whole)),
            took,
        }
    }

    async fn look_and_write(
        &self,
        slot: &mut WorkerSlot,
        dir: &ImageDir,
        purpose: &ProbeExpectation,
        deadline: Instant,
    ) -> (Result<DirectoryInspection, Fault>, Option<Result<WriteOutcome, Fault>>) {
        let mut dialogue = match WorkerClient::spawn(slot, &self.program, dir, deadline).await {
            Ok(dialogue) => dialogue,
            Err(fault) => return (Err(fault), None),
        };
        let (examined, observed) = match self.run_inspection(&mut dialogue, dir, purpose).await {
            Ok(seen) => seen,
            Err(fault) => return (Err(dialogue.kill(fault).await), None),
        };
        let Some(make_folder) = should_write(purpose, &observed) else {
            dialogue.shut_down().await;
            return (Ok(examined), None);
        };
        let probe = probe_file(self.options.node_id);
        let asked = dialogue.send_request(&WorkerRequest::Write { probe, make_folder }).await;
        match write_outcome(asked, &observed, purpose) {
            Ok((written, made_folder)) => {
                dialogue.shut_down().await;
                (
                    Ok(DirectoryInspection { created_folder: made_folder, ..examined }),
                    Some(Ok(written)),
                )
            }
            Err(fault) => {
                // A killed worker may have created the folder; a worker that reported an error has
                // removed it.
                let examined = DirectoryInspection { created_folder: make_folder, ..examined };
                (Ok(examined), Some(Err(dialogue.kill(fault).await)))
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
        let begun = Instant::now();
        let talked = async {
            let mut dialogue = WorkerClient::spawn(slot, &self.program, dir, deadline).await?;
            match work(&mut dialogue).await {
                Ok(done) => {
                    dialogue.shut_down().await;
                    Ok(done)
                }
                Err(fault) => Err(dialogue.kill(fault).await),
            }
        };
        talked.await.map_err(|fault| complete_fault(fault, dir, begun.elapsed()))
    }

    async fn run_inspection(
        &self,
        dialogue: &mut WorkerClient<'_>,
        dir: &ImageDir,
        purpose: &ProbeExpectation,
    ) -> Result<(DirectoryInspection, Box<DirectoryObservation>), Fault> {
        let observed = match self.open_directory(dialogue, dir).await {
            Ok(observed) => observed,
            Err(fault) => return Err(explain_missing_directory(fault, purpose)),
        };
        let marker = check_identity(purpose, &self.observed_marker(&observed))?;
        if observed.mount.superblock_read_only {
            return Err(errno::read_only(&observed.mount));
        }
        let (capacity, inodes) = capacity::check_capacity(&observed.statfs)?;
        let examined = DirectoryInspection {
            capacity,
            inodes,
            place: observed.mount.to_location(),
            marker,
            before: previous_marker(&observed.marker),
            has_registry: observed.registry,
            created_folder: false,
        };
        Ok((examined, observed))
    }

    pub(super) async fn open_directory(
        &self,
        dialogue: &mut WorkerClient<'_>,
        dir: &ImageDir,
    ) -> Result<Box<DirectoryObservation>, Fault> {
        let roots = self.options.allowed_roots.clone();
        let order = WorkerRequest::Open { dir: dir.as_str().to_owned(), roots };
        match dialogue.send_request(&order).await {
            Ok(WorkerResponse::Observed(observed)) => Ok(observed),
            Ok(_) => Err(Fault::new(Reason::IoError, "the worker process answered something else")),
            Err(why) => Err(no_response(why, None)),
        }
    }

    pub(super) fn observed_marker<'a>(
        &self,
        observed: &'a DirectoryObservation,
    ) -> ObservedMarker<'a> {
        ObservedMarker {
            node: self.options.node_id,
            allow_root_disk: self.options.allow_root_disk,
            mount: &observed.mount,
            marker: &observed.marker,
            registry: observed.registry,
        }
    }
}

/// Adds the facts that every fault of a probe carries: the path and the duration.
fn complete_fault(fault: Fault, dir: &ImageDir, took: Duration) -> Fault {
    fault
        .default_fact("path", dir.as_str())
        .with_detail("milliseconds", took.as_millis())
        // A marker and a mount point may contain arbitrary text.
        .sanitized()
}

/// Returns `None` if the purpose requires no write. Otherwise the value is true if the write may
/// create the folder. A directory that will be marked is always written, because the marker needs
/// write access.
fn should_write(purpose: &ProbeExpectation, observed: &DirectoryObservation) -> Option<bool> {
    match purpose {
        ProbeExpectation::Serve { write, .. } => write.then_some(false),
        ProbeExpectation::Add { .. } | ProbeExpectation::Init => Some(!observed.folder),
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
    asked: Result<WorkerResponse, RequestError>,
    observed: &DirectoryObservation,
    purpose: &ProbeExpectation,
) -> Result<(WriteOutcome, bool), Fault> {
    match asked {
        Ok(WorkerResponse::Written { micros, made_folder }) => {
            Ok((WriteOutcome::Succeeded(Duration::from_micros(micros)), made_folder))
        }
        Ok(_) => Err(Fault::new(Reason::IoError, "the worker process answered something else")),
        Err(RequestError::Failed(failed)) if matches!(purpose, ProbeExpectation::Serve { .. }) => {
            match errno::out_of_space(&failed, &observed.statfs) {
                Some(written) => Ok((written, false)),
                None => Err(errno::to_fault(&failed, Some(&observed.mount))),
            }
        }
        Err(why) => Err(no_response(why, Some(&observed.mount))),
    }
}

pub(super) fn no_response(silence: RequestError, mount: Option<&MountState>) -> Fault {
    match silence {
        RequestError::Failed(failed) => errno::to_fault(&failed, mount),
        RequestError::Over(fault) => fault,
    }
}
