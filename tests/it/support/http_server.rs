//! The HTTP server over real sockets with scripted stores, and a client that writes raw bytes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use imagestore_agent::agent::{
    AcceptError, AddError, AttemptWatch, CapacityHistory, CheckError, DaemonConditions,
    EventReader, OutcomeRecorder, ReconnectError, SpaceIndex, SpaceSharers, StoreService,
    StoreSnapshot, UpdateError,
};
use imagestore_agent::common::{Random, SystemClock, SystemRandom, Timestamp};
use imagestore_agent::hooks::HookQueue;
use imagestore_agent::http::{
    AccessKeyTable, AccountTable, Accounts, ClockWatch, DaemonInfo, HttpServer, InheritedSockets,
    ServerContext, ServerLimits, SessionCheck, TokenTable,
};
use imagestore_agent::jobs::{JobDigests, JobRegistry};
use imagestore_agent::ledger::{Ledger, OpenedLedger, StateDir, open_ledger};
use imagestore_agent::lifecycle::{
    DurableRecord, HistoryEntry, HistoryEvent, RequestedCheck, SpaceThresholds, StoreChecks,
    StoreHistory,
};
use imagestore_agent::management::{self, HookClient, ReplyQueue, SharedSigner, UrlGuard};
use imagestore_agent::metrics::{MetricSources, Metrics, ProcessStats};
use imagestore_agent::model::{
    AddStore, AttemptFailure, AttemptId, Capacity, CapacityDay, Condition, DAY_SECONDS, DayFigures,
    Epoch, Fault, HostEvidence, HostIdentity, HostKey, ImageDir, Inventory, MarkerId,
    MountLocation, NodeId, PlacementChange, Reason, SshAddress, State, Status, Store, StoreUpdate,
    StoreUuid, Tags, UsedRange, UtcDay,
};
use imagestore_agent::settings::{ApiSettings, FilePolicy, ServerSettings, Settings};
use imagestore_agent::wire::DateFormat;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::api_description::check_response;
use super::fixtures::FixedClock;
use super::loopback::connect_from;
use super::secret_files::write_secret;

/// A store that connects.
pub(crate) const GOOD: StoreUuid = StoreUuid::from_u128(0x0000_0000_0000_4000_8000_0000_0000_0001);
/// A store whose login is refused.
pub(crate) const BROKEN: StoreUuid =
    StoreUuid::from_u128(0x0000_0000_0000_4000_8000_0000_0000_0002);
/// A store whose attempts wait for [`FakeStores::release`].
pub(crate) const HELD: StoreUuid = StoreUuid::from_u128(0x0000_0000_0000_4000_8000_0000_0000_0003);
/// A store whose daemon is stopping.
pub(crate) const STOPPING: StoreUuid =
    StoreUuid::from_u128(0x0000_0000_0000_4000_8000_0000_0000_0004);

/// A store whose attempts panic.
pub(crate) const PANICKING: StoreUuid =
    StoreUuid::from_u128(0x0000_0000_0000_4000_8000_0000_0000_0005);

/// The tokens in the tokens file, one for each role.
pub(crate) const READER: &str = "reader-token";
pub(crate) const OPERATOR: &str = "operator-token";
pub(crate) const ADMIN: &str = "admin-token";
// printf %s TOKEN | sha256sum
pub(crate) const TOKENS: &str = "\
# The sessions of these tests.
looker:ba5005a40cf5212e4ac0190104cc127edab013294bb71279a975b27a80982d45:read
mn-1:0850123315d21ab90f4f7236408a52ef6dbd6a02a6550e5c10dc73f4d993680e
boss:10a4c7c9fc5206d6f36dc6944a81bb6f4a3cb0e25014ae3b12e6c3e52712292a:admin
";

/// Maximum wait of a test. No step on one machine takes this long, so reaching it is a failure.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) fn snapshot(uuid: StoreUuid) -> Arc<StoreSnapshot> {
    let image_dir = ImageDir::parse("/srv/images/a").unwrap();
    let port = 22.try_into().unwrap();
    let address = SshAddress { hostname: "127.0.0.1".parse().unwrap(), port };
    let place = MountLocation {
        mount_point: "/srv".to_owned(),
        fs_type: "ext4".to_owned(),
        device: "8:1".to_owned(),
        on_root_disk: false,
        part: None,
        quota_folder: None,
    };
    let store = Store {
        uuid,
        name: "images".to_owned(),
        description: String::new(),
        image_dir: image_dir.clone(),
        address: address.clone(),
        username: "root".to_owned(),
        state: State::Enabled,
        zone_uuids: Vec::new(),
        created: Timestamp(1_482_426_606_000),
        changed: Timestamp(1_482_426_606_000),
        marker: MarkerId::from_u128(1),
        mount: place,
        had_registry: true,
        pinned_key: None,
        given_fingerprints: Vec::new(),
        credentials_address: address.clone(),
    };
    let inventory = Inventory {
        uuid,
        name: store.name.clone(),
        description: String::new(),
        image_dir,
        capacity: Some(Capacity::new(1000, 400).unwrap()),
        state: State::Enabled,
        status: Status::Connected,
        created: store.created,
        last_op: store.changed,
        zone_uuids: Vec::new(),
        address,
        username: "root".to_owned(),
    };
    let durable = DurableRecord {
        capacity: inventory.capacity,
        ..DurableRecord::new_connecting(Epoch(1), store.created)
    };
    let (checks, host_identity) =
        (StoreChecks::default(), Some(HostIdentity::verified_by(HostEvidence::BootId)));
    let (last_attempt, stuck_worker) = (None, None);
    let store = Arc::new(store);
    Arc::new(StoreSnapshot {
        store,
        durable,
        inventory,
        checks,
        last_attempt,
        host_identity,
        forecast: None,
        has_attempt: false,
        phases: None,
        stuck_worker,
    })
}

/// Returns a store with another name.
pub(crate) fn named_snapshot(uuid: StoreUuid, name: &str) -> Arc<StoreSnapshot> {
    let mut named = (*snapshot(uuid)).clone();
    Arc::make_mut(&mut named.store).name = name.to_owned();
    Arc::new(named)
}

/// Returns the state of a daemon that accepts old algorithms, with a failing state disk.
fn daemon() -> DaemonInfo {
    let (_, state_disk) = watch::channel(Some("state_disk_trouble: no space".to_owned()));
    let conditions = DaemonConditions {
        started: Timestamp(1_482_426_606_000),
        legacy: vec!["ssh-rsa".to_owned()],
        accepts_any_host_key: false,
        delivery: None,
        state_disk,
    };
    DaemonInfo {
        node: NodeId::from_u128(7),
        conditions,
        notifier: None,
        process_stats: Arc::new(|| {
            let resident_bytes = 9 << 20;
            Some(ProcessStats { resident_bytes, cpu_milliseconds: 42, ..ProcessStats::default() })
        }),
        clock: ClockWatch::start(Arc::new(SystemClock), Timestamp(1_482_426_606_000)),
    }
}

/// Stores whose behaviour depends on their uuid or, in an add, on their name.
#[derive(Clone)]
pub(crate) struct FakeStores(Arc<RecordedCalls>);

struct RecordedCalls {
    listed: Mutex<Vec<Arc<StoreSnapshot>>>,
    spaces: Mutex<SpaceIndex>,
    list_requested: Semaphore,
    tags: Mutex<Vec<Tags>>,
    added: Mutex<Vec<AddStore>>,
    updated: Mutex<Vec<StoreUpdate>>,
    placed: Mutex<Vec<PlacementChange>>,
    removed: Mutex<Vec<StoreUuid>>,
    checked: Mutex<Vec<RequestedCheck>>,
    begun: Semaphore,
    release: Semaphore,
    until_wait_ended: Semaphore,
}

impl FakeStores {
    fn new() -> Self {
        let stores = Self(Arc::new(RecordedCalls {
            listed: Mutex::default(),
            spaces: Mutex::default(),
            list_requested: Semaphore::new(0),
            tags: Mutex::default(),
            added: Mutex::default(),
            updated: Mutex::default(),
            placed: Mutex::default(),
            removed: Mutex::default(),
            checked: Mutex::default(),
            begun: Semaphore::new(0),
            release: Semaphore::new(0),
            until_wait_ended: Semaphore::new(0),
        }));
        stores.list(vec![snapshot(GOOD), snapshot(BROKEN)]);
        stores
    }

    /// Replaces the list of all stores by this many stores on one filesystem. Their numbers begin
    /// with 1, and the first of them is [`GOOD`].
    pub(crate) fn list_many(&self, count: u128) {
        let first = u128::from_str_radix(&GOOD.to_string(), 16).unwrap();
        let many = (0..count).map(|n| snapshot(StoreUuid::from_u128(first + n)));
        self.list(many.collect());
    }

    /// Replaces the list of all stores.
    pub(crate) fn list(&self, stores: Vec<Arc<StoreSnapshot>>) {
        let spaces = SpaceIndex::default();
        for listed in &stores {
            spaces.insert(listed.store.uuid, &listed.store.mount);
        }
        *self.0.spaces.lock().unwrap() = spaces;
        *self.0.listed.lock().unwrap() = stores;
    }

    /// Returns the number of requests that needed all stores, since the last wait for one.
    pub(crate) fn list_requests(&self) -> usize {
        self.0.list_requested.available_permits()
    }

    /// Waits until a handler has asked for the list of all stores.
    pub(crate) async fn until_list_requested(&self) {
        with_timeout(self.0.list_requested.acquire()).await.unwrap().forget();
    }

    /// Returns the tags of every reconnect so far.
    pub(crate) fn tags(&self) -> Vec<Tags> {
        self.0.tags.lock().unwrap().clone()
    }

    /// Returns every add so far.
    pub(crate) fn added(&self) -> Vec<AddStore> {
        self.0.added.lock().unwrap().clone()
    }

    /// Returns every update so far.
    pub(crate) fn updated(&self) -> Vec<StoreUpdate> {
        self.0.updated.lock().unwrap().clone()
    }

    /// Returns every change of a placement so far.
    pub(crate) fn placed(&self) -> Vec<PlacementChange> {
        self.0.placed.lock().unwrap().clone()
    }

    /// Returns every requested check so far.
    pub(crate) fn checked(&self) -> Vec<RequestedCheck> {
        self.0.checked.lock().unwrap().clone()
    }

    /// Returns every removal so far.
    pub(crate) fn removed(&self) -> Vec<StoreUuid> {
        self.0.removed.lock().unwrap().clone()
    }

    /// Waits until an attempt of [`HELD`] has begun.
    pub(crate) async fn until_begun(&self) {
        with_timeout(self.0.begun.acquire()).await.unwrap().forget();
    }

    /// Lets one attempt of [`HELD`] succeed.
    pub(crate) fn release(&self) {
        self.0.release.add_permits(1);
    }

    /// Waits until no caller waits for an attempt of [`HELD`] any more.
    pub(crate) async fn until_wait_ended(&self) {
        with_timeout(self.0.until_wait_ended.acquire()).await.unwrap().forget();
    }
}

/// Records the end of a wait when dropped.
struct WaitEndGuard<'a>(&'a Semaphore);

impl Drop for WaitEndGuard<'_> {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

impl StoreService for FakeStores {
    fn snapshots(&self) -> Vec<Arc<StoreSnapshot>> {
        self.0.list_requested.add_permits(1);
        self.0.listed.lock().unwrap().clone()
    }

    fn snapshot(&self, uuid: StoreUuid) -> Option<Arc<StoreSnapshot>> {
        let listed = self.0.listed.lock().unwrap();
        let found = listed.iter().find(|listed| listed.inventory.uuid == uuid).cloned();
        let is_known = [GOOD, BROKEN, HELD, STOPPING, PANICKING].contains(&uuid);
        found.or_else(|| is_known.then(|| snapshot(uuid)))
    }

    fn left_workers(&self) -> usize {
        0
    }

    /// The stream of the watch ends at once.
    fn watch_attempts(&self, uuid: StoreUuid) -> Option<AttemptWatch> {
        self.snapshot(uuid).map(|snapshot| AttemptWatch::new(watch::channel(snapshot).1))
    }

    fn space_sharers(&self, snapshot: &StoreSnapshot) -> SpaceSharers {
        self.0.spaces.lock().unwrap().sharers_of(snapshot)
    }

    async fn history(&self, _: StoreUuid, _: u32) -> Option<StoreHistory> {
        let event = HistoryEvent::ConditionChanged { condition: Condition::NearFull, active: true };
        let lines = vec![HistoryEntry { at: Timestamp(0), attempt: AttemptId(1), event }];
        Some(StoreHistory { lines, pruned: 3 })
    }

    async fn capacity_history(
        &self,
        snapshot: &StoreSnapshot,
        days: u32,
    ) -> Option<CapacityHistory> {
        // The state disk does not answer for this store.
        if snapshot.store.uuid == BROKEN {
            return None;
        }
        let today = UtcDay(20_000);
        let day = |day| {
            let used = 500 + 10 * u64::try_from(day - today.0 + 10).unwrap();
            let figures = DayFigures {
                day: UtcDay(day),
                space: UsedRange::new(1000, used - 5, used, used).unwrap(),
                inodes: Some(UsedRange::new(100, 1, 2, 2).unwrap()).filter(|_| day % 2 == 0),
                covered_seconds: DAY_SECONDS,
            };
            CapacityDay { series: 1, figures }
        };
        let known = (today.0 - 9..=today.0).map(day).collect();
        let thresholds =
            SpaceThresholds { reserved: 20, near_full: 0.85, full: 0.95, filling_up: None };
        let since = today.plus(1 - i64::from(days));
        Some(CapacityHistory::new(known, since, today, snapshot, thresholds))
    }

    fn recorded_by(&self, _: Arc<dyn OutcomeRecorder>) -> Self {
        self.clone()
    }

    async fn reconnect(
        &self,
        uuid: StoreUuid,
        tags: Tags,
        _: bool,
    ) -> Result<Arc<StoreSnapshot>, ReconnectError> {
        let view = self.snapshot(uuid).ok_or(ReconnectError::UnknownStore(uuid))?;
        self.0.tags.lock().unwrap().push(tags);
        match uuid {
            BROKEN => Err(ReconnectError::Failed(refused())),
            STOPPING => {
                let fault = Fault::new(Reason::AgentStopping, "stopping");
                Err(ReconnectError::Failed(fault.into()))
            }
            HELD => {
                let _given_up = WaitEndGuard(&self.0.until_wait_ended);
                self.0.begun.add_permits(1);
                self.0.release.acquire().await.unwrap().forget();
                Ok(view)
            }
            PANICKING => {
                self.0.begun.add_permits(1);
                self.0.release.acquire().await.unwrap().forget();
                panic!("the attempt panics");
            }
            _ => Ok(view),
        }
    }

    async fn run_check(
        &self,
        uuid: StoreUuid,
        check: RequestedCheck,
    ) -> Result<Arc<StoreSnapshot>, CheckError> {
        let view = self.snapshot(uuid).ok_or(CheckError::UnknownStore(uuid))?;
        self.0.checked.lock().unwrap().push(check);
        match uuid {
            BROKEN => Err(CheckError::Failed(
                Fault::new(Reason::CredentialsRefused, "root may not log in")
                    .as_remembered()
                    .with_retry_after(600)
                    .into(),
            )),
            HELD => Err(CheckError::TooSoon(Duration::from_millis(8500))),
            STOPPING => {
                let fault = Fault::new(Reason::ProbeStuck, "an earlier probe hangs");
                Err(CheckError::Failed(fault.into()))
            }
            _ => Ok(view),
        }
    }

    fn rejections_left(&self, uuid: StoreUuid) -> Option<usize> {
        self.snapshot(uuid).map(|_| 3)
    }

    async fn update(
        &self,
        uuid: StoreUuid,
        update: StoreUpdate,
    ) -> Result<Arc<StoreSnapshot>, UpdateError> {
        let view = self.snapshot(uuid).ok_or(UpdateError::UnknownStore(uuid))?;
        self.0.updated.lock().unwrap().push(update);
        if uuid == BROKEN { Err(UpdateError::Failed(refused())) } else { Ok(view) }
    }

    async fn change_placement(
        &self,
        uuid: StoreUuid,
        change: PlacementChange,
    ) -> Result<Arc<StoreSnapshot>, ReconnectError> {
        let view = self.snapshot(uuid).ok_or(ReconnectError::UnknownStore(uuid))?;
        self.0.placed.lock().unwrap().push(change);
        match (uuid, change) {
            (BROKEN, PlacementChange::AttachZone(_)) => {
                let fault = Fault::new(Reason::ZoneAttached, "the store is already attached");
                Err(ReconnectError::Failed(fault.into()))
            }
            (BROKEN, _) => {
                let fault = Fault::new(Reason::StateDiskTrouble, "the disk is full");
                Err(ReconnectError::Failed(fault.into()))
            }
            _ => Ok(view),
        }
    }

    async fn accept_host_key(
        &self,
        uuid: StoreUuid,
        fingerprint: &str,
        _: Tags,
    ) -> Result<Arc<StoreSnapshot>, AcceptError> {
        let view = self.snapshot(uuid).ok_or(ReconnectError::UnknownStore(uuid))?;
        let recorded = HostKey {
            algorithm: "ssh-ed25519".to_owned(),
            blob: "AAAA".to_owned(),
            fingerprint: format!("SHA256:{}", "A".repeat(43)),
        };
        match uuid {
            BROKEN => Err(AcceptError::Failed(refused())),
            HELD => Err(AcceptError::NotOffered(None)),
            _ if fingerprint == recorded.fingerprint => Ok(view),
            _ => Err(AcceptError::NotOffered(Some(recorded))),
        }
    }

    async fn add(&self, add: AddStore) -> Result<Arc<StoreSnapshot>, AddError> {
        let name = add.name.clone();
        self.0.added.lock().unwrap().push(add.clone());
        match name.as_str() {
            "taken" => Err(AddError::Duplicate(
                Fault::new(Reason::DuplicateDirectory, "/srv/images/a is served already")
                    .with_detail("path", "/srv/images/a"),
            )),
            "broken" => Err(AddError::Failed(refused())),
            _ => Ok(snapshot(GOOD)),
        }
    }

    async fn remove(&self, uuid: StoreUuid) -> Result<bool, AttemptFailure> {
        self.0.removed.lock().unwrap().push(uuid);
        match uuid {
            BROKEN => Err(AttemptFailure::from_fault(Fault::new(
                Reason::StateDiskTrouble,
                "the disk is full",
            ))),
            uuid => Ok(self.snapshot(uuid).is_some()),
        }
    }
}

/// Returns a failed login and a failed probe.
fn refused() -> AttemptFailure {
    let login =
        Fault::new(Reason::CredentialsRefused, "root may not log in").with_detail("port", 22_u16);
    let probe = Fault::new(Reason::ReadOnly, "/srv is read-only").with_detail("path", "/srv");
    AttemptFailure::from_faults([login, probe]).unwrap()
}

struct ConstantRandom;

impl Random for ConstantRandom {
    fn bytes16(&self) -> [u8; 16] {
        [7; 16]
    }
}

/// A running server; stopped when dropped.
pub(crate) struct TestServer {
    pub(crate) stores: FakeStores,
    pub(crate) tokens: watch::Sender<Arc<TokenTable>>,
    pub(crate) access_keys: watch::Sender<Arc<AccessKeyTable>>,
    pub(crate) obstacles: Arc<Mutex<Vec<String>>>,
    pub(crate) stop: CancellationToken,
    address: std::net::SocketAddr,
    socket: std::path::PathBuf,
    task: JoinSet<std::io::Result<()>>,
    _posts: JoinSet<()>,
    ledger: (OpenedLedger, StateDir),
    _dir: TempDir,
}

fn open_ledger_in(dir: &TempDir) -> (OpenedLedger, StateDir) {
    let mut state = Settings::built_in().state;
    state.dir = dir.path().to_owned();
    let lock = StateDir::open(dir.path(), &FilePolicy::of_process()).unwrap();
    (open_ledger(&lock, &state, None, Timestamp(1_482_426_606_000)).unwrap(), lock)
}

pub(crate) fn tokens(text: &str) -> Arc<TokenTable> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens");
    write_secret(&path, text);
    Arc::new(TokenTable::load_file(Some(&path), &FilePolicy::of_process()).unwrap())
}

pub(crate) fn settings(dir: &TempDir) -> ServerSettings {
    let mut server = Settings::built_in().server;
    server.listen = vec!["127.0.0.1:0".parse().unwrap()];
    server.socket = dir.path().join("agent.sock");
    server.host_names = vec!["node-1.example".to_owned()];
    server
}

impl TestServer {
    pub(crate) fn start() -> Self {
        Self::with(ServerLimits::default(), TEST_TIMEOUT)
    }

    pub(crate) fn with(limits: ServerLimits, drain: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::launch(dir, |_| {}, limits, drain)
    }

    /// Starts a server that accepts calls of the agent protocol from these networks.
    pub(crate) fn for_agents_of(networks: &[&str]) -> Self {
        let networks: Vec<_> = networks.iter().map(|network| network.parse().unwrap()).collect();
        Self::with_settings(|settings| settings.agent_allow = networks)
    }

    /// A server with other settings than those of [`settings`].
    pub(crate) fn with_settings(change: impl FnOnce(&mut ServerSettings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::launch(dir, change, ServerLimits::default(), TEST_TIMEOUT)
    }

    /// A server that checks sessions of a management node.
    pub(crate) fn checking_sessions(check: SessionCheck) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let limits = ServerLimits::default();
        Self::launch_checking(dir, |_| {}, |_| {}, limits, TEST_TIMEOUT, Some(check))
    }

    /// A server with other settings than those of [`settings`], and other settings of its API.
    pub(crate) fn with_api(
        change: impl FnOnce(&mut ServerSettings),
        change_api: impl FnOnce(&mut ApiSettings),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let limits = ServerLimits::default();
        Self::launch_checking(dir, change, change_api, limits, TEST_TIMEOUT, None)
    }

    /// A server whose metrics need no session.
    pub(crate) fn with_open_metrics(limits: ServerLimits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::launch(dir, |settings| settings.open_metrics = true, limits, TEST_TIMEOUT)
    }

    /// A server behind trusted proxies.
    pub(crate) fn with_limits_behind(limits: ServerLimits, proxies: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let proxies = proxies.iter().map(|network| network.parse().unwrap()).collect();
        let change = |settings: &mut ServerSettings| settings.trusted_proxies = proxies;
        Self::launch(dir, change, limits, TEST_TIMEOUT)
    }

    fn launch(
        dir: TempDir,
        change: impl FnOnce(&mut ServerSettings),
        limits: ServerLimits,
        drain: Duration,
    ) -> Self {
        Self::launch_checking(dir, change, |_| {}, limits, drain, None)
    }

    fn launch_checking(
        dir: TempDir,
        change: impl FnOnce(&mut ServerSettings),
        change_api: impl FnOnce(&mut ApiSettings),
        limits: ServerLimits,
        drain: Duration,
        session_check: Option<SessionCheck>,
    ) -> Self {
        let mut settings = settings(&dir);
        change(&mut settings);
        let mut api = Settings::built_in().api;
        change_api(&mut api);
        let (opened, lock) = open_ledger_in(&dir);
        let jobs = JobRegistry::new(
            opened.ledger.clone(),
            JobDigests::new(opened.job_key.clone()),
            &opened.jobs,
            Arc::new(FixedClock),
            Arc::new(SystemRandom::default()),
        );
        let server =
            HttpServer::bind(&settings, InheritedSockets::default()).unwrap().with_limits(limits);
        let (address, socket) = (server.addresses()[0], server.socket_path().to_owned());
        let (tokens, seen_tokens) = watch::channel(tokens(TOKENS));
        let (access_keys, seen_keys) = watch::channel(Arc::default());
        let obstacles = Arc::new(Mutex::new(Vec::new()));
        let current = Arc::clone(&obstacles);
        let stores = FakeStores::new();
        let (replies, posting) = ReplyQueue::new(
            UrlGuard::new(&settings.agent_allow),
            management::RequestTimeouts::default(),
            Arc::new(FixedClock),
            Arc::new(ConstantRandom),
        );
        let (hooks, hook_posting) = HookQueue::new(
            HookClient::new(
                replies.url_guard().clone(),
                SharedSigner::default(),
                management::RequestTimeouts::default(),
                Arc::new(FixedClock),
            ),
            opened.ledger.clone(),
            jobs.clone(),
            Arc::new(SystemRandom::default()),
            (&opened.jobs, opened.hooks.clone()),
        );
        let daemon = daemon();
        let metrics = Metrics::new(MetricSources {
            conditions: daemon.conditions.clone(),
            notifier: None,
            agent: Arc::default(),
            ledger: opened.ledger.clone(),
            http: Arc::default(),
            lost_log_lines: Arc::default(),
            settings_loaded: Arc::default(),
            process_stats: Arc::clone(&daemon.process_stats),
        });
        let context = ServerContext {
            metrics,
            stores: stores.clone(),
            tls: None,
            tokens: seen_tokens,
            session_check,
            access_keys: seen_keys,
            clock: Arc::new(FixedClock),
            accounts: Arc::new(Accounts::new(
                AccountTable::default(),
                Duration::from_secs(7200),
                Arc::new(FixedClock),
                Arc::new(ConstantRandom),
            )),
            readiness: Arc::new(move || current.lock().unwrap().clone()),
            daemon,
            events: EventReader::new(opened.ledger.clone()),
            replies,
            jobs,
            hooks,
            api,
            random: Arc::new(ConstantRandom),
            allowed_roots: vec!["/srv/images".to_owned()],
            dates: DateFormat::ZSTACK_UTC,
        };
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(server.run(context, stop.clone(), drain));
        let mut posts = JoinSet::new();
        posts.spawn(posting.run_poster(stop.clone()));
        posts.spawn(hook_posting.run_poster(stop.clone()));
        Self {
            stores,
            tokens,
            access_keys,
            obstacles,
            stop,
            address,
            socket,
            task,
            _posts: posts,
            ledger: (opened, lock),
            _dir: dir,
        }
    }

    /// Returns the ledger behind the events.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger.0.ledger
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        with_timeout(TcpStream::connect(self.address)).await.unwrap()
    }

    /// A connection from another source: an address of the loopback network.
    pub(crate) async fn connect_from(&self, source: &str) -> TcpStream {
        let source = source.parse().unwrap();
        with_timeout(connect_from(source, self.address)).await.unwrap()
    }

    pub(crate) async fn try_connect(&self) -> std::io::Result<TcpStream> {
        with_timeout(TcpStream::connect(self.address)).await
    }

    pub(crate) async fn connect_local(&self) -> UnixStream {
        with_timeout(UnixStream::connect(&self.socket)).await.unwrap()
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    /// Sends one request on a new connection.
    pub(crate) async fn ask(&self, request: HttpRequest<'_>) -> HttpResponse {
        exchange(self.connect().await, &request.bytes()).await
    }

    /// Waits for the end of the server.
    pub(crate) async fn ended(mut self) {
        with_timeout(self.task.join_next()).await.unwrap().unwrap().unwrap();
    }
}

pub(crate) async fn with_timeout<F: Future>(work: F) -> F::Output {
    timeout(TEST_TIMEOUT, work).await.expect("timeout")
}

/// A request in its parts.
#[derive(Clone, Copy)]
pub(crate) struct HttpRequest<'a> {
    pub(crate) line: &'a str,
    pub(crate) token: Option<&'a str>,
    pub(crate) host: &'a str,
    /// Further header lines, each with its line end.
    pub(crate) headers: &'a str,
    pub(crate) body: &'a str,
}

impl<'a> HttpRequest<'a> {
    /// Returns a request with the operator's token.
    pub(crate) fn new(line: &'a str, body: &'a str) -> Self {
        Self { line, token: Some(OPERATOR), host: "localhost", headers: "", body }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let token = self.token.map(|token| format!("Authorization: OAuth {token}\r\n"));
        let length = match self.body {
            "" => String::new(),
            body => format!("Content-Length: {}\r\n", body.len()),
        };
        format!(
            "{} HTTP/1.1\r\nHost: {}\r\n{}{length}{}\r\n{}",
            self.line,
            self.host,
            token.unwrap_or_default(),
            self.headers,
            self.body
        )
        .into_bytes()
    }
}

/// A parsed response.
#[derive(Debug)]
pub(crate) struct HttpResponse {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

impl HttpResponse {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} is there twice");
        value
    }

    pub(crate) fn error(&self, pointer: &str) -> &Value {
        self.body["error"].pointer(pointer).unwrap_or(&Value::Null)
    }
}

/// Writes a request and reads the response. It writes and reads concurrently, so that it also gets
/// the response to a request that is rejected in the middle.
pub(crate) async fn exchange<S>(stream: S, request: &[u8]) -> HttpResponse
where
    S: AsyncRead + AsyncWrite,
{
    let (mut reader, mut writer) = tokio::io::split(stream);
    // The server may close before it has read all; its response counts.
    let writing = async { writer.write_all(request).await.ok() };
    let (_, answer) = with_timeout(async { tokio::join!(writing, read_answer(&mut reader)) }).await;
    check_answer(request, &answer);
    answer
}

/// Compares a response with the description of the API. The protocol layer rejects what is no
/// request of HTTP, without a body and a request id.
fn check_answer(request: &[u8], answer: &HttpResponse) {
    let is_rejected = matches!(answer.status, 400 | 431) && answer.body.is_null();
    if is_rejected && answer.header("x-request-id").is_none() {
        return;
    }
    let line = request.split(|byte| *byte == b'\r').next().unwrap();
    let line = String::from_utf8_lossy(line);
    // A test can send the head of a request before the rest.
    if let [method, target, "HTTP/1.1" | "HTTP/1.0"] = line.split(' ').collect::<Vec<_>>()[..] {
        check_response((method, target), answer.status, Some(&answer.headers), &answer.body);
    }
}

/// Writes a request that closes the connection, and reads the response. Returns `None` if the
/// connection ends before the response does.
pub(crate) async fn try_exchange<S>(mut stream: S, request: &[u8]) -> Option<HttpResponse>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(request).await.ok()?;
    let mut bytes = Vec::new();
    // A reset may follow a whole response.
    let _ = stream.read_to_end(&mut bytes).await;
    let head = bytes.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let answer = read_head(&mut &bytes[..head]).await;
    let length: usize = answer.header("content-length").map_or(0, |text| text.parse().unwrap());
    (bytes.len() - head >= length).then_some(())?;
    let answer = read_answer(&mut bytes.as_slice()).await;
    check_answer(request, &answer);
    Some(answer)
}

/// Reads one response and leaves the connection open.
pub(crate) async fn read_answer<R: AsyncRead + Unpin>(reader: &mut R) -> HttpResponse {
    let mut answer = read_head(reader).await;
    let length: usize = answer.header("content-length").map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    with_timeout(reader.read_exact(&mut body)).await.unwrap();
    if length > 0 {
        let is_json = answer.header("content-type").is_none_or(|kind| kind.contains("json"));
        answer.body = match is_json {
            true => serde_json::from_slice(&body).unwrap(),
            false => Value::String(String::from_utf8(body).unwrap()),
        };
    }
    answer
}

/// Reads the head of one response.
pub(crate) async fn read_head<R: AsyncRead + Unpin>(reader: &mut R) -> HttpResponse {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(with_timeout(reader.read_u8()).await.expect("closed before the end of a head"));
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    HttpResponse { status, headers, body: Value::Null }
}

/// Waits until the server closes.
pub(crate) async fn closed<R: AsyncRead + Unpin>(reader: &mut R) -> Vec<u8> {
    let mut rest = Vec::new();
    // A reset counts as a close.
    let _ = with_timeout(reader.read_to_end(&mut rest)).await;
    rest
}
