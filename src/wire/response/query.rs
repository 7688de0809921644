//! The bodies of the answers to queries: lists of stores and zones, the types, and the capacity.

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::{DateFormat, InventoryBody, ListSchema, ServerClass};
use crate::model::Inventory;

/// The body of a response with at most one store.
#[derive(Debug, Serialize)]
pub struct SingleStoreResponse<'a> {
    #[serde(serialize_with = "serialize_as_list")]
    inventories: Option<InventoryBody<'a>>,
    schema: ListSchema,
}

impl<'a> SingleStoreResponse<'a> {
    /// Creates the body for a store, or for none.
    pub fn new(inventory: Option<&'a Inventory>, dates: &DateFormat) -> Self {
        let schema = ListSchema::new(ServerClass::Store, usize::from(inventory.is_some()));
        Self {
            inventories: inventory.map(|inventory| InventoryBody::from_inventory(inventory, dates)),
            schema,
        }
    }
}

fn serialize_as_list<T: Serialize, S: Serializer>(
    item: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    item.as_slice().serialize(serializer)
}

/// The body of a page of a query. [`ListWriter`](crate::wire::ListWriter) writes the records.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PageResponse {
    /// The number of all matching records, if the query asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<usize>,
    /// The classes of the records.
    pub schema: ListSchema,
    /// The records.
    pub inventories: [(); 0],
}

/// The body of the answer to a query that asks for a number only.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CountResponse {
    /// The number of matching records.
    pub total: usize,
}

/// A store with some of its fields.
#[derive(Debug)]
pub struct PartialInventory<'a> {
    body: InventoryBody<'a>,
    fields: &'a [&'static str],
}

impl<'a> PartialInventory<'a> {
    /// Creates the body with the fields of these names.
    pub fn new(body: InventoryBody<'a>, fields: &'a [&'static str]) -> Self {
        Self { body, fields }
    }
}

impl Serialize for PartialInventory<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all = serde_json::to_value(&self.body).map_err(serde::ser::Error::custom)?;
        if let Value::Object(map) = &mut all {
            map.retain(|name, _| self.fields.contains(&name.as_str()));
        }
        all.serialize(serializer)
    }
}

/// A zone that a store is attached to. The daemon knows only its uuid.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ZoneBody<'a> {
    /// The uuid.
    pub uuid: &'a str,
}

/// The body of the answer to a request for the types of stores.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TypesResponse {
    types: [&'static str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<EmptySchema>,
}

impl TypesResponse {
    /// Creates the body, with a schema if the client asks for one.
    pub fn new(with_schema: bool) -> Self {
        Self { types: [Inventory::TYPE], schema: with_schema.then_some(EmptySchema {}) }
    }
}

/// The body of the answer to a request for the capacity of several stores, in bytes.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CapacityResponse {
    total_capacity: u64,
    available_capacity: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<EmptySchema>,
}

impl CapacityResponse {
    /// Creates the body, with a schema if the client asks for one.
    pub fn new(total: u64, available: u64, with_schema: bool) -> Self {
        Self {
            total_capacity: total,
            available_capacity: available,
            schema: with_schema.then_some(EmptySchema {}),
        }
    }
}

/// The schema of a response without objects: `{}`.
#[derive(Clone, Copy, Debug, Serialize)]
struct EmptySchema {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::query::STORE_FIELDS;
    use crate::wire::response::inventory::tests::documented_inventory;

    #[test]
    fn the_fields_of_a_query_are_those_of_an_inventory() {
        let inventory = documented_inventory();
        let body = serde_json::to_value(InventoryBody::from_inventory(
            &inventory,
            &DateFormat::ZSTACK_UTC,
        ))
        .unwrap();
        let mut expected: Vec<&str> =
            body.as_object().unwrap().keys().map(String::as_str).collect();
        let mut fields: Vec<&str> = STORE_FIELDS.iter().map(|field| field.name).collect();
        expected.sort_unstable();
        fields.sort_unstable();
        assert_eq!(fields, expected);
    }

    #[test]
    fn a_partial_inventory_has_the_selected_fields_alone() {
        let inventory = documented_inventory();
        let partial = PartialInventory::new(
            InventoryBody::from_inventory(&inventory, &DateFormat::ZSTACK_UTC),
            &["sshPort", "uuid", "uuid"],
        );
        let expected = json!({"uuid": "4cd9fb914f5f4a1d9d2f000000000001", "sshPort": 22});
        assert_eq!(serde_json::to_value(partial).unwrap(), expected);
    }
}
