//! Daemon side of a probe: starts a worker process, exchanges requests with it within a deadline,
//! and ends it.

pub(super) mod limit;
pub(super) mod orphans;
pub(super) mod slot;
mod spawn_error;

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, timeout_at};

use crate::model::{Fault, ImageDir, Reason, Remedy};
use crate::probe::worker::protocol::{WorkerError, WorkerOperation, WorkerRequest, WorkerResponse};
use slot::{WorkerGuard, WorkerSlot};
use spawn_error::spawn_fault;

/// Maximum length of a line that a worker sends, in bytes. A marker of 4 KiB, escaped, and a path
/// of 2048 characters fit into it.
const MAX_RESPONSE_BYTES: u64 = 64 * 1024;

/// Program and arguments that start a worker.
#[derive(Clone, Debug)]
pub(crate) struct WorkerProgram {
    pub(crate) path: PathBuf,
    pub(crate) args: Vec<String>,
}

impl Default for WorkerProgram {
    /// Returns the running program. The path stays correct after an upgrade has replaced the file
    /// on disk.
    fn default() -> Self {
        Self { path: PathBuf::from("/proc/self/exe"), args: vec!["probe-worker".to_owned()] }
    }
}

/// Connection to one worker, with the deadline for all requests on it.
pub(crate) struct WorkerClient<'a> {
    worker: WorkerGuard<'a>,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    dir: ImageDir,
    step: WorkerOperation,
    deadline: Instant,
}

/// Reason why a request has no response.
pub(crate) enum RequestError {
    /// The request failed. The worker is still usable for other requests.
    Failed(WorkerError),
    /// The worker is no longer usable.
    WorkerLost(Fault),
}

impl<'a> WorkerClient<'a> {
    /// Starts a worker and leaves it in the slot, unless an earlier worker of the store is stuck.
    ///
    /// # Errors
    /// `probe_stuck` if an earlier worker cannot be killed. `agent_busy` if no process can be
    /// started.
    pub(crate) async fn prepare(
        slot: &mut WorkerSlot,
        program: &Arc<WorkerProgram>,
        dir: &ImageDir,
    ) -> Result<(), Fault> {
        if let Err(pid) = slot.try_free().await {
            return Err(stuck_worker_fault(dir, pid));
        }
        let child = Command::new(&program.path)
            .args(&program.args)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A worker that outlives the daemon would keep the daemon's log open.
            .stderr(Stdio::null())
            // Ctrl-C in a terminal must reach the daemon only, which ends its workers.
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        slot.occupy(child.map_err(|error| spawn_fault(&error, &program.path, dir))?);
        Ok(())
    }

    /// Takes the worker that was prepared in the slot, or starts one.
    ///
    /// # Errors
    /// As [`WorkerClient::prepare`].
    pub(crate) async fn spawn(
        slot: &'a mut WorkerSlot,
        program: &Arc<WorkerProgram>,
        dir: &ImageDir,
        deadline: Instant,
    ) -> Result<Self, Fault> {
        if !slot.is_prepared() {
            Self::prepare(slot, program, dir).await?;
        }
        let mut worker = slot.use_worker();
        let pipes =
            worker.child_mut().and_then(|child| child.stdin.take().zip(child.stdout.take()));
        let Some((stdin, stdout)) = pipes else {
            return Err(agent_fault("the worker process has no pipes", dir));
        };
        let (stdout, dir) = (BufReader::new(stdout), dir.clone());
        Ok(Self { worker, stdin, stdout, dir, step: WorkerOperation::Start, deadline })
    }

    /// Sends a request and waits for its response.
    pub(crate) async fn send_request(
        &mut self,
        request: &WorkerRequest,
    ) -> Result<WorkerResponse, RequestError> {
        match timeout_at(self.deadline, self.exchange(request)).await {
            Ok(Ok(WorkerResponse::Failed(error))) => Err(RequestError::Failed(error)),
            Ok(Ok(response)) => Ok(response),
            Ok(Err(why)) => Err(RequestError::WorkerLost(self.worker_failed_fault(&why))),
            Err(_) => Err(RequestError::WorkerLost(self.timeout_fault())),
        }
    }

    async fn exchange(&mut self, request: &WorkerRequest) -> Result<WorkerResponse, String> {
        let to_text = |error: std::io::Error| error.to_string();
        let mut line = serde_json::to_vec(request).map_err(|error| error.to_string())?;
        line.push(b'\n');
        self.stdin.write_all(&line).await.map_err(to_text)?;
        loop {
            let mut line = Vec::new();
            (&mut self.stdout)
                .take(MAX_RESPONSE_BYTES)
                .read_until(b'\n', &mut line)
                .await
                .map_err(to_text)?;
            if line.last() != Some(&b'\n') {
                return Err("it ended before its response".to_owned());
            }
            match serde_json::from_slice(&line) {
                Ok(WorkerResponse::At(step)) => self.step = step,
                Ok(response) => return Ok(response),
                Err(_) => return Err("its response is not valid".to_owned()),
            }
        }
    }

    /// Closes the worker's stdin and ends the worker. If the worker cannot be killed, the slot
    /// keeps it.
    pub(crate) async fn end(self) {
        let Self { worker, stdin, .. } = self;
        drop(stdin);
        let _ = worker.end_worker().await;
    }

    /// Ends the worker after a fault. Returns `fault`, or `probe_stuck` instead if the worker
    /// cannot be killed.
    pub(crate) async fn kill(self, fault: Fault) -> Fault {
        let Self { worker, dir, step, .. } = self;
        match worker.end_worker().await {
            Ok(()) => fault,
            Err(pid) => stuck_worker_fault(&dir, pid).with_detail("step", step.as_str()),
        }
    }

    fn timeout_fault(&self) -> Fault {
        if self.step == WorkerOperation::Start {
            // The worker has not touched the disk, whose state is as unknown as before.
            let details = "a worker process was started, but did not run in time";
            return agent_fault(details, &self.dir).with_remedy(Remedy::CheckMachineLoad);
        }
        let details = format!("{} on {} did not end in time", self.step.as_str(), self.dir);
        Fault::new(Reason::ProbeTimeout, details)
            .with_detail("path", self.dir.as_str())
            .with_detail("step", self.step.as_str())
    }

    /// Returns the fault of a worker that ended early or sent nonsense. A disk causes neither: its
    /// errors come as responses.
    fn worker_failed_fault(&mut self, why: &str) -> Fault {
        let exit = self.worker.child_mut().and_then(|child| child.try_wait().ok().flatten());
        let exit = exit.map_or_else(String::new, |status| format!(" ({status})"));
        let step = self.step.as_str();
        let details = format!("the worker process failed at {step}: {why}{exit}");
        agent_fault(details, &self.dir)
            .with_detail("step", step)
            .with_remedy(Remedy::CheckKilledProcess)
    }
}

/// Returns a fault of the daemon itself, which says nothing about the disk.
fn agent_fault(details: impl Into<String>, dir: &ImageDir) -> Fault {
    Fault::new(Reason::AgentBusy, details).with_detail("path", dir.as_str())
}

fn stuck_worker_fault(dir: &ImageDir, pid: i32) -> Fault {
    let details = format!("process {pid} sleeps in the kernel on {dir} and cannot be killed");
    Fault::new(Reason::ProbeStuck, details)
        .with_detail("path", dir.as_str())
        .with_detail("pid", pid)
}
