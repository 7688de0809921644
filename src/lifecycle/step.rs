//! The function that decides on one input: no other code changes a status. `attempt` has the part
//! that concerns attempts.

use super::schedule::CheckSchedule;
use super::stale_namespace::NamespaceDecision;
use super::{
    Cause, CheckPolicy, FillEvidence, HistoryEvent, InFlight, LoginOutcome, ProbeOutcome,
    StepEffect, StepInput, StepTime, StoreRecord, conditions, filling, history,
};
use crate::model::{
    AttemptFailure, Check, Condition, DayFigures, Fault, HostIdentity, Reason, Status, Tags,
};

/// Returns the new record after an input, and the effects to carry out.
///
/// The caller commits the durable part of the record together with the effects that belong to it.
/// Only then does it adopt the record and carry out the other effects. If the commit fails, it
/// keeps the old record and may repeat the step.
pub fn step(
    mut record: StoreRecord,
    input: StepInput,
    policy: &CheckPolicy,
    now: StepTime,
) -> (StoreRecord, Vec<StepEffect>) {
    let mut effects = Vec::new();
    let mut context = StepContext { policy, now, effects: &mut effects };
    let r = &mut record;
    match input {
        StepInput::Started => context.on_started(r),
        StepInput::ReconnectRequested { cause, tags } => {
            context.on_reconnect_requested(r, cause, tags)
        }
        StepInput::AttemptPrepared => context.on_attempt_prepared(r),
        StepInput::PreparationFailed(fault) => context.on_preparation_failed(r, fault),
        StepInput::AttemptEnded { attempt, outcome } => {
            context.on_attempt_ended(r, attempt, outcome)
        }
        StepInput::Probed(probe) => context.on_probed(r, &probe),
        StepInput::LoggedIn(login) => context.on_login_finished(r, &login),
        StepInput::Forecast(evidence) => context.on_forecast(r, &evidence),
        StepInput::Due(in_flight) => context.on_checks_due(r, in_flight),
        StepInput::CheckRequested(check, in_flight) => {
            context.on_check_requested(r, check, in_flight)
        }
        StepInput::Stopping => context.on_stopping(r),
    }
    context.update_not_probed(r);
    context.roll_up(r);
    (record, effects)
}

/// The context of one step: its policy, its time, and its effects.
pub(super) struct StepContext<'a> {
    pub(super) policy: &'a CheckPolicy,
    pub(super) now: StepTime,
    pub(super) effects: &'a mut Vec<StepEffect>,
}

impl StepContext<'_> {
    fn on_started(&mut self, r: &mut StoreRecord) {
        // These conditions described the namespace and the limits of the previous daemon process.
        for condition in [Condition::StaleNamespace, Condition::NotProbed] {
            self.set_condition_if_changed(r, condition, false);
        }
        if self.policy.space.filling_up.is_none() {
            self.set_condition_if_changed(r, Condition::FillingUp, false);
        }
        if r.has_attempt() {
            // The input was repeated after a failed commit, and a caller requested an attempt in
            // the meantime.
            return;
        }
        // The first attempt of a new store has already run its checks.
        if !r.is_verified() {
            r.schedule = CheckSchedule::first_checks(self.policy, self.now);
            r.watch_all(self.policy, self.now);
        }
        match r.durable.status {
            Status::Connecting => {
                self.record_history(r, HistoryEvent::InterruptedByRestart);
                self.prepare_attempt(r, Cause::Restart, Tags::default());
            }
            Status::Disconnected if self.policy.auto_reconnect && !waits_for_storage(r) => {
                r.retry.schedule_retry(self.policy, self.now);
            }
            Status::Disconnected | Status::Connected => {}
        }
    }

    fn on_probed(&mut self, r: &mut StoreRecord, probe: &ProbeOutcome) {
        // An attempt supersedes the result.
        if r.durable.status == Status::Connecting {
            return;
        }
        // The result says nothing about the store.
        if probe.is_internal() {
            return r.checks.record_obstacle(probe);
        }
        if probe.written.is_some() {
            r.schedule.write_finished(self.policy, self.now);
        }
        r.watch_probed(probe, self.policy, self.now);
        let decided_faults = r.checks.on_probed(probe, self.policy, self.now.wall);
        self.record_capacity(r, probe);
        self.disconnect_if_decided(r, decided_faults);
        if probe.first_fault().is_none() {
            self.try_recover(r);
        }
    }

    /// Starts an attempt if a storage fault counts as gone.
    fn try_recover(&mut self, r: &mut StoreRecord) {
        let waits = r.durable.status == Status::Disconnected && waits_for_storage(r);
        if !waits
            || r.has_attempt()
            || !self.policy.auto_reconnect
            || !r.checks.has_recovered(self.policy)
        {
            return;
        }
        let is_repaired = r.checks.has_seen_failure();
        if is_repaired {
            r.retry.reset();
        }
        if is_repaired || r.retry.may_start(self.now) {
            self.prepare_attempt(r, Cause::Monitor, Tags::default());
        }
    }

    fn on_login_finished(&mut self, r: &mut StoreRecord, login: &LoginOutcome) {
        // An attempt supersedes the result.
        if r.durable.status == Status::Connecting {
            return;
        }
        if let Some(fault) = login.internal_fault() {
            r.checks.ssh.obstacle = Some(Box::new(fault.clone()));
            return;
        }
        // A caller requested the login. Attempts alone connect the store, so it decides nothing.
        if r.durable.status == Status::Disconnected {
            r.checks.on_login_finished(login, self.policy, self.now.wall);
            return self.record_identity(r, login, false);
        }
        let mut interval = self.policy.probe_interval;
        if login.outcome.is_ok() {
            r.schedule.login_succeeded(self.policy, self.now);
            interval = self.policy.login_interval;
        }
        r.watch_login(interval, self.policy, self.now);
        let decided_faults = r.checks.on_login_finished(login, self.policy, self.now.wall);
        self.record_identity(r, login, false);
        self.disconnect_if_decided(r, decided_faults.into_iter().collect());
    }

    /// Raises or clears the condition of a store that is filling up. The figures of a store that is
    /// not Connected may belong to another filesystem.
    fn on_forecast(&mut self, r: &mut StoreRecord, evidence: &FillEvidence) {
        if r.durable.status == Status::Connected {
            let held = r.durable.conditions.contains_key(&Condition::FillingUp);
            let fills = filling::is_filling_up(evidence, held, &self.policy.space);
            self.set_condition_if_changed(r, Condition::FillingUp, fills);
        }
    }

    /// Applies decided faults: a Connected store disconnects, and a Disconnected store updates its
    /// failure.
    fn disconnect_if_decided(&mut self, r: &mut StoreRecord, decided_faults: Vec<Fault>) {
        let Some(failure) = AttemptFailure::from_faults(decided_faults) else { return };
        match r.durable.status {
            Status::Connected => {
                self.change_status(r, Status::Disconnected, Some(failure), Tags::default());
            }
            Status::Disconnected => refresh_failure(r, failure),
            Status::Connecting => {}
        }
        if waits_for_storage(r) {
            r.retry.cancel_retry();
        } else if self.policy.auto_reconnect && r.retry.due_at().is_none() {
            r.retry.schedule_retry(self.policy, self.now);
        }
    }

    fn on_checks_due(&mut self, r: &mut StoreRecord, in_flight: InFlight) {
        if r.durable.status == Status::Connecting {
            return;
        }
        r.evaluate_overdue(self.now);
        let preparing = r.preparing.is_some();
        let retry = !preparing && r.retry.due_at().is_some_and(|due| due <= self.now.uptime);
        if retry {
            r.retry.cancel_retry();
        }
        if retry && self.policy.auto_reconnect && r.durable.status == Status::Disconnected {
            return self.prepare_attempt(r, Cause::Monitor, Tags::default());
        }
        if !in_flight.probe && r.schedule.probe_is_due(self.now) {
            self.start_probe(r);
        }
        let connected = r.durable.status == Status::Connected;
        if connected && !preparing && !in_flight.login && r.schedule.login_is_due(self.now) {
            self.start_login(r, false);
        }
    }

    /// Starts a probe. While something is wrong, every probe writes, so that only writing probes
    /// count towards recovery.
    pub(super) fn start_probe(&mut self, r: &mut StoreRecord) {
        let is_healthy =
            r.durable.status == Status::Connected && r.checks.write.consecutive_failures() == 0;
        let write = self.policy.write_interval.is_some()
            && (!is_healthy || r.schedule.write_is_due(self.now));
        r.schedule.probe_started(!r.is_verified(), self.policy, self.now);
        self.effects.push(StepEffect::Probe { write });
    }

    /// Starts a login of the monitor.
    pub(super) fn start_login(&mut self, r: &mut StoreRecord, requested: bool) {
        r.schedule.login_started(self.policy, self.now);
        self.effects.push(StepEffect::LogIn { requested });
    }

    fn on_stopping(&mut self, r: &mut StoreRecord) {
        r.retry.cancel_retry();
        r.preparing = None;
        if let Some(running) = r.running.take() {
            let details = "the daemon stopped before the checks ended";
            let fault = Fault::new(Reason::AgentStopping, details);
            self.effects.push(StepEffect::CancelAttempt(running.id));
            self.effects.push(StepEffect::CompleteAttempt(
                running.id,
                Err(AttemptFailure::from_fault(fault)),
            ));
        }
    }

    /// Records the figures of a good probe, and the conditions that they imply. A Disconnected
    /// store keeps its last good figures, because the new ones may belong to another filesystem.
    pub(super) fn record_capacity(&mut self, r: &mut StoreRecord, probe: &ProbeOutcome) {
        if let Some(Ok(written)) = &probe.written {
            r.last_write = Some(*written);
        }
        self.set_namespace(r, r.namespace.after_probe(probe));
        let (Ok(measured), None) = (&probe.examined, probe.first_fault()) else {
            // A fault of the daemon says nothing about the figures.
            if !probe.is_internal() {
                let finished = r.rollup.on_lost(self.policy, self.now);
                self.record_days(finished);
            }
            return;
        };
        let held = &r.durable.conditions;
        for (condition, holds) in
            conditions::condition_changes(held, measured, r.last_write, probe.took, self.policy)
        {
            self.set_condition(r, condition, holds);
        }
        if r.durable.status == Status::Disconnected {
            return;
        }
        if history::should_record(r, measured, self.now) {
            r.last_sample = Some(self.now.uptime);
            self.record_history(r, HistoryEvent::SpaceMeasured(*measured));
        }
        r.durable.capacity = Some(measured.capacity);
        r.durable.inodes = measured.inodes;
        let finished = r.rollup.on_measured(measured, self.policy, self.now);
        self.record_days(finished);
    }

    /// Records the figures by day if the step is committed anyway, or if they wait too long.
    fn roll_up(&mut self, r: &mut StoreRecord) {
        if r.durable.status == Status::Disconnected {
            let finished = r.rollup.on_lost(self.policy, self.now);
            self.record_days(finished);
        }
        let commits = |effect: &StepEffect| {
            matches!(
                effect,
                StepEffect::PublishTransition(_)
                    | StepEffect::RecordHistory(..)
                    | StepEffect::RecordCapacity(_)
            )
        };
        if r.rollup.is_due() || self.effects.iter().any(commits) {
            let pending = r.rollup.take_pending();
            self.record_days(pending);
        }
    }

    fn record_days(&mut self, days: impl IntoIterator<Item = DayFigures>) {
        self.effects.extend(days.into_iter().map(StepEffect::RecordCapacity));
    }

    /// Records the identity of the host from a good login. A failed login adds nothing.
    /// `same_attempt` is true if the directory was probed in the same attempt.
    pub(super) fn record_identity(
        &mut self,
        r: &mut StoreRecord,
        login: &LoginOutcome,
        same_attempt: bool,
    ) {
        let Ok(proof) = &login.outcome else { return };
        let unproven = matches!(proof, HostIdentity::Unverified(_));
        self.set_condition_if_changed(r, Condition::ProofUnavailable, unproven);
        let local = r.checks.examine.fault.as_ref();
        self.set_namespace(r, r.namespace.after_login(proof, local, same_attempt));
        r.host_identity = Some(proof.clone());
    }

    /// Raises or clears the condition of overdue checks. A running attempt keeps it as it is.
    fn update_not_probed(&mut self, r: &mut StoreRecord) {
        match r.durable.status {
            Status::Connecting => return,
            Status::Disconnected => r.stop_watching_logins(),
            Status::Connected => {}
        }
        self.set_condition_if_changed(r, Condition::NotProbed, r.any_overdue());
    }

    fn set_namespace(&mut self, r: &mut StoreRecord, decision: NamespaceDecision) {
        r.namespace = decision.evidence;
        if let Some(stale) = decision.stale {
            self.set_condition_if_changed(r, Condition::StaleNamespace, stale);
        }
    }

    fn set_condition_if_changed(&mut self, r: &mut StoreRecord, condition: Condition, holds: bool) {
        if r.durable.conditions.contains_key(&condition) != holds {
            self.set_condition(r, condition, holds);
        }
    }

    fn set_condition(&mut self, r: &mut StoreRecord, condition: Condition, holds: bool) {
        match holds {
            true => r.durable.conditions.insert(condition, self.now.wall),
            false => r.durable.conditions.remove(&condition),
        };
        self.record_history(r, HistoryEvent::ConditionChanged { condition, active: holds });
    }

    pub(super) fn record_history(&mut self, r: &StoreRecord, event: HistoryEvent) {
        self.effects.push(StepEffect::RecordHistory(r.durable.attempt, event));
    }
}

/// Updates the failure of a Disconnected store to the newest storage faults and the SSH faults of
/// the last attempt. If the root cause has the same reason, the first evidence stays, so that an
/// outage costs one commit instead of one per probe.
fn refresh_failure(r: &mut StoreRecord, newest: AttemptFailure) {
    let old = r.durable.failure.take();
    if old.as_ref().is_some_and(|old| old.root_fault().reason() == newest.root_fault().reason()) {
        r.durable.failure = old;
        return;
    }
    let ssh = old
        .iter()
        .flat_map(AttemptFailure::all_faults)
        .filter(|f| f.reason().failed_check() == Check::Ssh);
    r.durable.failure = AttemptFailure::from_faults(ssh.chain(newest.all_faults()).cloned());
}

/// Returns true if the store is Disconnected by a fault that probes detect. Probes then decide when
/// the next attempt starts, not time.
pub(super) fn waits_for_storage(r: &StoreRecord) -> bool {
    let seen = |f: &AttemptFailure| f.has_check(Check::Identity) || f.has_check(Check::Storage);
    r.durable.failure.as_ref().is_some_and(seen)
}
