//! The one function that changes a status.

use super::schedule::Agenda;
use super::{
    Attempt, Cause, Effect, HistoryEvent, InFlight, Input, LastAttempt, Login, Moment, Outcome,
    Policy, Probe, Record, Transition, capacity_history, conditions, stale_namespace,
};
use crate::model::{AttemptId, Check, Condition, Failure, Fault, Proof, Reason, Status, Tags};

/// What the record becomes, and what is to be done about it.
///
/// The caller commits the returned standing together with the effects that belong to it, and only
/// then adopts the record and lets the other effects out; if the commit fails it keeps the old record
/// and may repeat the step.
pub fn step(
    mut record: Record,
    input: Input,
    policy: &Policy,
    now: Moment,
) -> (Record, Vec<Effect>) {
    let mut effects = Vec::new();
    let mut turn = Turn { policy, now, effects: &mut effects };
    let r = &mut record;
    match input {
        Input::Started => turn.started(r),
        Input::ReconnectAsked { cause, tags } => turn.asked(r, cause, tags),
        Input::AttemptEnded { attempt, outcome } => turn.ended(r, attempt, outcome),
        Input::Probed(probe) => turn.probed(r, &probe),
        Input::LoggedIn(login) => turn.logged_in(r, &login),
        Input::Due(busy) => turn.due(r, busy),
        Input::Stopping => turn.stopping(r),
    }
    (record, effects)
}

/// One step: its rules, its moment, and what comes of it.
struct Turn<'a> {
    policy: &'a Policy,
    now: Moment,
    effects: &'a mut Vec<Effect>,
}

impl Turn<'_> {
    fn started(&mut self, r: &mut Record) {
        // The namespace was that of the daemon before.
        self.turn_if_new(r, Condition::StaleNamespace, false);
        if r.running.is_some() {
            // Repeated because it could not be committed at first, and somebody asked meanwhile.
            return;
        }
        // A store that has just been added was looked at by its first attempt.
        if !r.is_verified() {
            r.agenda = Agenda::start(self.policy, self.now);
        }
        match r.standing.status {
            Status::Connecting => {
                self.note(r, HistoryEvent::InterruptedByRestart);
                self.begin(r, Cause::Restart, Tags::default());
            }
            Status::Disconnected if self.policy.auto_reconnect && !waits_for_storage(r) => {
                r.retry.arm(self.policy, self.now);
            }
            Status::Disconnected | Status::Connected => {}
        }
    }

    fn asked(&mut self, r: &mut Record, cause: Cause, tags: Tags) {
        if cause == Cause::Person {
            r.retry.reset();
        }
        match &r.running {
            // Who joins without tags leaves nothing that the attempt does not tell already.
            Some(_) if tags.is_empty() => {}
            Some(running) => {
                self.effects.push(Effect::RecordHistory(running.id, HistoryEvent::Joined { tags }));
            }
            None => self.begin(r, cause, tags),
        }
    }

    fn ended(&mut self, r: &mut Record, attempt: AttemptId, outcome: Result<Outcome, Fault>) {
        let Some(running) = r.running.take_if(|running| running.id == attempt) else { return };
        r.agenda.attempted(self.policy, self.now);
        let failure = match &outcome {
            Ok(outcome) => {
                r.checks.attempted(&outcome.probe, &outcome.login, self.now.wall);
                self.measure(r, &outcome.probe);
                self.prove(r, &outcome.login, true);
                outcome.failure()
            }
            Err(fault) => Some(Failure::of(fault.clone())),
        };
        r.last_attempt =
            Some(LastAttempt { id: running.id, cause: running.cause, at: self.now.wall, outcome });
        match &failure {
            None => {
                r.retry.reset();
                self.change(r, Status::Connected, None, running.tags);
            }
            Some(failure) => {
                self.change(r, Status::Disconnected, Some(failure.clone()), running.tags);
                let timed = self.policy.auto_reconnect && !waits_for_storage(r);
                r.retry.failed(failure, timed, self.policy, self.now);
            }
        }
        self.effects.push(Effect::CompleteAttempt(attempt, failure.map_or(Ok(()), Err)));
    }

    fn probed(&mut self, r: &mut Record, probe: &Probe) {
        // A result that an attempt has overtaken; or one that says nothing about the store.
        if r.running.is_some() || probe.is_ours() {
            return;
        }
        if probe.written.is_some() {
            r.agenda.wrote(self.policy, self.now);
        }
        let decided = r.checks.probed(probe, self.policy, self.now.wall);
        self.measure(r, probe);
        self.fail(r, decided);
        if probe.fault().is_none() {
            self.recover(r);
        }
    }

    /// Starts an attempt once a fault of the storage counts as gone.
    fn recover(&mut self, r: &mut Record) {
        let waits = r.standing.status == Status::Disconnected && waits_for_storage(r);
        if !waits || !self.policy.auto_reconnect || !r.checks.have_recovered(self.policy) {
            return;
        }
        let mended = r.checks.saw_trouble();
        if mended {
            r.retry.reset();
        }
        if mended || r.retry.may_start(self.now) {
            self.begin(r, Cause::Monitor, Tags::default());
        }
    }

    fn logged_in(&mut self, r: &mut Record, login: &Login) {
        let ours =
            login.outcome.as_ref().is_err_and(|fault| fault.reason().check() == Check::Agent);
        if r.standing.status != Status::Connected || ours {
            return;
        }
        if login.outcome.is_ok() {
            r.agenda.logged_in(self.policy, self.now);
        }
        let decided = r.checks.logged_in(login, self.policy, self.now.wall);
        self.prove(r, login, false);
        self.fail(r, decided.into_iter().collect());
    }

    /// Takes the faults that are decided: a Connected store drops, a Disconnected one says why anew.
    fn fail(&mut self, r: &mut Record, decided: Vec<Fault>) {
        let Some(failure) = Failure::from_faults(decided) else { return };
        match r.standing.status {
            Status::Connected => {
                self.change(r, Status::Disconnected, Some(failure), Tags::default());
            }
            Status::Disconnected => explain(r, failure),
            Status::Connecting => {}
        }
        if waits_for_storage(r) {
            r.retry.disarm();
        } else if self.policy.auto_reconnect && r.retry.due().is_none() {
            r.retry.arm(self.policy, self.now);
        }
    }

    fn due(&mut self, r: &mut Record, busy: InFlight) {
        if r.running.is_some() {
            return;
        }
        let retry = r.retry.due().is_some_and(|due| due <= self.now.uptime);
        if retry {
            r.retry.disarm();
        }
        if retry && self.policy.auto_reconnect && r.standing.status == Status::Disconnected {
            return self.begin(r, Cause::Monitor, Tags::default());
        }
        if !busy.probe && r.agenda.probe_is_due(self.now) {
            // While something is wrong every probe writes, so that only those count towards recovery.
            let well = r.standing.status == Status::Connected && r.checks.write.failures() == 0;
            let write =
                self.policy.write_interval.is_some() && (!well || r.agenda.write_is_due(self.now));
            r.agenda.probing(!r.is_verified(), self.policy, self.now);
            self.effects.push(Effect::Probe { write });
        }
        let connected = r.standing.status == Status::Connected;
        if connected && !busy.login && r.agenda.login_is_due(self.now) {
            r.agenda.logging_in(self.policy, self.now);
            self.effects.push(Effect::LogIn);
        }
    }

    fn stopping(&mut self, r: &mut Record) {
        r.retry.disarm();
        if let Some(running) = r.running.take() {
            let told = "the daemon stopped before the checks ended";
            let fault = Fault::new(Reason::AgentStopping, told);
            self.effects.push(Effect::CancelAttempt(running.id));
            self.effects.push(Effect::CompleteAttempt(running.id, Err(Failure::of(fault))));
        }
    }

    fn begin(&mut self, r: &mut Record, cause: Cause, tags: Tags) {
        let attempt = Attempt { id: r.standing.attempt.next(), cause, tags };
        r.standing.attempt = attempt.id;
        r.retry.disarm();
        r.running = Some(attempt.clone());
        self.change(r, Status::Connecting, None, attempt.tags.clone());
        self.effects.push(Effect::StartAttempt(attempt));
    }

    /// Takes the new status and says so; saying nothing when it is the same is what makes every
    /// notice a change.
    fn change(&mut self, r: &mut Record, new: Status, failure: Option<Failure>, tags: Tags) {
        let old = r.standing.status;
        r.standing.failure.clone_from(&failure);
        if old == new {
            return;
        }
        let position = r.standing.position.next();
        r.standing.status = new;
        r.standing.position = position;
        r.standing.since = self.now.wall;
        self.effects.push(Effect::PublishTransition(Transition {
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
    fn measure(&mut self, r: &mut Record, probe: &Probe) {
        if let Some(Ok(written)) = &probe.written {
            r.written = Some(*written);
        }
        if let Some(stale) = stale_namespace::is_decided(r, probe) {
            self.turn_if_new(r, Condition::StaleNamespace, stale);
        }
        let (Ok(measured), None) = (&probe.examined, probe.fault()) else { return };
        let held = &r.standing.conditions;
        for (condition, holds) in
            conditions::turned(held, measured, r.written, probe.took, self.policy)
        {
            self.turn(r, condition, holds);
        }
        if r.standing.status == Status::Disconnected {
            return;
        }
        if capacity_history::is_due(r, measured, self.now) {
            r.sampled = Some(self.now.uptime);
            self.note(r, HistoryEvent::Measured(*measured));
        }
        r.standing.capacity = Some(measured.capacity);
        r.standing.inodes = measured.inodes;
    }

    /// Takes what a good login has shown of the host; one that failed has shown nothing new. `fresh` tells that
    /// the directory was looked at beside it.
    fn prove(&mut self, r: &mut Record, login: &Login, fresh: bool) {
        let Ok(proof) = &login.outcome else { return };
        let unproven = matches!(proof, Proof::Unavailable(_));
        self.turn_if_new(r, Condition::ProofUnavailable, unproven);
        if let Some(stale) = stale_namespace::is_stale(r, proof, fresh) {
            self.turn_if_new(r, Condition::StaleNamespace, stale);
        }
        r.proof = Some(proof.clone());
    }

    fn turn_if_new(&mut self, r: &mut Record, condition: Condition, holds: bool) {
        if r.standing.conditions.contains_key(&condition) != holds {
            self.turn(r, condition, holds);
        }
    }

    fn turn(&mut self, r: &mut Record, condition: Condition, holds: bool) {
        match holds {
            true => r.standing.conditions.insert(condition, self.now.wall),
            false => r.standing.conditions.remove(&condition),
        };
        self.note(r, HistoryEvent::Turned { condition, holds });
    }

    fn note(&mut self, r: &Record, event: HistoryEvent) {
        self.effects.push(Effect::RecordHistory(r.standing.attempt, event));
    }
}

/// Keeps the reason of a Disconnected store true: the newest storage faults, beside the SSH faults of
/// the last attempt. The same reason again leaves the first evidence standing, so that an outage costs
/// one commit and not one a probe.
fn explain(r: &mut Record, newest: Failure) {
    let old = r.standing.failure.take();
    if old.as_ref().is_some_and(|old| old.root().reason() == newest.root().reason()) {
        r.standing.failure = old;
        return;
    }
    let ssh = old.iter().flat_map(Failure::faults).filter(|f| f.reason().check() == Check::Ssh);
    r.standing.failure = Failure::from_faults(ssh.chain(newest.faults()).cloned());
}

/// Whether the store is Disconnected by a fault that probes see, so that probes and not time decide
/// when the next attempt is worth it.
fn waits_for_storage(r: &Record) -> bool {
    let seen = |f: &Failure| f.concerns(Check::Identity) || f.concerns(Check::Storage);
    r.standing.failure.as_ref().is_some_and(seen)
}
