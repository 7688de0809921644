//! The worker of one store: its slot, and the wait for a permit to run it.
//!
//! A permit is acquired before the slot. A probe that waits for a permit therefore holds up no
//! other probe of the store, and a probe that holds the slot always ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::{Instant, timeout_at};

use crate::agent::{AgentContext, faults};
use crate::model::{Fault, ImageDir, ProcessId, Reason};
use crate::probe::{ProbeExpectation, ProbeResult, WorkerPermit, WorkerSlot};

/// The slot of a store, and whether its last probe hung. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoreWorker(Arc<StoreWorkerInner>);

#[derive(Debug, Default)]
struct StoreWorkerInner {
    slot: Arc<Mutex<WorkerSlot>>,
    has_hung: AtomicBool,
}

/// The permit of a probe and, if no other probe used the slot, the slot with a worker that was
/// started in it. Dropping it kills that worker.
#[derive(Debug, Default)]
pub(crate) struct PreparedWorker {
    permit: Option<WorkerPermit>,
    slot: Option<OwnedMutexGuard<WorkerSlot>>,
}

impl Drop for PreparedWorker {
    fn drop(&mut self) {
        if let Some(slot) = &mut self.slot {
            slot.discard_prepared();
        }
    }
}

/// The time that a probe has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ProbeLimit {
    /// The deadline of an attempt.
    Attempt(Instant),
    /// None but its own. It is a probe of the monitor.
    Monitor,
}

impl StoreWorker {
    /// Creates the worker of a store. `stuck` is a worker that cannot be killed, which an earlier
    /// probe left behind.
    pub(crate) fn new(stuck: Option<ProcessId>) -> Self {
        let slot = stuck.map_or_else(WorkerSlot::new, WorkerSlot::with_stuck);
        Self(Arc::new(StoreWorkerInner {
            slot: Arc::new(Mutex::new(slot)),
            has_hung: AtomicBool::new(false),
        }))
    }

    /// Returns the slot.
    pub(crate) fn slot(&self) -> &Arc<Mutex<WorkerSlot>> {
        &self.0.slot
    }

    /// Returns true if a worker is known to be stuck. It may have exited since the last check, so
    /// this checks again. Returns false while a probe uses the slot.
    pub(crate) async fn is_stuck(&self) -> bool {
        let Ok(mut slot) = self.0.slot.try_lock() else { return false };
        slot.reap().await;
        slot.stuck_worker().is_some()
    }

    /// Waits for a permit to run the worker. A free permit is granted also if `until` has passed.
    ///
    /// # Errors
    /// `agent_busy` if the running workers did not end by `until`.
    pub(crate) async fn acquire_permit(
        &self,
        context: &AgentContext,
        until: Instant,
    ) -> Result<WorkerPermit, Fault> {
        context.prober.limiter().acquire_until(self.has_hung(), until).await
    }

    /// Starts a worker in the slot, unless another probe uses it.
    ///
    /// # Errors
    /// `agent_busy` if no process can be started.
    pub(crate) async fn start(
        &self,
        context: &AgentContext,
        dir: &ImageDir,
        permit: WorkerPermit,
    ) -> Result<PreparedWorker, Fault> {
        let Ok(mut slot) = Arc::clone(&self.0.slot).try_lock_owned() else {
            return Ok(PreparedWorker { permit: Some(permit), slot: None });
        };
        match context.prober.prepare_worker(&mut slot, dir).await {
            // The probe finds and reports the worker that is stuck.
            Err(fault) if fault.reason() == Reason::ProbeStuck => Ok(PreparedWorker::default()),
            Err(fault) => Err(fault),
            Ok(()) => Ok(PreparedWorker { permit: Some(permit), slot: Some(slot) }),
        }
    }

    /// Runs one probe. Neither the wait for a permit nor that for an earlier probe counts towards
    /// its time. A worker that is stuck needs no permit, because no other is started beside it.
    pub(crate) async fn probe(
        &self,
        context: &AgentContext,
        dir: &ImageDir,
        mut prepared: PreparedWorker,
        expectation: &ProbeExpectation,
        limit: ProbeLimit,
    ) -> ProbeResult {
        let started_at = Instant::now();
        let failed = |fault| ProbeResult {
            inspection: Err(fault),
            write: None,
            duration: started_at.elapsed(),
        };
        let permit = match prepared.permit.take() {
            Some(permit) => Some(permit),
            None if self.is_stuck().await => None,
            None => match self.acquire_permit_within(context, limit).await {
                Ok(permit) => Some(permit),
                Err(fault) => return failed(fault),
            },
        };
        let slot = match prepared.slot.take() {
            Some(slot) => Ok(slot),
            None => {
                let latest = match limit {
                    ProbeLimit::Attempt(deadline) => deadline,
                    ProbeLimit::Monitor => started_at + context.attempt_timeout,
                };
                timeout_at(latest, Arc::clone(&self.0.slot).lock_owned()).await
            }
        };
        let Ok(mut slot) = slot else {
            return failed(faults::probe_overdue(dir, started_at.elapsed()));
        };
        let own = Instant::now() + context.probe_timeout;
        let deadline = match limit {
            ProbeLimit::Attempt(deadline) => deadline.min(own),
            ProbeLimit::Monitor => own,
        };
        let result = context.prober.examine(&mut slot, dir, expectation, deadline).await;
        self.0.has_hung.store(has_hung(&result), Ordering::Relaxed);
        drop(permit);
        result
    }

    /// Waits for a permit for one worker.
    ///
    /// # Errors
    /// `agent_busy` if there was none by the deadline of the attempt. The monitor waits as long as
    /// it takes: a new request would lose its place in the order.
    async fn acquire_permit_within(
        &self,
        context: &AgentContext,
        limit: ProbeLimit,
    ) -> Result<WorkerPermit, Fault> {
        match limit {
            ProbeLimit::Attempt(deadline) => self.acquire_permit(context, deadline).await,
            ProbeLimit::Monitor => Ok(context.prober.limiter().acquire(self.has_hung()).await),
        }
    }

    /// Returns true if the last probe of the store hung.
    pub(super) fn has_hung(&self) -> bool {
        self.0.has_hung.load(Ordering::Relaxed)
    }
}

/// Returns true if the probe did not end by itself.
fn has_hung(result: &ProbeResult) -> bool {
    let hung = |fault: &Fault| matches!(fault.reason(), Reason::ProbeTimeout | Reason::ProbeStuck);
    result.inspection.as_ref().is_err_and(hung)
        || result.write.as_ref().is_some_and(|write| write.as_ref().is_err_and(hung))
}
