//! The inventory of a store: ZStack's `ImageStoreBackupStorageInventory`.

use serde::Serialize;

use super::schema::ItemSchema;
use super::{DateFormat, ServerClass};
use crate::model::Inventory;

/// The body of an inventory. All of its 15 documented fields are always present.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InventoryBody<'a> {
    uuid: String,
    name: &'a str,
    url: &'a str,
    description: &'a str,
    total_capacity: u64,
    available_capacity: u64,
    #[serde(rename = "type")]
    kind: &'static str,
    state: &'static str,
    status: &'static str,
    create_date: String,
    last_op_date: String,
    attached_zone_uuids: &'a [String],
    hostname: &'a str,
    username: &'a str,
    ssh_port: u16,
}

impl<'a> InventoryBody<'a> {
    /// Creates the body of an inventory. Its capacity is that of the last successful probe. A store
    /// enters the ledger after a successful probe, so `capacity` is never `None` in practice; it
    /// would be sent as 0.
    pub fn from_inventory(inventory: &'a Inventory, dates: &DateFormat) -> Self {
        Self {
            uuid: inventory.uuid.to_string(),
            name: &inventory.name,
            url: inventory.image_dir.as_str(),
            description: &inventory.description,
            total_capacity: inventory.capacity.map_or(0, |capacity| capacity.total()),
            available_capacity: inventory.capacity.map_or(0, |capacity| capacity.available()),
            kind: Inventory::TYPE,
            state: inventory.state.as_str(),
            status: inventory.status.as_str(),
            create_date: dates.format(inventory.created),
            last_op_date: dates.format(inventory.last_op),
            attached_zone_uuids: &inventory.zone_uuids,
            hostname: inventory.address.hostname.as_str(),
            username: &inventory.username,
            ssh_port: inventory.address.port.get(),
        }
    }
}

/// The body of a response with one store.
#[derive(Debug, Serialize)]
pub struct InventoryResponse<'a> {
    inventory: InventoryBody<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<ItemSchema>,
}

impl<'a> InventoryResponse<'a> {
    /// Creates the body for a store, with its schema if the client asks for it.
    pub fn new(inventory: &'a Inventory, with_schema: bool, dates: &DateFormat) -> Self {
        let schema = with_schema.then(|| ItemSchema::new(ServerClass::Store));
        Self { inventory: InventoryBody::from_inventory(inventory, dates), schema }
    }
}

#[cfg(test)]
pub(in crate::wire) mod tests {
    use serde_json::json;

    use super::*;
    use crate::common::Timestamp;
    use crate::model::{Capacity, ImageDir, SshAddress, State, Status, StoreUuid};

    /// The store of the API document.
    pub(in crate::wire) fn documented_inventory() -> Inventory {
        Inventory {
            uuid: StoreUuid::from_u128(0x4cd9_fb91_4f5f_4a1d_9d2f_0000_0000_0001),
            name: "ImageStore".to_owned(),
            description: String::new(),
            image_dir: ImageDir::parse("/data").unwrap(),
            capacity: Some(Capacity::new(1 << 40, 1 << 39).unwrap()),
            state: State::Enabled,
            status: Status::Connected,
            created: Timestamp(1_482_426_606_000),
            last_op: Timestamp(1_482_368_400_000),
            zone_uuids: Vec::new(),
            address: SshAddress {
                hostname: "192.168.0.1".parse().unwrap(),
                port: 22.try_into().unwrap(),
            },
            username: "root".to_owned(),
        }
    }

    #[test]
    fn all_documented_fields_are_present() {
        let body = serde_json::to_value(InventoryBody::from_inventory(
            &documented_inventory(),
            &DateFormat::ZSTACK_UTC,
        ))
        .unwrap();
        let expected = json!({
            "uuid": "4cd9fb914f5f4a1d9d2f000000000001", "name": "ImageStore", "url": "/data",
            "description": "", "totalCapacity": 1_099_511_627_776_u64,
            "availableCapacity": 549_755_813_888_u64, "type": "ImageStoreBackupStorage",
            "state": "Enabled", "status": "Connected", "createDate": "Dec 22, 2016 5:10:06 PM",
            "lastOpDate": "Dec 22, 2016 1:00:00 AM", "attachedZoneUuids": [],
            "hostname": "192.168.0.1", "username": "root", "sshPort": 22
        });
        assert_eq!(body, expected);
        assert_eq!(body.as_object().unwrap().len(), 15);
    }
}
