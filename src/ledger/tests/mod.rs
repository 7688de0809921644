//! The ledger against real SQLite files.

mod capacity;
mod damage;
mod displaced_log;
mod durability;
mod events;
mod fixture;
mod fixture_contents;
mod history;
mod hooks;
mod jobs;
mod migrations;
mod secrets;
mod stats;

use std::path::{Path, PathBuf};

use super::open::migrations::{MIGRATIONS, Migration};
use super::{LedgerChange, OpenError, OpenedLedger, StateDir, open};
use crate::common::Timestamp;
use crate::lifecycle::{Cause, DurableRecord, HistoryEntry, HistoryEvent};
use crate::model::{
    AttemptFailure, AttemptId, Capacity, Condition, Epoch, Fault, HostKey, ImageDir, InodeCounts,
    Inventory, MarkerId, MountLocation, Notice, NoticeKind, Position, Reason, Secret, Seq,
    SshAddress, SshCredentials, State, Status, Store, StoreUuid, Tags,
};
use crate::settings;
use crate::settings::FilePolicy;

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const PASSWORD: &str = "correct horse";

/// A state directory of a test's own.
struct TestStateDir {
    dir: tempfile::TempDir,
}

impl TestStateDir {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn ledger(&self) -> PathBuf {
        self.path().join("ledger.sqlite")
    }

    fn try_open(&self) -> Result<OpenedLedger, OpenError> {
        self.open_at(NOW)
    }

    fn open_at(&self, now: Timestamp) -> Result<OpenedLedger, OpenError> {
        self.open_with_migrations(MIGRATIONS, now)
    }

    fn open_with_migrations(
        &self,
        migration_list: &[Migration],
        now: Timestamp,
    ) -> Result<OpenedLedger, OpenError> {
        let lock = StateDir::open(self.path(), &FilePolicy::of_process()).unwrap();
        let state = settings::StateSettings {
            dir: self.path().to_owned(),
            ..settings::Settings::built_in().state
        };
        open::open_with_migrations(migration_list, &lock, &state, None, now)
    }

    fn open(&self) -> OpenedLedger {
        self.try_open().unwrap()
    }

    /// The directory as a power cut would leave it now.
    fn power_loss_copy(&self) -> TestStateDir {
        let after = TestStateDir::new();
        for entry in std::fs::read_dir(self.path()).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                std::fs::copy(entry.path(), after.path().join(entry.file_name())).unwrap();
            }
        }
        after
    }
}

fn uuid(n: u128) -> StoreUuid {
    StoreUuid::from_u128(n)
}

fn store(n: u128) -> Store {
    Store {
        uuid: uuid(n),
        name: format!("store {n}"),
        description: "naïve \"quotes\"".to_owned(),
        image_dir: ImageDir::parse(&format!("/var/lib/imagestore/{n}")).unwrap(),
        address: address(),
        username: "root".to_owned(),
        state: State::Enabled,
        zone_uuids: vec!["zone".to_owned()],
        created: NOW,
        changed: Timestamp(NOW.0 + 1),
        marker: MarkerId::from_u128(7),
        mount: MountLocation {
            mount_point: "/var/lib/imagestore".to_owned(),
            fs_type: "xfs".to_owned(),
            device: "8:1".to_owned(),
            on_root_disk: false,
            part: None,
            quota_folder: None,
        },
        had_registry: true,
        pinned_key: Some(HostKey {
            algorithm: "ssh-ed25519".to_owned(),
            blob: "AAAA".to_owned(),
            fingerprint: "SHA256:abc".to_owned(),
        }),
        given_fingerprints: vec!["SHA256:abc".to_owned()],
        credentials_address: address(),
    }
}

fn address() -> SshAddress {
    SshAddress { hostname: "::1".parse().unwrap(), port: 2222.try_into().unwrap() }
}

fn failure() -> AttemptFailure {
    let ssh = Fault::new(Reason::ConnectionRefused, "nobody listens")
        .with_detail("port", 2222_u16)
        .with_detail("address", "::1")
        .with_detail("tried", vec!["::1".to_owned()]);
    let storage = Fault::new(Reason::ReadOnly, "read-only").with_recorded_remedy("remount it");
    AttemptFailure::from_faults([ssh, storage]).unwrap()
}

fn durable(status: Status) -> DurableRecord {
    DurableRecord {
        status,
        position: Position { epoch: Epoch(5), seq: Seq(9) },
        attempt: AttemptId(3),
        capacity: Some(Capacity::new(100, 40).unwrap()),
        inodes: Some(InodeCounts { total: 10, available: 4 }),
        failure: (status == Status::Disconnected).then(failure),
        previous: None,
        since: NOW,
        conditions: [(Condition::NearFull, NOW)].into(),
    }
}

fn notice(n: u128, epoch: u64, seq: u64) -> Notice {
    let store = store(n);
    Notice {
        store: store.uuid,
        kind: NoticeKind::Changed,
        position: Position { epoch: Epoch(epoch), seq: Seq(seq) },
        old_status: Status::Connecting,
        new_status: Status::Disconnected,
        at: NOW,
        attempt: AttemptId(3),
        failure: Some(failure()),
        inventory: Inventory {
            uuid: store.uuid,
            name: store.name,
            description: store.description,
            image_dir: store.image_dir,
            capacity: Some(Capacity::new(100, 40).unwrap()),
            state: State::Enabled,
            status: Status::Disconnected,
            created: NOW,
            last_op: NOW,
            zone_uuids: store.zone_uuids,
            address: store.address,
            username: store.username,
        },
        tags: Tags::new(vec!["a::b".to_owned()], vec!["c".to_owned()]).unwrap(),
        transition_count: 1,
    }
}

fn entry(at: i64) -> HistoryEntry {
    HistoryEntry {
        at: Timestamp(at),
        attempt: AttemptId(1),
        event: HistoryEvent::AttemptStarted { cause: Cause::User, tags: Tags::default() },
    }
}

fn removed(at: i64) -> HistoryEntry {
    let event = HistoryEvent::StoreRemoved { name: "the last name".to_owned() };
    HistoryEntry { event, ..entry(at) }
}

fn credentials() -> SshCredentials {
    SshCredentials::password(Secret::new(PASSWORD.to_owned()))
}

fn added(n: u128) -> LedgerChange {
    LedgerChange::new().add_store(store(n), credentials(), durable(Status::Connected))
}
