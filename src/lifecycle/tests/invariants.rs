//! The invariants, under random histories.

use proptest::prelude::*;

use super::transition_table::{POLICY, at, fault, login, outcome, probe, step_prepared};
use crate::common::Timestamp;
use crate::lifecycle::*;
use crate::model::{AttemptId, Check, Epoch, Reason, Status, Tags};

#[derive(Clone, Debug)]
enum Move {
    Reconnect,
    Prepared,
    NotPrepared,
    End { back: u64, reason: Option<Reason> },
    Good { write: bool },
    Bad { reason: Reason, in_write: bool },
    LoggedIn(Option<Reason>),
    Due,
    Requested(RequestedCheck),
    Stop,
    Restart,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let all = || prop::sample::select(Reason::ALL);
    let choices = |checks: &'static [Check]| {
        all().prop_filter("of another check", |reason| checks.contains(&reason.failed_check()))
    };
    let storage = choices(&[Check::Identity, Check::Storage, Check::Agent]);
    let ssh = choices(&[Check::Ssh, Check::Agent]);
    let one = prop_oneof![
        2 => Just(Move::Reconnect),
        4 => Just(Move::Prepared),
        1 => Just(Move::NotPrepared),
        6 => (0..3u64, prop::option::of(all())).prop_map(|(back, reason)| Move::End { back, reason }),
        4 => any::<bool>().prop_map(|write| Move::Good { write }),
        4 => (storage, any::<bool>()).prop_map(|(reason, in_write)| Move::Bad { reason, in_write }),
        2 => prop::option::of(ssh).prop_map(Move::LoggedIn),
        3 => Just(Move::Due),
        2 => prop::sample::select(RequestedCheck::ALL).prop_map(Move::Requested),
        1 => Just(Move::Stop),
        1 => Just(Move::Restart),
    ];
    prop::collection::vec(one, 1..200)
}

fn input(step: &Move, r: &StoreRecord) -> StepInput {
    match step {
        Move::Reconnect => {
            StepInput::ReconnectRequested { cause: Cause::User, tags: Tags::default() }
        }
        Move::Prepared => StepInput::AttemptPrepared,
        Move::NotPrepared => StepInput::PreparationFailed(fault(Reason::AgentBusy)),
        Move::End { back, reason } => StepInput::AttemptEnded {
            attempt: AttemptId(r.durable.attempt.0.saturating_sub(*back)),
            outcome: outcome(*reason),
        },
        Move::Good { write: true } => StepInput::Probed(probe(None, None)),
        Move::Good { write: false } => {
            StepInput::Probed(ProbeOutcome { written: None, ..probe(None, None) })
        }
        Move::Bad { reason, in_write: true } => StepInput::Probed(probe(None, Some(*reason))),
        Move::Bad { reason, in_write: false } => StepInput::Probed(probe(Some(*reason), None)),
        Move::LoggedIn(reason) => StepInput::LoggedIn(login(*reason)),
        Move::Due => StepInput::Due(InFlight::default()),
        Move::Requested(check) => StepInput::CheckRequested(*check, InFlight::default()),
        Move::Stop => StepInput::Stopping,
        Move::Restart => StepInput::Started,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_invariants_hold_whatever_happens(moves in moves()) {
        let mut epoch = 1;
        let mut r = StoreRecord::new(DurableRecord::new_connecting(Epoch(epoch), Timestamp(0)));
        let mut open: Option<AttemptId> = None;
        let mut preparing = false;
        let mut stopped = true;
        for (n, m) in moves.iter().enumerate() {
            if matches!(m, Move::Restart) {
                // A start takes a new epoch and forgets what was not committed.
                epoch += 1;
                let position = crate::model::Position::start_of(Epoch(epoch));
                r = StoreRecord::new(DurableRecord { position, ..r.durable });
                open = None;
                preparing = false;
                stopped = false;
            } else if stopped {
                continue;
            }
            let before = r.clone();
            let input = input(m, &r);
            let (after, effects) = step(r, input.clone(), &POLICY, at(n as u64 * 7));

            // No status without its notice, no notice without a change; positions are used once.
            let changes: Vec<&StatusTransition> = effects
                .iter()
                .filter_map(|e| if let StepEffect::PublishTransition(t) = e { Some(t) } else { None })
                .collect();
            prop_assert_eq!(changes.len(), usize::from(before.durable.status != after.durable.status));
            for t in changes {
                prop_assert_eq!((t.old, t.new), (before.durable.status, after.durable.status));
                prop_assert_eq!(t.position, before.durable.position.next_position());
                // A store that returns to Connected names the fault of the daemon.
                let internal = t.failure.as_ref().is_some_and(|f| f.all_faults().all(|f| {
                    f.reason().failed_check() == Check::Agent
                }));
                prop_assert!(t.failure.is_some() == (t.new == Status::Disconnected) || internal);
            }
            prop_assert!(after.durable.position >= before.durable.position);

            // A result of a superseded attempt changes nothing.
            if let StepInput::AttemptEnded { attempt, .. } = &input
                && open != Some(*attempt)
            {
                prop_assert_eq!(&after, &before);
                prop_assert!(effects.is_empty());
            }

            // A fault of the daemon leaves the status as it is, and a failed preparation everything
            // that is durable.
            if let StepInput::PreparationFailed(_) = &input
                && before.durable.status != Status::Connecting
            {
                prop_assert_eq!(&after.durable, &before.durable);
            }
            if before.durable.status == Status::Connecting
                && let StepInput::AttemptEnded { outcome: Err(fault), .. } = &input
                && fault.reason().failed_check() == Check::Agent
                && let Some(previous) = &before.durable.previous
                && open.is_some()
                && after.running.is_none()
            {
                prop_assert_eq!(after.durable.status, previous.status);
                prop_assert_eq!(&after.durable.failure, &previous.failure);
            }
            prop_assert!(after.durable.previous.is_none() || after.durable.status == Status::Connecting);

            // Each attempt that was started is completed once, and only while it is open.
            for effect in &effects {
                match effect {
                    StepEffect::PrepareAttempt => {
                        prop_assert!(open.is_none() && !preparing);
                        preparing = true;
                    }
                    StepEffect::RejectRequests(_) => {
                        prop_assert!(preparing);
                        preparing = false;
                    }
                    StepEffect::StartAttempt(attempt) => {
                        prop_assert!(open.is_none() && preparing);
                        preparing = false;
                        prop_assert!(attempt.id > before.durable.attempt);
                        open = Some(attempt.id);
                    }
                    StepEffect::CompleteAttempt(id, _) => prop_assert_eq!(open.take(), Some(*id)),
                    StepEffect::CancelAttempt(id) => prop_assert_eq!(open, Some(*id)),
                    StepEffect::Probe { .. } | StepEffect::LogIn { .. } => prop_assert!(open.is_none()),
                    StepEffect::PublishTransition(_)
                    | StepEffect::RecordHistory(..)
                    | StepEffect::RecordCapacity(_) => {}
                }
            }
            prop_assert_eq!(after.running.as_ref().map(|a| a.id), open);
            if matches!(input, StepInput::Stopping) {
                stopped = true;
                prop_assert_eq!(after.durable.status, before.durable.status);
            } else {
                // A store is Connecting while an attempt is running, and after a start also while
                // one is being prepared.
                prop_assert_eq!(after.preparing.is_some(), preparing);
                let connecting = after.durable.status == Status::Connecting;
                prop_assert!(connecting || open.is_none());
                prop_assert!(!connecting || open.is_some() || preparing);
            }

            // Good figures are never lost, and a Disconnected store always says why.
            prop_assert!(before.durable.capacity.is_none() || after.durable.capacity.is_some());
            let disconnected = after.durable.status == Status::Disconnected;
            prop_assert_eq!(after.durable.failure.is_some(), disconnected);
            r = after;
        }
    }

    #[test]
    fn a_healthy_store_ends_connected(moves in moves()) {
        let mut r = StoreRecord::new(DurableRecord::new_connecting(Epoch(1), Timestamp(0)));
        (r, _) = step_prepared(r, StepInput::Started, &POLICY, at(0));
        for (n, m) in moves.iter().enumerate() {
            if matches!(m, Move::Stop | Move::Restart) {
                continue;
            }
            let input = input(m, &r);
            (r, _) = step_prepared(r, input, &POLICY, at(n as u64));
        }
        // From now on every probe is good and every attempt succeeds.
        for n in 0..200 {
            let now = at(10_000 + n * 10);
            if let Some(running) = &r.running {
                let end = StepInput::AttemptEnded { attempt: running.id, outcome: outcome(None) };
                (r, _) = step_prepared(r, end, &POLICY, now);
            }
            let effects;
            (r, effects) = step_prepared(r, StepInput::Due(InFlight::default()), &POLICY, now);
            if effects.iter().any(|effect| matches!(effect, StepEffect::Probe { .. })) {
                (r, _) = step_prepared(r, StepInput::Probed(probe(None, None)), &POLICY, now);
            }
        }
        prop_assert_eq!(r.durable.status, Status::Connected);
    }
}
