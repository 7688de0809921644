//! Stores and notices for tests, a fixed clock, and a repeatable source of random bytes.

use std::sync::atomic::{AtomicU64, Ordering};

use imagestore_agent::common::{Clock, Random, Timestamp};
use imagestore_agent::lifecycle::DurableRecord;
use imagestore_agent::model::{
    AttemptFailure, AttemptId, Capacity, Epoch, Fault, ImageDir, Inventory, MarkerId,
    MountLocation, Notice, NoticeKind, Position, Reason, Secret, Seq, SshAddress, SshCredentials,
    State, Status, Store, StoreUuid, Tags,
};

pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// A clock that always returns [`NOW`].
pub(crate) struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        NOW
    }
}

/// Random bytes from a fixed sequence (Weyl sequence), so that a failing test can be repeated.
#[derive(Default)]
pub(crate) struct SequenceRandom(AtomicU64);

impl Random for SequenceRandom {
    fn bytes16(&self) -> [u8; 16] {
        let n = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&n.to_le_bytes());
        bytes
    }
}

pub(crate) fn uuid(n: u128) -> StoreUuid {
    StoreUuid::from_u128(n)
}

pub(crate) fn store(n: u128) -> Store {
    Store {
        uuid: uuid(n),
        name: format!("store {n}"),
        description: String::new(),
        image_dir: ImageDir::parse(&format!("/var/lib/imagestore/{n}")).unwrap(),
        address: ssh_address(),
        username: "root".to_owned(),
        state: State::Enabled,
        zone_uuids: Vec::new(),
        created: NOW,
        changed: NOW,
        marker: MarkerId::from_u128(n),
        mount: MountLocation {
            mount_point: "/var/lib/imagestore".to_owned(),
            fs_type: "xfs".to_owned(),
            device: "8:1".to_owned(),
            on_root_disk: false,
            part: None,
            quota_folder: None,
        },
        had_registry: true,
        pinned_key: None,
        given_fingerprints: Vec::new(),
        credentials_address: ssh_address(),
    }
}

fn ssh_address() -> SshAddress {
    SshAddress { hostname: "127.0.0.1".parse().unwrap(), port: 22.try_into().unwrap() }
}

pub(crate) fn durable_record() -> DurableRecord {
    DurableRecord {
        status: Status::Connected,
        position: at(1),
        attempt: AttemptId(1),
        capacity: Some(Capacity::new(100, 40).unwrap()),
        inodes: None,
        failure: None,
        previous: None,
        since: NOW,
        conditions: Default::default(),
    }
}

pub(crate) fn credentials() -> SshCredentials {
    SshCredentials::password(Secret::new("correct horse".to_owned()))
}

pub(crate) fn at(seq: u64) -> Position {
    Position { epoch: Epoch(1), seq: Seq(seq) }
}

/// Returns the `seq`th transition of a store that disconnects and connects in turn: odd ones
/// disconnect.
pub(crate) fn notice(n: u128, seq: u64) -> Notice {
    let dropped = seq % 2 == 1;
    let (old_status, new_status) = if dropped {
        (Status::Connected, Status::Disconnected)
    } else {
        (Status::Disconnected, Status::Connected)
    };
    let store = store(n);
    Notice {
        store: store.uuid,
        kind: NoticeKind::Changed,
        position: at(seq),
        old_status,
        new_status,
        at: NOW,
        attempt: AttemptId(seq),
        failure: dropped
            .then(|| AttemptFailure::from_fault(Fault::new(Reason::IoError, "a bad sector"))),
        inventory: Inventory {
            uuid: store.uuid,
            name: store.name,
            description: store.description,
            image_dir: store.image_dir,
            capacity: durable_record().capacity,
            state: store.state,
            status: new_status,
            created: store.created,
            last_op: NOW,
            zone_uuids: store.zone_uuids,
            address: store.address,
            username: store.username,
        },
        tags: Tags::default(),
        transition_count: 1,
    }
}
