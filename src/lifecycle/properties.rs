//! The invariants, under random histories.

use proptest::prelude::*;

use super::table::{POLICY, at, fault, measured};
use super::*;
use crate::model::{AttemptId, Epoch, Failure, Reason, Status, Tags, Timestamp};

#[derive(Clone, Debug)]
enum Move {
    Ask,
    End { back: u64, ok: bool, reason: Reason },
    Good,
    Bad(Reason),
    Retry,
    Stop,
    Restart,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let reason = || prop::sample::select(Reason::ALL);
    let one = prop_oneof![
        2 => Just(Move::Ask),
        6 => (0..3u64, any::<bool>(), reason()).prop_map(|(back, ok, reason)| Move::End { back, ok, reason }),
        4 => Just(Move::Good),
        4 => reason().prop_map(Move::Bad),
        2 => Just(Move::Retry),
        1 => Just(Move::Stop),
        1 => Just(Move::Restart),
    ];
    prop::collection::vec(one, 1..200)
}

fn input(step: &Move, r: &Record) -> Input {
    match step {
        Move::Ask => Input::ReconnectAsked { cause: Cause::Person, tags: Tags::default() },
        Move::End { back, ok, reason } => Input::AttemptEnded {
            attempt: AttemptId(r.standing.attempt.0.saturating_sub(*back)),
            outcome: if *ok { Ok(measured()) } else { Err(Failure::of(fault(*reason))) },
        },
        Move::Good => Input::Probed(Ok(measured())),
        Move::Bad(reason) => Input::Probed(Err(fault(*reason))),
        Move::Retry => Input::RetryDue,
        Move::Stop => Input::Stopping,
        Move::Restart => Input::Started,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_invariants_hold_whatever_happens(moves in moves()) {
        let mut epoch = 1;
        let mut r = Record::new(Standing::connecting(Epoch(epoch), Timestamp(0)));
        let mut open: Option<AttemptId> = None;
        let mut stopped = true;
        for (n, m) in moves.iter().enumerate() {
            if matches!(m, Move::Restart) {
                // A start takes a new epoch and forgets what was not committed.
                epoch += 1;
                let position = crate::model::Position::start_of(Epoch(epoch));
                r = Record::new(Standing { position, ..r.standing });
                open = None;
                stopped = false;
            } else if stopped {
                continue;
            }
            let before = r.clone();
            let input = input(m, &r);
            let (after, effects) = step(r, input.clone(), &POLICY, at(n as u64 * 7));

            // No status without its notice, no notice without a change; positions are used once.
            let changes: Vec<&Transition> = effects
                .iter()
                .filter_map(|e| if let Effect::Changed(t) = e { Some(t) } else { None })
                .collect();
            prop_assert_eq!(changes.len(), usize::from(before.standing.status != after.standing.status));
            for t in changes {
                prop_assert_eq!((t.old, t.new), (before.standing.status, after.standing.status));
                prop_assert_eq!(t.position, before.standing.position.next());
                prop_assert_eq!(t.failure.is_some(), t.new == Status::Disconnected);
            }
            prop_assert!(after.standing.position >= before.standing.position);

            // A result of a superseded attempt changes nothing.
            if let Input::AttemptEnded { attempt, .. } = &input
                && open != Some(*attempt)
            {
                prop_assert_eq!(&after, &before);
                prop_assert!(effects.is_empty());
            }

            // Each attempt that began is settled once, and only while it is open.
            for effect in &effects {
                match effect {
                    Effect::Begun(attempt) => {
                        prop_assert!(open.is_none());
                        prop_assert!(attempt.id > before.standing.attempt);
                        open = Some(attempt.id);
                    }
                    Effect::Settled(id, _) => prop_assert_eq!(open.take(), Some(*id)),
                    Effect::Abandoned(id) => prop_assert_eq!(open, Some(*id)),
                    Effect::Changed(_) | Effect::Noted(..) => {}
                }
            }
            prop_assert_eq!(after.running.as_ref().map(|a| a.id), open);
            if matches!(input, Input::Stopping) {
                stopped = true;
                prop_assert_eq!(after.standing.status, before.standing.status);
            } else {
                // Connecting means that an attempt is running, and the other way round.
                prop_assert_eq!(after.standing.status == Status::Connecting, open.is_some());
            }

            // Good figures are never lost, and a Disconnected store always says why.
            prop_assert!(before.standing.capacity.is_none() || after.standing.capacity.is_some());
            let disconnected = after.standing.status == Status::Disconnected;
            prop_assert_eq!(after.standing.failure.is_some(), disconnected);
            r = after;
        }
    }

    #[test]
    fn a_store_that_is_well_ends_connected(moves in moves()) {
        let mut r = Record::new(Standing::connecting(Epoch(1), Timestamp(0)));
        (r, _) = step(r, Input::Started, &POLICY, at(0));
        for (n, m) in moves.iter().enumerate() {
            if matches!(m, Move::Stop | Move::Restart) {
                continue;
            }
            let input = input(m, &r);
            (r, _) = step(r, input, &POLICY, at(n as u64));
        }
        // From now on every probe is good and every attempt succeeds.
        for n in 0..200 {
            let now = at(10_000 + n * 10);
            let input = match (&r.running, r.retry_at()) {
                (Some(running), _) => Input::AttemptEnded { attempt: running.id, outcome: Ok(measured()) },
                (None, Some(due)) if due <= now.uptime => Input::RetryDue,
                (None, _) => Input::Probed(Ok(measured())),
            };
            (r, _) = step(r, input, &POLICY, now);
        }
        prop_assert_eq!(r.standing.status, Status::Connected);
    }
}
