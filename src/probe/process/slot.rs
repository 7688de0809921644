//! Worker slot of a store: it keeps track of the worker process, also of one that cannot be killed.
#![expect(clippy::disallowed_methods, reason = "reads /proc, which never hangs on a mount")]

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::time::timeout;

use crate::model::ProcessId;

/// Maximum time that a killed worker has to exit. A worker that sleeps in the kernel never
/// exits, so the limit is short.
const KILL_TIMEOUT: Duration = Duration::from_millis(250);

/// Slot for the only worker of a store.
#[derive(Debug, Default)]
pub struct WorkerSlot {
    worker: Option<WorkerProcess>,
}

#[derive(Debug)]
struct WorkerProcess {
    process: ProcessId,
    /// Child handle. `None` for a worker that an earlier run of the daemon left behind.
    child: Option<Child>,
    stuck: bool,
    /// True until the first request to the worker.
    prepared: bool,
}

impl WorkerSlot {
    /// Creates a free slot.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a slot that a worker of an earlier run may still occupy; see
    /// [`WorkerSlot::stuck_worker`].
    pub fn with_stuck(process: ProcessId) -> Self {
        Self { worker: Some(WorkerProcess { process, child: None, stuck: true, prepared: false }) }
    }

    /// Returns the worker that could not be killed, or `None` if there is none.
    pub fn stuck_worker(&self) -> Option<ProcessId> {
        self.worker.as_ref().filter(|worker| worker.stuck).map(|worker| worker.process)
    }

    /// Kills the worker of a cancelled probe, so that [`WorkerSlot::stuck_worker`] is up to date.
    /// The call takes at most 250 ms.
    ///
    /// # Cancel safety
    /// The slot still holds the worker.
    pub async fn reap(&mut self) {
        // `stuck_worker` reports a worker that could not be killed.
        let _ = self.try_free().await;
    }

    /// Frees the slot if its worker is gone. Kills the worker of a cancelled probe.
    ///
    /// # Errors
    /// The process id of a worker that could not be killed.
    ///
    /// # Cancel safety
    /// The slot still holds the worker.
    pub(super) async fn try_free(&mut self) -> Result<(), i32> {
        let Some(worker) = &mut self.worker else { return Ok(()) };
        if worker.kill_and_wait().await {
            self.worker = None;
            return Ok(());
        }
        worker.stuck = true;
        Err(worker.process.pid)
    }

    /// Occupies the slot with a child that has just been spawned.
    pub(super) fn occupy(&mut self, child: Child) {
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).unwrap_or(0);
        let process = running_process(pid).unwrap_or(ProcessId { pid, start_time: 0 });
        self.worker =
            Some(WorkerProcess { process, child: Some(child), stuck: false, prepared: true });
    }

    /// Returns true if the slot has a running worker that was prepared and not used yet.
    pub(super) fn is_prepared(&mut self) -> bool {
        let prepared = self.worker.as_mut().filter(|worker| worker.prepared);
        let child = prepared.and_then(|worker| worker.child.as_mut());
        child.is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Uses the prepared worker.
    pub(super) fn use_worker(&mut self) -> WorkerGuard<'_> {
        if let Some(worker) = &mut self.worker {
            worker.prepared = false;
        }
        WorkerGuard { slot: self }
    }

    /// Kills the worker that was prepared but is not needed. The slot keeps it until it has exited.
    pub fn discard_prepared(&mut self) {
        if let Some(worker) = self.worker.as_mut().filter(|worker| worker.prepared) {
            worker.prepared = false;
            if let Some(child) = &mut worker.child {
                // It may have exited already.
                let _ = child.start_kill();
            }
        }
    }
}

/// Guard of a running worker. Dropping it kills the worker. The slot keeps the worker until it has
/// exited.
pub(super) struct WorkerGuard<'a> {
    slot: &'a mut WorkerSlot,
}

impl WorkerGuard<'_> {
    pub(super) fn child_mut(&mut self) -> Option<&mut Child> {
        self.slot.worker.as_mut()?.child.as_mut()
    }

    /// Kills the worker and waits for its exit.
    ///
    /// # Errors
    /// The process id of a worker that could not be killed.
    pub(super) async fn end_worker(self) -> Result<(), i32> {
        self.slot.try_free().await
    }
}

impl Drop for WorkerGuard<'_> {
    fn drop(&mut self) {
        if let Some(child) = self.child_mut() {
            // The worker may have exited already, or it may sleep in the kernel.
            let _ = child.start_kill();
        }
    }
}

impl WorkerProcess {
    /// Kills the worker and waits for its exit. Returns true if it is gone. A worker of an earlier
    /// run is not a child of this process. It is only looked up, neither killed nor waited for.
    ///
    /// # Cancel safety
    /// The worker may have been sent SIGKILL; a later call waits for the same process.
    async fn kill_and_wait(&mut self) -> bool {
        match &mut self.child {
            Some(child) => {
                if has_exited(&child.try_wait()) {
                    return true;
                }
                let _ = child.start_kill();
                // A known stuck worker is checked without waiting, because every probe period calls
                // this function.
                let wait_limit = if self.stuck { Duration::ZERO } else { KILL_TIMEOUT };
                let waited = timeout(wait_limit, child.wait()).await;
                waited.is_ok_and(|waited| has_exited(&waited.map(Some)))
            }
            // The same pid with another start time is another process.
            None => !is_running(self.process),
        }
    }
}

/// Returns true if the result of `waitpid(2)` shows that the child has exited. `ECHILD` shows it as
/// well: the kernel has reaped the child, because SIGCHLD is ignored.
fn has_exited(waited: &io::Result<Option<ExitStatus>>) -> bool {
    match waited {
        Ok(status) => status.is_some(),
        Err(error) => error.raw_os_error().map(Errno::from_raw) == Some(Errno::ECHILD),
    }
}

/// Returns true if the process still runs. It is neither another one with its pid nor a zombie.
pub fn is_running(process: ProcessId) -> bool {
    running_process(process.pid) == Some(process)
}

/// Returns the process that has this pid now. Returns `None` if there is none or it is a zombie.
pub(crate) fn running_process(pid: i32) -> Option<ProcessId> {
    named_process(pid).map(|(_, process)| process)
}

/// Returns the name of a process and the process itself (fields 2 and 22 of `/proc/PID/stat`,
/// `proc_pid_stat(5)`), or `None` if it is gone or only waits to be reaped.
pub(super) fn named_process(pid: i32) -> Option<(String, ProcessId)> {
    let stat = std::fs::read(format!("/proc/{}/stat", Pid::from_raw(pid))).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // The name in the second field may contain anything, including parentheses.
    let (before, fields) = stat.rsplit_once(") ")?;
    let (_, name) = before.split_once(" (")?;
    let mut fields = fields.split(' ');
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    let start_time = fields.nth(18)?.parse().ok()?;
    Some((name.to_owned(), ProcessId { pid, start_time }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start() {
        let me = i32::try_from(std::process::id()).unwrap();
        let process = running_process(me).unwrap();
        assert!(process.pid == me && process.start_time > 0);
        assert_eq!(running_process(me), Some(process));
        assert_eq!(running_process(i32::MAX), None);
    }

    #[test]
    fn only_an_exit_or_a_child_that_was_reaped_counts_as_gone() {
        use std::os::unix::process::ExitStatusExt as _;
        let failed = |errno: Errno| Err(io::Error::from(errno));
        let exited = Some(ExitStatus::from_raw(9));
        for (waited, gone) in [
            (Ok(None), false),
            (Ok(exited), true),
            (failed(Errno::ECHILD), true),
            (failed(Errno::EINTR), false),
            (failed(Errno::EAGAIN), false),
            (Err(io::Error::other("no errno")), false),
        ] {
            assert_eq!(has_exited(&waited), gone, "{waited:?}");
        }
    }

    #[tokio::test]
    async fn a_worker_of_an_earlier_run_holds_the_place_while_it_lives() {
        let me = i32::try_from(std::process::id()).unwrap();
        let mut held = WorkerSlot::with_stuck(running_process(me).unwrap());
        assert_eq!(held.try_free().await, Err(me));
        assert!(held.stuck_worker().is_some());
        let mut reused = WorkerSlot::with_stuck(ProcessId { pid: me, start_time: 1 });
        assert_eq!(reused.try_free().await, Ok(()));
        assert_eq!(reused.stuck_worker(), None);
    }
}
