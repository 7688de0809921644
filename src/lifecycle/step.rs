//! The one function that changes a status.

use super::schedule::CheckSchedule;
use super::stale_namespace::NamespaceDecision;
use super::{
    AttemptOutcome, Cause, CheckPolicy, HistoryEvent, InFlight, LastAttempt, LoginOutcome,
    ProbeOutcome, RunningAttempt, StatusTransition, StepEffect, StepInput, StepTime, StoreRecord,
    capacity_history, conditions,
};
use crate::model::{
    AttemptFailure, AttemptId, Check, Condition, Fault, HostIdentity, Reason, Status, Tags,
};

/// What the record becomes, and what is to be done about it.
///
/// The caller commits the returned standing together with the effects that belong to it, and only
/// then adopts the record and lets the other effects out; if the commit fails it keeps the old record
/// and may repeat the step.
pub fn step(
    mut record: StoreRecord,
    input: StepInput,
    policy: &CheckPolicy,
    now: StepTime,
) -> (StoreRecord, Vec<StepEffect>) {
    let mut effects = Vec::new();
    let mut turn = StepContext { policy, now, effects: &mut effects };
    let r = &mut record;
    match input {
        StepInput::Started => turn.on_started(r),
        StepInput::ReconnectAsked { cause, tags } => turn.on_reconnect_requested(r, cause, tags),
        StepInput::AttemptEnded { attempt, outcome } => turn.on_attempt_ended(r, attempt, outcome),
        StepInput::Probed(probe) => turn.on_probed(r, &probe),
        StepInput::LoggedIn(login) => turn.logged_in(r, &login),
        StepInput::Due(busy) => turn.on_time_passed(r, busy),
        StepInput::Stopping => turn.on_stopping(r),
    }
    (record, effects)
}

/// One step: its rules, its moment, and what comes of it.
struct StepContext<'a> {
    policy: &'a CheckPolicy,
    now: StepTime,
    effects: &'a mut Vec<StepEffect>,
}

impl StepContext<'_> {
    fn on_started(&mut self, r: &mut StoreRecord) {
        // The namespace was that of the daemon before.
        self.set_condition_if_changed(r, Condition::StaleNamespace, false);
        if r.running.is_some() {
            // Repeated because it could not be committed at first, and somebody asked meanwhile.
            return;
        }
        // A store that has just been added was looked at by its first attempt.
        if !r.is_verified() {
            r.agenda = CheckSchedule::first_checks(self.policy, self.now);
        }
        match r.standing.status {
            Status::Connecting => {
                self.record_history(r, HistoryEvent::InterruptedByRestart);
                self.start_attempt(r, Cause::Restart, Tags::default());
            }
            Status::Disconnected if self.policy.auto_reconnect && !waits_for_storage(r) => {
                r.retry.schedule_retry(self.policy, self.now);
            }
            Status::Disconnected | Status::Connected => {}
        }
    }

    fn on_reconnect_requested(&mut self, r: &mut StoreRecord, cause: Cause, tags: Tags) {
        if cause == Cause::User {
            r.retry.reset();
        }
        match &r.running {
            // Who joins without tags leaves nothing that the attempt does not tell already.
            Some(_) if tags.is_empty() => {}
            Some(running) => {
                self.effects
                    .push(StepEffect::RecordHistory(running.id, HistoryEvent::Joined { tags }));
            }
            None => self.start_attempt(r, cause, tags),
        }
    }

    fn on_attempt_ended(
        &mut self,
        r: &mut StoreRecord,
        attempt: AttemptId,
        outcome: Result<AttemptOutcome, Fault>,
    ) {
        let Some(running) = r.running.take_if(|running| running.id == attempt) else { return };
        r.agenda.after_attempt(self.policy, self.now);
        let failure = match &outcome {
            Ok(outcome) => {
                r.checks.on_attempt_ended(&outcome.probe, &outcome.login, self.now.wall);
                self.record_capacity(r, &outcome.probe);
                self.record_identity(r, &outcome.login, true);
                outcome.attempt_failure()
            }
            Err(fault) => Some(AttemptFailure::from_fault(fault.clone())),
        };
        r.last_attempt =
            Some(LastAttempt { id: running.id, cause: running.cause, at: self.now.wall, outcome });
        match &failure {
            None => {
                r.retry.reset();
                self.change_status(r, Status::Connected, None, running.tags);
            }
            Some(failure) => {
                self.change_status(r, Status::Disconnected, Some(failure.clone()), running.tags);
                let timed = self.policy.auto_reconnect && !waits_for_storage(r);
                r.retry.on_failed(failure, timed, self.policy, self.now);
            }
        }
        self.effects.push(StepEffect::CompleteAttempt(attempt, failure.map_or(Ok(()), Err)));
    }

    fn on_probed(&mut self, r: &mut StoreRecord, probe: &ProbeOutcome) {
        // A result that an attempt has overtaken; or one that says nothing about the store.
        if r.running.is_some() || probe.is_internal() {
            return;
        }
        if probe.written.is_some() {
            r.agenda.write_finished(self.policy, self.now);
        }
        let decided = r.checks.on_probed(probe, self.policy, self.now.wall);
        self.record_capacity(r, probe);
        self.disconnect_if_decided(r, decided);
        if probe.first_fault().is_none() {
            self.try_recover(r);
        }
    }

    /// Starts an attempt once a fault of the storage counts as gone.
    fn try_recover(&mut self, r: &mut StoreRecord) {
        let waits = r.standing.status == Status::Disconnected && waits_for_storage(r);
        if !waits || !self.policy.auto_reconnect || !r.checks.have_recovered(self.policy) {
            return;
        }
        let mended = r.checks.saw_trouble();
        if mended {
            r.retry.reset();
        }
        if mended || r.retry.may_start(self.now) {
            self.start_attempt(r, Cause::Monitor, Tags::default());
        }
    }

    fn logged_in(&mut self, r: &mut StoreRecord, login: &LoginOutcome) {
        let ours = login
            .outcome
            .as_ref()
            .is_err_and(|fault| fault.reason().failed_check() == Check::Agent);
        if r.standing.status != Status::Connected || ours {
            return;
        }
        if login.outcome.is_ok() {
            r.agenda.login_succeeded(self.policy, self.now);
        }
        let decided = r.checks.logged_in(login, self.policy, self.now.wall);
        self.record_identity(r, login, false);
        self.disconnect_if_decided(r, decided.into_iter().collect());
    }

    /// Takes the faults that are decided: a Connected store drops, a Disconnected one says why anew.
    fn disconnect_if_decided(&mut self, r: &mut StoreRecord, decided: Vec<Fault>) {
        let Some(failure) = AttemptFailure::from_faults(decided) else { return };
        match r.standing.status {
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

    fn on_time_passed(&mut self, r: &mut StoreRecord, busy: InFlight) {
        if r.running.is_some() {
            return;
        }
        let retry = r.retry.due_at().is_some_and(|due| due <= self.now.uptime);
        if retry {
            r.retry.cancel_retry();
        }
        if retry && self.policy.auto_reconnect && r.standing.status == Status::Disconnected {
            return self.start_attempt(r, Cause::Monitor, Tags::default());
        }
        if !busy.probe && r.agenda.probe_is_due(self.now) {
            // While something is wrong every probe writes, so that only those count towards recovery.
            let well = r.standing.status == Status::Connected
                && r.checks.write.consecutive_failures() == 0;
            let write =
                self.policy.write_interval.is_some() && (!well || r.agenda.write_is_due(self.now));
            r.agenda.probe_started(!r.is_verified(), self.policy, self.now);
            self.effects.push(StepEffect::Probe { write });
        }
        let connected = r.standing.status == Status::Connected;
        if connected && !busy.login && r.agenda.login_is_due(self.now) {
            r.agenda.login_started(self.policy, self.now);
            self.effects.push(StepEffect::LogIn);
        }
    }

    fn on_stopping(&mut self, r: &mut StoreRecord) {
        r.retry.cancel_retry();
        if let Some(running) = r.running.take() {
            let told = "the daemon stopped before the checks ended";
            let fault = Fault::new(Reason::AgentStopping, told);
            self.effects.push(StepEffect::CancelAttempt(running.id));
            self.effects.push(StepEffect::CompleteAttempt(
                running.id,
                Err(AttemptFailure::from_fault(fault)),
            ));
        }
    }

    fn start_attempt(&mut self, r: &mut StoreRecord, cause: Cause, tags: Tags) {
        let attempt = RunningAttempt { id: r.standing.attempt.next_id(), cause, tags };
        r.standing.attempt = attempt.id;
        r.retry.cancel_retry();
        r.running = Some(attempt.clone());
        self.change_status(r, Status::Connecting, None, attempt.tags.clone());
        self.effects.push(StepEffect::StartAttempt(attempt));
    }

    /// Takes the new status and says so; saying nothing when it is the same is what makes every
    /// notice a change.
    fn change_status(
        &mut self,
        r: &mut StoreRecord,
        new: Status,
        failure: Option<AttemptFailure>,
        tags: Tags,
    ) {
        let old = r.standing.status;
        r.standing.failure.clone_from(&failure);
        if old == new {
            return;
        }
        let position = r.standing.position.next_position();
        r.standing.status = new;
        r.standing.position = position;
        r.standing.since = self.now.wall;
        self.effects.push(StepEffect::PublishTransition(StatusTransition {
            position,
            old,
            new,
            at: self.now.wall,
            attempt: r.standing.attempt,
            tags,
            failure,
        }));
    }

    /// Takes the figures of a probe that found the right directory, and the conditions they mean. A
    /// Disconnected store keeps its last good figures: those of a fault may be anybody's.
    fn record_capacity(&mut self, r: &mut StoreRecord, probe: &ProbeOutcome) {
        if let Some(Ok(written)) = &probe.written {
            r.written = Some(*written);
        }
        self.set_namespace(r, r.namespace.after_probe(probe));
        let (Ok(measured), None) = (&probe.examined, probe.first_fault()) else { return };
        let held = &r.standing.conditions;
        for (condition, holds) in
            conditions::condition_changes(held, measured, r.written, probe.took, self.policy)
        {
            self.set_condition(r, condition, holds);
        }
        if r.standing.status == Status::Disconnected {
            return;
        }
        if capacity_history::should_record(r, measured, self.now) {
            r.sampled = Some(self.now.uptime);
            self.record_history(r, HistoryEvent::Measured(*measured));
        }
        r.standing.capacity = Some(measured.capacity);
        r.standing.inodes = measured.inodes;
    }

    /// Records the evidence of a successful login about the host; a failed login adds none.
    /// `same_attempt` is true if the directory was examined in the same attempt.
    fn record_identity(&mut self, r: &mut StoreRecord, login: &LoginOutcome, same_attempt: bool) {
        let Ok(proof) = &login.outcome else { return };
        let unproven = matches!(proof, HostIdentity::Unavailable(_));
        self.set_condition_if_changed(r, Condition::ProofUnavailable, unproven);
        let local = r.checks.examine.fault.as_ref();
        self.set_namespace(r, r.namespace.after_login(proof, local, same_attempt));
        r.proof = Some(proof.clone());
    }

    fn set_namespace(&mut self, r: &mut StoreRecord, decision: NamespaceDecision) {
        r.namespace = decision.evidence;
        if let Some(stale) = decision.stale {
            self.set_condition_if_changed(r, Condition::StaleNamespace, stale);
        }
    }

    fn set_condition_if_changed(&mut self, r: &mut StoreRecord, condition: Condition, holds: bool) {
        if r.standing.conditions.contains_key(&condition) != holds {
            self.set_condition(r, condition, holds);
        }
    }

    fn set_condition(&mut self, r: &mut StoreRecord, condition: Condition, holds: bool) {
        match holds {
            true => r.standing.conditions.insert(condition, self.now.wall),
            false => r.standing.conditions.remove(&condition),
        };
        self.record_history(r, HistoryEvent::Turned { condition, holds });
    }

    fn record_history(&mut self, r: &StoreRecord, event: HistoryEvent) {
        self.effects.push(StepEffect::RecordHistory(r.standing.attempt, event));
    }
}

/// Keeps the reason of a Disconnected store true: the newest storage faults, beside the SSH faults of
/// the last attempt. The same reason again leaves the first evidence standing, so that an outage costs
/// one commit and not one a probe.
fn refresh_failure(r: &mut StoreRecord, newest: AttemptFailure) {
    let old = r.standing.failure.take();
    if old.as_ref().is_some_and(|old| old.root_fault().reason() == newest.root_fault().reason()) {
        r.standing.failure = old;
        return;
    }
    let ssh = old
        .iter()
        .flat_map(AttemptFailure::all_faults)
        .filter(|f| f.reason().failed_check() == Check::Ssh);
    r.standing.failure = AttemptFailure::from_faults(ssh.chain(newest.all_faults()).cloned());
}

/// Whether the store is Disconnected by a fault that probes see, so that probes and not time decide
/// when the next attempt is worth it.
fn waits_for_storage(r: &StoreRecord) -> bool {
    let seen = |f: &AttemptFailure| f.has_check(Check::Identity) || f.has_check(Check::Storage);
    r.standing.failure.as_ref().is_some_and(seen)
}
