//! The one function that changes a status.

use super::{
    Attempt, Cause, Effect, HistoryEvent, Input, Measured, Moment, Policy, Record, Transition,
};
use crate::model::{AttemptId, Check, Failure, Fault, Reason, Status, Tags};

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
    let r = &mut record;
    match input {
        Input::Started => started(r, policy, now, &mut effects),
        Input::ReconnectAsked { cause, tags } => asked(r, cause, tags, now, &mut effects),
        Input::AttemptEnded { attempt, outcome } => {
            ended(r, attempt, outcome, policy, now, &mut effects)
        }
        Input::Probed(Ok(measured)) => good_probe(r, measured, policy, now, &mut effects),
        Input::Probed(Err(fault)) => bad_probe(r, fault, policy, now, &mut effects),
        Input::RetryDue => retry_due(r, policy, now, &mut effects),
        Input::Stopping => stopping(r, &mut effects),
    }
    (record, effects)
}

fn started(r: &mut Record, policy: &Policy, now: Moment, effects: &mut Vec<Effect>) {
    match r.standing.status {
        Status::Connecting => {
            effects.push(Effect::Noted(r.standing.attempt, HistoryEvent::InterruptedByRestart));
            begin(r, Cause::Restart, Tags::default(), now, effects);
        }
        Status::Disconnected if policy.auto_reconnect && !waits_for_storage(r) => {
            r.retry.arm(policy, now);
        }
        Status::Disconnected | Status::Connected => {}
    }
}

fn asked(r: &mut Record, cause: Cause, tags: Tags, now: Moment, effects: &mut Vec<Effect>) {
    if cause == Cause::Person {
        r.retry.reset();
    }
    match &r.running {
        Some(running) => effects.push(Effect::Noted(running.id, HistoryEvent::Joined { tags })),
        None => begin(r, cause, tags, now, effects),
    }
}

fn ended(
    r: &mut Record,
    attempt: AttemptId,
    outcome: Result<Measured, Failure>,
    policy: &Policy,
    now: Moment,
    effects: &mut Vec<Effect>,
) {
    let Some(running) = r.running.take_if(|running| running.id == attempt) else { return };
    r.verified = true;
    r.watch.reset();
    let result = match outcome {
        Ok(measured) => {
            measure(r, measured);
            r.retry.reset();
            change(r, Status::Connected, None, running.tags, now, effects);
            Ok(())
        }
        Err(failure) => {
            change(r, Status::Disconnected, Some(failure.clone()), running.tags, now, effects);
            let timed = policy.auto_reconnect && !waits_for_storage(r);
            r.retry.failed(&failure, timed, policy, now);
            Err(failure)
        }
    };
    effects.push(Effect::Settled(attempt, result));
}

fn good_probe(
    r: &mut Record,
    measured: Measured,
    policy: &Policy,
    now: Moment,
    effects: &mut Vec<Effect>,
) {
    if r.running.is_some() {
        return;
    }
    r.verified = true;
    let recovered = r.watch.succeeds(policy);
    match r.standing.status {
        Status::Connected => measure(r, measured),
        Status::Disconnected if policy.auto_reconnect && recovered && waits_for_storage(r) => {
            let mended = r.watch.saw_trouble();
            if mended {
                r.retry.reset();
            }
            if mended || r.retry.may_start(now) {
                begin(r, Cause::Monitor, Tags::default(), now, effects);
            }
        }
        Status::Disconnected | Status::Connecting => {}
    }
}

fn bad_probe(
    r: &mut Record,
    fault: Fault,
    policy: &Policy,
    now: Moment,
    effects: &mut Vec<Effect>,
) {
    if r.running.is_some() {
        return;
    }
    r.verified = true;
    if !r.watch.fails(&fault, policy) {
        return;
    }
    match r.standing.status {
        Status::Connected => {
            change(
                r,
                Status::Disconnected,
                Some(Failure::of(fault)),
                Tags::default(),
                now,
                effects,
            );
        }
        Status::Disconnected => explain(r, fault),
        Status::Connecting => {}
    }
    if waits_for_storage(r) {
        r.retry.disarm();
    } else if policy.auto_reconnect && r.retry.due().is_none() {
        r.retry.arm(policy, now);
    }
}

fn retry_due(r: &mut Record, policy: &Policy, now: Moment, effects: &mut Vec<Effect>) {
    r.retry.disarm();
    if policy.auto_reconnect && r.standing.status == Status::Disconnected && r.running.is_none() {
        begin(r, Cause::Monitor, Tags::default(), now, effects);
    }
}

fn stopping(r: &mut Record, effects: &mut Vec<Effect>) {
    r.retry.disarm();
    if let Some(running) = r.running.take() {
        let fault = Fault::new(Reason::AgentStopping, "the daemon stopped before the checks ended");
        effects.push(Effect::Abandoned(running.id));
        effects.push(Effect::Settled(running.id, Err(Failure::of(fault))));
    }
}

fn begin(r: &mut Record, cause: Cause, tags: Tags, now: Moment, effects: &mut Vec<Effect>) {
    let attempt = Attempt { id: r.standing.attempt.next(), cause, tags };
    r.standing.attempt = attempt.id;
    r.retry.disarm();
    r.running = Some(attempt.clone());
    change(r, Status::Connecting, None, attempt.tags.clone(), now, effects);
    effects.push(Effect::Begun(attempt));
}

/// Takes the new status and says so; saying nothing when it is the same is what makes every notice a
/// change.
fn change(
    r: &mut Record,
    new: Status,
    failure: Option<Failure>,
    tags: Tags,
    now: Moment,
    effects: &mut Vec<Effect>,
) {
    let old = r.standing.status;
    r.standing.failure.clone_from(&failure);
    if old == new {
        return;
    }
    let position = r.standing.position.next();
    r.standing.status = new;
    r.standing.position = position;
    r.standing.since = now.wall;
    let attempt = r.standing.attempt;
    effects.push(Effect::Changed(Transition {
        position,
        old,
        new,
        at: now.wall,
        attempt,
        tags,
        failure,
    }));
}

fn measure(r: &mut Record, measured: Measured) {
    r.standing.capacity = Some(measured.capacity);
    r.standing.inodes = measured.inodes;
}

/// Keeps the reason of a Disconnected store true: the newest storage fault, beside the SSH faults of
/// the last attempt. The same reason again leaves the first evidence standing, so that an outage costs
/// one commit and not one a probe.
fn explain(r: &mut Record, fault: Fault) {
    let old = r.standing.failure.take();
    if old.as_ref().is_some_and(|old| old.root().reason() == fault.reason()) {
        r.standing.failure = old;
        return;
    }
    let ssh = old.iter().flat_map(Failure::faults).filter(|f| f.reason().check() == Check::Ssh);
    r.standing.failure = Failure::from_faults(ssh.cloned().chain([fault]));
}

/// Whether the store is Disconnected by a fault that probes see, so that probes and not time decide
/// when the next attempt is worth it.
fn waits_for_storage(r: &Record) -> bool {
    let seen = |f: &Failure| f.concerns(Check::Identity) || f.concerns(Check::Storage);
    r.standing.failure.as_ref().is_some_and(seen)
}
