//! The decision about a change of the placement of a store: the administrator's switch, and the
//! zones. Pure functions.
//!
//! # Guarantees
//!
//! - A change to the present state is no change.
//! - A store is attached to a zone at most once.

use crate::agent::faults;
use crate::common::Timestamp;
use crate::ledger::LedgerChange;
use crate::lifecycle::HistoryEvent;
use crate::model::{Fault, PlacementChange, Store};

/// Maximum number of zones of one store. A cloud has a few zones, and each entry is part of every
/// inventory and event.
const MAX_ZONES: usize = 64;
/// The name of the zones in the API and in the history.
const ZONES_FIELD: &str = "attachedZoneUuids";

/// Returns the store after the change, the change for the ledger, and its history event. Returns
/// `None` if the store has the requested state already.
///
/// # Errors
/// `zone_attached`, `zone_not_attached` or `too_many_zones`.
pub(super) fn plan_placement(
    store: &Store,
    change: PlacementChange,
    at: Timestamp,
) -> Result<Option<(Store, LedgerChange, HistoryEvent)>, Fault> {
    let mut after = Store { changed: at, ..store.clone() };
    let field = match change {
        PlacementChange::State(state) if state == store.state => return Ok(None),
        PlacementChange::State(state) => {
            after.state = state;
            "state"
        }
        PlacementChange::AttachZone(zone) => {
            let text = zone.to_string();
            if store.zone_uuids.contains(&text) {
                return Err(faults::zone_attached(store.uuid, zone));
            }
            if store.zone_uuids.len() >= MAX_ZONES {
                return Err(faults::too_many_zones(store.uuid, MAX_ZONES));
            }
            after.zone_uuids.push(text);
            ZONES_FIELD
        }
        PlacementChange::DetachZone(zone) => {
            let text = zone.to_string();
            after.zone_uuids.retain(|attached| *attached != text);
            if after.zone_uuids.len() == store.zone_uuids.len() {
                return Err(faults::zone_not_attached(store.uuid, zone));
            }
            ZONES_FIELD
        }
    };
    let event = HistoryEvent::DefinitionUpdated { fields: vec![field.to_owned()] };
    let change = LedgerChange::new().save_store(after.clone());
    Ok(Some((after, change, event)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::agent::store::example::example_store;
    use crate::model::{Reason, State, ZoneUuid};

    fn zone(number: u128) -> ZoneUuid {
        ZoneUuid::from_u128(number)
    }

    fn planned(store: &Store, change: PlacementChange) -> Result<Option<Store>, Reason> {
        match plan_placement(store, change, Timestamp(99)) {
            Ok(planned) => Ok(planned.map(|(after, ..)| after)),
            Err(fault) => Err(fault.reason()),
        }
    }

    #[test]
    fn a_change_to_the_present_state_is_no_change() {
        let store = example_store();
        assert_eq!(planned(&store, PlacementChange::State(State::Enabled)), Ok(None));
        let disabled = planned(&store, PlacementChange::State(State::Disabled)).unwrap().unwrap();
        let expected = Store { state: State::Disabled, changed: Timestamp(99), ..store.clone() };
        assert_eq!(disabled, expected);
        assert_eq!(planned(&disabled, PlacementChange::State(State::Disabled)), Ok(None));
        let enabled = planned(&disabled, PlacementChange::State(State::Enabled)).unwrap().unwrap();
        assert_eq!(enabled, Store { changed: Timestamp(99), ..store });
    }

    #[test]
    fn the_history_names_the_field_that_changed() {
        let store = example_store();
        for (change, field) in [
            (PlacementChange::State(State::Disabled), "state"),
            (PlacementChange::AttachZone(zone(1)), "attachedZoneUuids"),
        ] {
            let (_, ledger_change, event) =
                plan_placement(&store, change, Timestamp(1)).unwrap().unwrap();
            let fields = vec![field.to_owned()];
            assert_eq!(event, HistoryEvent::DefinitionUpdated { fields });
            assert!(!ledger_change.is_empty());
        }
    }

    #[test]
    fn a_zone_beyond_the_limit_is_refused_until_another_one_is_detached() {
        let mut store = example_store();
        for number in 0..64 {
            store = planned(&store, PlacementChange::AttachZone(zone(number))).unwrap().unwrap();
        }
        let further = PlacementChange::AttachZone(zone(64));
        assert_eq!(planned(&store, further), Err(Reason::TooManyZones));
        let first = PlacementChange::AttachZone(zone(0));
        assert_eq!(planned(&store, first), Err(Reason::ZoneAttached));
        let store = planned(&store, PlacementChange::DetachZone(zone(7))).unwrap().unwrap();
        assert!(planned(&store, further).is_ok());
    }

    proptest! {
        /// The zones are those of a set, in the order in which they were attached.
        #[test]
        fn zones_behave_as_a_set(steps in prop::collection::vec((any::<bool>(), 0..5_u128), 0..40)) {
            let (mut store, mut expected) = (example_store(), Vec::new());
            for (attach, number) in steps {
                let text = zone(number).to_string();
                let has = expected.contains(&text);
                let (change, refusal) = match attach {
                    true => (PlacementChange::AttachZone(zone(number)), Reason::ZoneAttached),
                    false => (PlacementChange::DetachZone(zone(number)), Reason::ZoneNotAttached),
                };
                match planned(&store, change) {
                    Ok(after) => {
                        prop_assert_ne!(has, attach);
                        store = after.unwrap();
                    }
                    Err(reason) => {
                        prop_assert_eq!(has, attach);
                        prop_assert_eq!(reason, refusal);
                    }
                }
                expected.retain(|zone| *zone != text);
                if attach {
                    match has {
                        // The refused zone keeps its place.
                        true => expected.clone_from(&store.zone_uuids),
                        false => expected.push(text),
                    }
                }
                prop_assert_eq!(&store.zone_uuids, &expected);
            }
        }
    }
}
