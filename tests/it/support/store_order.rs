//! The order of calls by two clients on one store: a sequential model of the store, and a search
//! for an order in which the model gives every answer that was given.

use std::collections::BTreeSet;

use tokio::time::Instant;

/// The store as its inventory shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SeenStore {
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) zones: Vec<String>,
}

/// A call.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Add(String),
    Read,
    Reconnect,
    Rename(String),
    /// Enables or disables the store.
    Switch(&'static str),
    Attach(String),
    Detach(String),
    Remove,
}

/// The reason why a call changes nothing in the present state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The store is there already, or is being added.
    Exists,
    /// There is no store.
    Gone,
    Attached,
    NotAttached,
}

/// The answer to a call.
#[derive(Clone, Debug)]
pub(crate) enum CallAnswer {
    /// The call succeeded, with this store after it.
    Done(Option<SeenStore>),
    Refused(Refusal),
    /// The call had no effect, whatever the state was.
    NoEffect,
    /// The call may have had its effect.
    Lost,
}

/// A call, its answer, and the time between which it took effect.
#[derive(Clone, Debug)]
pub(crate) struct CallRecord {
    pub(crate) call: Call,
    pub(crate) answer: CallAnswer,
    pub(crate) begin: Instant,
    pub(crate) end: Instant,
}

/// The store, or `None` if there is none.
pub(crate) type StoreState = Option<SeenStore>;

impl Call {
    /// Returns the state after the call, if nothing else happens.
    fn apply(&self, state: &StoreState) -> Result<StoreState, Refusal> {
        let mut store = match (self, state) {
            (Self::Remove, _) => return Ok(None),
            (Self::Read, _) => return Ok(state.clone()),
            (Self::Add(_), Some(_)) => return Err(Refusal::Exists),
            (Self::Add(name), None) => {
                SeenStore { name: name.clone(), state: "Enabled".to_owned(), zones: Vec::new() }
            }
            (_, None) => return Err(Refusal::Gone),
            (_, Some(store)) => store.clone(),
        };
        match self {
            Self::Rename(name) => store.name.clone_from(name),
            Self::Switch(state) => store.state = (*state).to_owned(),
            Self::Attach(zone) if store.zones.contains(zone) => return Err(Refusal::Attached),
            Self::Attach(zone) => store.zones.push(zone.clone()),
            Self::Detach(zone) if !store.zones.contains(zone) => {
                return Err(Refusal::NotAttached);
            }
            Self::Detach(zone) => store.zones.retain(|attached| attached != zone),
            Self::Add(_) | Self::Read | Self::Reconnect | Self::Remove => {}
        }
        Ok(Some(store))
    }
}

impl CallRecord {
    /// Returns the states that are possible after the call. There is none if the call does not get
    /// its answer in this state.
    fn states_after(&self, state: &StoreState, is_beside_add: bool) -> Vec<StoreState> {
        let applied = self.call.apply(state);
        match &self.answer {
            CallAnswer::Done(seen) => applied.into_iter().filter(|after| after == seen).collect(),
            // An add that runs excludes others, and may fail.
            CallAnswer::Refused(Refusal::Exists) if is_beside_add => vec![state.clone()],
            CallAnswer::Refused(refusal) if applied == Err(*refusal) => vec![state.clone()],
            CallAnswer::Refused(_) => Vec::new(),
            CallAnswer::NoEffect => vec![state.clone()],
            CallAnswer::Lost => applied.into_iter().chain([state.clone()]).collect(),
        }
    }

    fn is_beside_add(&self, others: &[Self]) -> bool {
        let overlaps = |other: &&Self| self.begin <= other.end && other.begin <= self.end;
        let mut adds = others.iter().filter(|other| matches!(other.call, Call::Add(_)));
        adds.any(|other| overlaps(&other))
    }
}

/// Searches for an order of the calls of two clients, each of which makes one call at a time. A
/// call that ended before another began comes before it. `before` are the possible states before
/// all calls. Returns the possible states after them.
///
/// # Errors
/// The calls that no order explains, with the states before them.
pub(crate) fn check_order(
    before: &BTreeSet<StoreState>,
    clients: &[Vec<CallRecord>; 2],
) -> Result<BTreeSet<StoreState>, String> {
    let beside_adds = [0, 1].map(|client| {
        let others = &clients[1 - client];
        clients[client].iter().map(|record| record.is_beside_add(others)).collect::<Vec<_>>()
    });
    // The points that are reached: the number of calls of each client that took effect, and the
    // state after them. All those with the same number of calls are searched before the next.
    let mut reached: BTreeSet<([usize; 2], StoreState)> =
        before.iter().map(|state| ([0, 0], state.clone())).collect();
    let total = clients[0].len() + clients[1].len();
    for _ in 0..total {
        let mut next = BTreeSet::new();
        for (done, state) in &reached {
            for client in 0..2 {
                let Some(record) = clients[client].get(done[client]) else { continue };
                let other = clients[1 - client].get(done[1 - client]);
                if other.is_some_and(|other| other.end < record.begin) {
                    continue;
                }
                let mut done_after = *done;
                done_after[client] += 1;
                let is_beside_add = beside_adds[client][done[client]];
                let states = record.states_after(state, is_beside_add);
                next.extend(states.into_iter().map(|state| (done_after, state)));
            }
        }
        if next.is_empty() {
            let stuck = reached.iter().map(|(done, state)| {
                let waiting = [0, 1].map(|client| clients[client].get(done[client]));
                format!("{state:?}\n  then {waiting:?}\n")
            });
            return Err(stuck.collect());
        }
        reached = next;
    }
    Ok(reached.into_iter().map(|(_, state)| state).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn store(name: &str, zones: &[&str]) -> CallAnswer {
        CallAnswer::Done(Some(SeenStore {
            name: name.to_owned(),
            state: "Enabled".to_owned(),
            zones: zones.iter().map(|zone| (*zone).to_owned()).collect(),
        }))
    }

    /// Makes records of calls with these times of begin and end.
    fn records(calls: &[(u64, u64, Call, CallAnswer)]) -> Vec<CallRecord> {
        let start = Instant::now();
        let at = |n: u64| start + Duration::from_secs(n);
        let record = |(begin, end, call, answer): &(u64, u64, Call, CallAnswer)| CallRecord {
            call: call.clone(),
            answer: answer.clone(),
            begin: at(*begin),
            end: at(*end),
        };
        calls.iter().map(record).collect()
    }

    fn has_order(
        one: &[(u64, u64, Call, CallAnswer)],
        two: &[(u64, u64, Call, CallAnswer)],
    ) -> bool {
        // Both share one start.
        let (count, all) = (one.len(), records(&[one, two].concat()));
        let (one, two) = all.split_at(count);
        check_order(&[None].into(), &[one.to_vec(), two.to_vec()]).is_ok()
    }

    #[test]
    fn only_answers_with_an_order_are_accepted() {
        let add = || (0, 1, Call::Add("a".into()), store("a", &[]));
        let attach = |begin, end, zone: &str, zones: &[&str]| {
            (begin, end, Call::Attach(zone.into()), store("a", zones))
        };
        let read = |begin, end, answer| (begin, end, Call::Read, answer);
        // Calls that overlap have any order, and the others that of their times.
        let both = [add(), attach(2, 9, "x", &["y", "x"])];
        assert!(has_order(&both, &[attach(3, 4, "y", &["y"])]));
        assert!(!has_order(&both, &[attach(3, 4, "y", &["x", "y"])]), "an update was lost");
        assert!(!has_order(&both, &[attach(10, 11, "y", &["y"])]), "it comes later");
        // A read after the answer sees the change.
        let attached = [add(), attach(2, 3, "x", &["x"])];
        assert!(has_order(&attached, &[read(4, 5, store("a", &["x"]))]));
        assert!(
            !has_order(&attached, &[read(4, 5, store("a", &[]))]),
            "an answered change is lost"
        );
        assert!(!has_order(&attached, &[read(4, 5, CallAnswer::Done(None))]));
        // A lost call has happened or not, but not later than its end.
        let lost = [add(), (2, 3, Call::Remove, CallAnswer::Lost)];
        for (seen, then, expected) in [
            (CallAnswer::Done(None), CallAnswer::Done(None), true),
            (store("a", &[]), store("a", &[]), true),
            (store("a", &[]), CallAnswer::Done(None), false),
        ] {
            assert_eq!(has_order(&lost, &[read(4, 5, seen), read(6, 7, then)]), expected);
        }
        let none = [add(), (2, 3, Call::Remove, CallAnswer::NoEffect)];
        assert!(!has_order(&none, &[read(4, 5, CallAnswer::Done(None))]));
    }

    #[test]
    fn a_refusal_needs_its_state() {
        let add = |begin, end, answer| (begin, end, Call::Add("a".into()), answer);
        let refused = CallAnswer::Refused;
        let first = add(0, 1, store("a", &[]));
        for (call, refusal, expected) in [
            (Call::Detach("x".into()), Refusal::NotAttached, true),
            (Call::Attach("x".into()), Refusal::Attached, false),
            (Call::Reconnect, Refusal::Gone, false),
            (Call::Add("b".into()), Refusal::Exists, true),
        ] {
            let calls = [first.clone(), (2, 3, call, refused(refusal))];
            assert_eq!(has_order(&calls, &[]), expected, "{calls:?}");
        }
        assert!(has_order(&[(0, 1, Call::Reconnect, refused(Refusal::Gone))], &[]));
        // An add beside one that fails is refused, and one beside none is not.
        let failed = add(0, 2, CallAnswer::NoEffect);
        let exists = |begin| add(begin, 4, refused(Refusal::Exists));
        assert!(has_order(std::slice::from_ref(&failed), &[exists(1)]));
        assert!(!has_order(&[failed], &[exists(3)]));
    }
}
