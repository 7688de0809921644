//! Stored forms of notices. Each notice contains the inventory at the time of the transition.

use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use super::fault::StoredFailure;
use super::record::{StoredPosition, StoredSpace};
use super::{DecodeError, Persist, as_text, invalid};
use crate::common::Timestamp;
use crate::model::{
    AttemptId, Hostname, ImageDir, Inventory, Notice, NoticeKind, SshAddress, State, Status,
    StoreUuid, Tags,
};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::ledger) struct StoredNotice {
    #[serde(with = "as_text")]
    store: StoreUuid,
    #[serde(with = "as_text")]
    kind: NoticeKind,
    position: StoredPosition,
    #[serde(with = "as_text")]
    old_status: Status,
    #[serde(with = "as_text")]
    new_status: Status,
    at: i64,
    attempt: u64,
    failure: Option<StoredFailure>,
    inventory: StoredInventory,
    tags: StoredTags,
    folded: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredTags {
    system: Vec<String>,
    user: Vec<String>,
}

impl StoredTags {
    pub(crate) fn from_tags(tags: &Tags) -> Self {
        Self { system: tags.system_tags().to_vec(), user: tags.user_tags().to_vec() }
    }

    pub(super) fn into_tags(self) -> Result<Tags, DecodeError> {
        Tags::new(self.system, self.user).map_err(invalid)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredInventory {
    name: String,
    description: String,
    image_dir: String,
    capacity: Option<StoredSpace>,
    #[serde(with = "as_text")]
    state: State,
    #[serde(with = "as_text")]
    status: Status,
    created: i64,
    last_op: i64,
    zone_uuids: Vec<String>,
    #[serde(with = "as_text")]
    hostname: Hostname,
    port: NonZeroU16,
    username: String,
}

impl StoredInventory {
    fn from_inventory(inventory: &Inventory) -> Self {
        Self {
            name: inventory.name.clone(),
            description: inventory.description.clone(),
            image_dir: inventory.image_dir.as_str().to_owned(),
            capacity: inventory.capacity.map(StoredSpace::from_capacity),
            state: inventory.state,
            status: inventory.status,
            created: inventory.created.0,
            last_op: inventory.last_op.0,
            zone_uuids: inventory.zone_uuids.clone(),
            hostname: inventory.address.hostname.clone(),
            port: inventory.address.port,
            username: inventory.username.clone(),
        }
    }

    fn into_inventory(self, uuid: StoreUuid) -> Result<Inventory, DecodeError> {
        Ok(Inventory {
            uuid,
            name: self.name,
            description: self.description,
            image_dir: ImageDir::parse(&self.image_dir).map_err(invalid)?,
            capacity: self.capacity.map(StoredSpace::into_capacity).transpose()?,
            state: self.state,
            status: self.status,
            created: Timestamp(self.created),
            last_op: Timestamp(self.last_op),
            zone_uuids: self.zone_uuids,
            address: SshAddress { hostname: self.hostname, port: self.port },
            username: self.username,
        })
    }
}

impl Persist for Notice {
    type Form = StoredNotice;

    fn to_form(&self) -> StoredNotice {
        StoredNotice {
            store: self.store,
            kind: self.kind,
            position: StoredPosition::from_position(self.position),
            old_status: self.old_status,
            new_status: self.new_status,
            at: self.at.0,
            attempt: self.attempt.0,
            failure: self.failure.as_ref().map(StoredFailure::from_failure),
            inventory: StoredInventory::from_inventory(&self.inventory),
            tags: StoredTags::from_tags(&self.tags),
            folded: self.transition_count,
        }
    }

    fn from_form(form: StoredNotice) -> Result<Self, DecodeError> {
        Ok(Self {
            store: form.store,
            kind: form.kind,
            position: form.position.into_position(),
            old_status: form.old_status,
            new_status: form.new_status,
            at: Timestamp(form.at),
            attempt: AttemptId(form.attempt),
            failure: form.failure.map(StoredFailure::into_failure).transpose()?,
            inventory: form.inventory.into_inventory(form.store)?,
            tags: form.tags.into_tags()?,
            transition_count: form.folded,
        })
    }
}
