//! Talking to a worker process within a deadline.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, timeout_at};

use super::slot::{WorkerGuard, WorkerSlot};
use crate::model::{Fault, ImageDir, Reason};
use crate::probe::worker::protocol::{WorkerError, WorkerOperation, WorkerRequest, WorkerResponse};

/// Longest line a worker may send: a marker of 4 KiB, escaped, and a path of 2048 characters.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// Which program is the worker.
#[derive(Clone, Debug)]
pub(crate) struct WorkerProgram {
    pub(crate) path: PathBuf,
    pub(crate) args: Vec<String>,
}

impl Default for WorkerProgram {
    /// This program as it runs, whatever an upgrade has put in its place on disk.
    fn default() -> Self {
        Self { path: PathBuf::from("/proc/self/exe"), args: vec!["probe-worker".to_owned()] }
    }
}

/// One worker and how long there is to talk to it.
pub(crate) struct WorkerClient<'a> {
    worker: WorkerGuard<'a>,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    dir: ImageDir,
    step: WorkerOperation,
    deadline: Instant,
}

/// Why an order has no answer.
pub(crate) enum RequestError {
    /// The worker refused it, and can be asked for something else.
    Failed(WorkerError),
    /// There is no talking to it any more.
    Over(Fault),
}

impl<'a> WorkerClient<'a> {
    /// Spawns a worker, if the store has none that holds on.
    ///
    /// # Errors
    /// `probe_stuck` while an earlier one holds on; `agent_busy` when no process can be made.
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
            // A worker that outlives the daemon would hold its log open.
            .stderr(Stdio::null())
            // Ctrl-C in a terminal is for the daemon; it ends its workers by itself.
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        let mut worker = slot.take_slot(child.map_err(|error| {
            // Ours and not the disk's, whose state is as unknown as before.
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

    /// Gives an order and waits for its report.
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

    /// Ends the worker: it goes by itself when its stdin closes. One that hangs even now is the slot's
    /// to remember.
    pub(crate) async fn shut_down(self) {
        let Self { worker, stdin, .. } = self;
        drop(stdin);
        let _ = worker.end_worker().await;
    }

    /// Ends the worker after a silence; a fault that is already known is made worse if it will not die.
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
