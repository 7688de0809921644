//! The stores whose capacity a request asks for.

use std::collections::BTreeSet;

use super::InvalidParameter;
use super::record_query::parse_flag;
use crate::model::Inventory;

const STORES: &str = "backupStorageUuids";
const ZONES: &str = "zoneUuids";
const ALL: &str = "all";

/// The stores that the parameters of a request name: all of them, some by their uuid, and some by
/// their zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapacityScope {
    all: bool,
    stores: BTreeSet<String>,
    zones: BTreeSet<String>,
}

impl CapacityScope {
    /// Parses the parameters of a request. A list repeats its name, or numbers it as `name.0`.
    /// Unknown parameters are passed over.
    ///
    /// # Errors
    /// [`InvalidParameter`] if a value is invalid, or if no store and no zone is asked for.
    pub fn parse<'p>(
        parameters: impl IntoIterator<Item = (&'p str, &'p str)>,
    ) -> Result<Self, InvalidParameter> {
        let mut scope = Self::default();
        let mut all = None;
        for (name, value) in parameters {
            let list = match list_name(name) {
                ALL => {
                    if all.replace(parse_flag(ALL, Some(value))?).is_some() {
                        return Err(InvalidParameter::repeated(ALL));
                    }
                    continue;
                }
                STORES => &mut scope.stores,
                ZONES => &mut scope.zones,
                _ => continue,
            };
            if value.trim().is_empty() {
                return Err(InvalidParameter::expected(name, "a uuid"));
            }
            list.insert(value.trim().to_ascii_lowercase());
        }
        scope.all = all.unwrap_or(false);
        if !scope.all && scope.stores.is_empty() && scope.zones.is_empty() {
            let expected = format!("at least one uuid, or {ZONES}, or {ALL}=true");
            return Err(InvalidParameter::expected(STORES, &expected));
        }
        Ok(scope)
    }

    /// Returns true if a parameter names the store. Each parameter adds stores.
    pub fn covers(&self, store: &Inventory) -> bool {
        self.all
            || (!self.stores.is_empty() && self.stores.contains(&store.uuid.to_string()))
            || store.zone_uuids.iter().any(|zone| self.zones.contains(&zone.to_ascii_lowercase()))
    }
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
