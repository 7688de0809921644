//! Daemon side of a probe: starts a worker process, exchanges requests with it within a deadline,
//! and ends it.

pub(super) mod orphans;
pub(super) mod slot;

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, timeout_at};

use crate::model::{Fault, ImageDir, Reason};
use crate::probe::worker::protocol::{WorkerError, WorkerOperation, WorkerRequest, WorkerResponse};
use slot::{WorkerGuard, WorkerSlot};

/// Longest line that a worker may send, in bytes. A marker of 4 KiB, escaped, and a path of 2048
/// characters fit into it.
const MAX_LINE_BYTES: u64 = 64 * 1024;

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
    Over(Fault),
}

impl<'a> WorkerClient<'a> {
    /// Spawns a worker, unless an earlier worker of the store is stuck.
    ///
    /// # Errors
    /// `probe_stuck` if an earlier worker cannot be killed. `agent_busy` if no process can be
    /// started.
    pub(crate) async fn spawn(
        slot: &'a mut WorkerSlot,
        program: &Arc<WorkerProgram>,
        dir: &ImageDir,
        deadline: Instant,
    ) -> Result<Self, Fault> {
        if let Err(pid) = slot.try_free().await {
            return Err(stuck_worker(dir, pid));
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
        let mut worker = slot.take_slot(child.map_err(|error| {
            // This error belongs to the daemon and not to the disk, whose state is as unknown as
            // before.
            Fault::new(Reason::AgentBusy, format!("no worker process can be started: {error}"))
                .with_detail("path", dir.as_str())
                .with_remedy(
                    "look at the limits of descriptors, processes and memory of this service",
                )
        })?);
        let pipes =
            worker.worker_child().and_then(|child| child.stdin.take().zip(child.stdout.take()));
        let Some((stdin, stdout)) = pipes else {
            return Err(Fault::new(Reason::IoError, "the worker process has no pipes"));
        };
        let (stdout, dir) = (BufReader::new(stdout), dir.clone());
        Ok(Self { worker, stdin, stdout, dir, step: WorkerOperation::Start, deadline })
    }

    /// Sends a request and waits for its response.
    pub(crate) async fn send_request(
        &mut self,
        order: &WorkerRequest,
    ) -> Result<WorkerResponse, RequestError> {
        match timeout_at(self.deadline, self.exchange_lines(order)).await {
            Ok(Ok(WorkerResponse::Failed(failed))) => Err(RequestError::Failed(failed)),
            Ok(Ok(report)) => Ok(report),
            Ok(Err(why)) => Err(RequestError::Over(self.broken_worker(&why))),
            Err(_) => Err(RequestError::Over(self.timed_out())),
        }
    }

    async fn exchange_lines(&mut self, order: &WorkerRequest) -> Result<WorkerResponse, String> {
        let told = |error: std::io::Error| error.to_string();
        let mut line = serde_json::to_vec(order).map_err(|error| error.to_string())?;
        line.push(b'\n');
        self.stdin.write_all(&line).await.map_err(told)?;
        loop {
            let mut line = Vec::new();
            (&mut self.stdout)
                .take(MAX_LINE_BYTES)
                .read_until(b'\n', &mut line)
                .await
                .map_err(told)?;
            if line.last() != Some(&b'\n') {
                return Err("it ended in the middle of its work".to_owned());
            }
            match serde_json::from_slice(&line) {
                Ok(WorkerResponse::At(step)) => self.step = step,
                Ok(report) => return Ok(report),
                Err(_) => return Err("its answer cannot be read".to_owned()),
            }
        }
    }

    /// Closes the worker's stdin and ends the worker. If the worker cannot be killed, the slot
    /// keeps it.
    pub(crate) async fn shut_down(self) {
        let Self { worker, stdin, .. } = self;
        drop(stdin);
        let _ = worker.end_worker().await;
    }

    /// Ends the worker after a fault. Returns `fault`, or `probe_stuck` in its place if the worker
    /// cannot be killed.
    pub(crate) async fn kill(self, fault: Fault) -> Fault {
        let Self { worker, dir, step, .. } = self;
        match worker.end_worker().await {
            Ok(()) => fault,
            Err(pid) => stuck_worker(&dir, pid).with_detail("step", step.as_str()),
        }
    }

    fn timed_out(&self) -> Fault {
        let told = format!("{} on {} did not end in time", self.step.as_str(), self.dir);
        Fault::new(Reason::ProbeTimeout, told)
            .with_detail("path", self.dir.as_str())
            .with_detail("step", self.step.as_str())
    }

    fn broken_worker(&self, why: &str) -> Fault {
        let told = format!("the worker process broke off at {}: {why}", self.step.as_str());
        Fault::new(Reason::IoError, told)
            .with_detail("path", self.dir.as_str())
            .with_detail("step", self.step.as_str())
    }
}

fn stuck_worker(dir: &ImageDir, pid: i32) -> Fault {
    let told = format!("process {pid} sleeps in the kernel on {dir} and cannot be killed");
    Fault::new(Reason::ProbeStuck, told).with_detail("path", dir.as_str()).with_detail("pid", pid)
}
