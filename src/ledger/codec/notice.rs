//! Notices, each with the inventory as it was.

use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use super::fault::FailureForm;
use super::standing::{PositionForm, SpaceForm};
use super::{Stored, Undecodable, as_text, refused};
use crate::common::Timestamp;
use crate::model::{
    AttemptId, Hostname, ImageDir, Inventory, Notice, NoticeKind, SshAddress, State, Status,
    StoreUuid, Tags,
};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::ledger) struct NoticeForm {
    #[serde(with = "as_text")]
    store: StoreUuid,
    #[serde(with = "as_text")]
    kind: NoticeKind,
    position: PositionForm,
    #[serde(with = "as_text")]
    old_status: Status,
    #[serde(with = "as_text")]
    new_status: Status,
    at: i64,
    attempt: u64,
    failure: Option<FailureForm>,
    inventory: InventoryForm,
    tags: TagsForm,
    folded: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TagsForm {
    system: Vec<String>,
    user: Vec<String>,
}

impl TagsForm {
    pub(crate) fn of(tags: &Tags) -> Self {
        Self { system: tags.system_tags().to_vec(), user: tags.user_tags().to_vec() }
    }

    pub(super) fn into_tags(self) -> Result<Tags, Undecodable> {
        Tags::new(self.system, self.user).map_err(refused)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct InventoryForm {
    name: String,
    description: String,
    image_dir: String,
    capacity: Option<SpaceForm>,
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

impl InventoryForm {
    fn of(inventory: &Inventory) -> Self {
        Self {
            name: inventory.name.clone(),
            description: inventory.description.clone(),
            image_dir: inventory.image_dir.as_str().to_owned(),
            capacity: inventory.capacity.map(SpaceForm::of),
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

    fn into_inventory(self, uuid: StoreUuid) -> Result<Inventory, Undecodable> {
        Ok(Inventory {
            uuid,
            name: self.name,
            description: self.description,
            image_dir: ImageDir::parse(&self.image_dir).map_err(refused)?,
            capacity: self.capacity.map(SpaceForm::into_capacity).transpose()?,
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

impl Stored for Notice {
    type Form = NoticeForm;

    fn to_form(&self) -> NoticeForm {
        NoticeForm {
            store: self.store,
            kind: self.kind,
            position: PositionForm::of(self.position),
            old_status: self.old_status,
            new_status: self.new_status,
            at: self.at.0,
            attempt: self.attempt.0,
            failure: self.failure.as_ref().map(FailureForm::of),
            inventory: InventoryForm::of(&self.inventory),
            tags: TagsForm::of(&self.tags),
            folded: self.folded,
        }
    }

    fn from_form(form: NoticeForm) -> Result<Self, Undecodable> {
        Ok(Self {
            store: form.store,
            kind: form.kind,
            position: form.position.into_position(),
            old_status: form.old_status,
            new_status: form.new_status,
            at: Timestamp(form.at),
            attempt: AttemptId(form.attempt),
            failure: form.failure.map(FailureForm::into_failure).transpose()?,
            inventory: form.inventory.into_inventory(form.store)?,
            tags: form.tags.into_tags()?,
            folded: form.folded,
        })
    }
}
