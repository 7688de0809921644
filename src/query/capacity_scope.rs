//! The stores whose capacity a request asks for.

use std::collections::BTreeSet;

use super::InvalidParameter;
use super::record_query::parse_flag;
use crate::model::{Inventory, StoreUuid};

const STORES: &str = "backupStorageUuids";
const ZONES: &str = "zoneUuids";
const ALL: &str = "all";

/// The stores that the parameters of a request name: all of them, some by their uuid, and some by
/// their zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapacityScope {
    all: bool,
    stores: BTreeSet<StoreUuid>,
    zones: BTreeSet<String>,
}

impl CapacityScope {
    /// Parses the parameters of a request. A list repeats its name, or numbers it as `name.0`.
    /// Unknown parameters are ignored.
    ///
    /// # Errors
    /// [`InvalidParameter`] if a value is invalid, or if no store and no zone is asked for.
    pub fn parse<'p>(
        parameters: impl IntoIterator<Item = (&'p str, &'p str)>,
    ) -> Result<Self, InvalidParameter> {
        let mut scope = Self::default();
        let mut all = None;
        let mut names_any = false;
        for (name, value) in parameters {
            let list = list_name(name);
            if list == ALL && all.replace(parse_flag(ALL, Some(value))?).is_some() {
                return Err(InvalidParameter::repeated(ALL));
            }
            if !matches!(list, STORES | ZONES) {
                continue;
            }
            if value.trim().is_empty() {
                return Err(InvalidParameter::expected(name, "a uuid"));
            }
            names_any = true;
            let uuid = value.trim().to_ascii_lowercase();
            match list {
                // No store has a uuid of another form.
                STORES => scope.stores.extend(uuid.parse::<StoreUuid>()),
                _ => scope.zones.extend([uuid]),
            }
        }
        scope.all = all.unwrap_or(false);
        if !scope.all && !names_any {
            let expected = format!("at least one uuid, or {ZONES}, or {ALL}=true");
            return Err(InvalidParameter::expected(STORES, &expected));
        }
        Ok(scope)
    }

    /// Returns true if a parameter names the store. Each parameter adds stores.
    pub fn covers(&self, store: &Inventory) -> bool {
        self.all
            || self.stores.contains(&store.uuid)
            || self.zones.iter().any(|zone| is_attached(store, zone))
    }
}

fn is_attached(store: &Inventory, zone: &str) -> bool {
    store.zone_uuids.iter().any(|attached| attached.eq_ignore_ascii_case(zone))
}

/// Returns the name of a list without the number of its element.
fn list_name(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((list, number))
            if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) =>
        {
            list
        }
        _ => name,
    }
}
