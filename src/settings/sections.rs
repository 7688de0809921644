//! Types of the settings, one struct per section of `config/agent.toml`. That file documents each
//! key.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use jiff::tz::TimeZone;

use crate::catalog::Language;
use crate::common::FileAccess;
use crate::model::Role;

/// The files of the daemon in the state directory. A setting must not name one of them for another
/// purpose.
pub const STATE_FILES: [&str; 7] = [
    "lock",
    "node-id",
    "ledger.sqlite",
    "ledger.sqlite-wal",
    "ledger.sqlite-shm",
    "ledger.sqlite-journal",
    "master-key",
];

/// Returns the access that the daemon needs to a file of [`STATE_FILES`] that exists.
pub fn state_file_access(name: &str) -> FileAccess {
    match name {
        "master-key" | "node-id" => FileAccess::Read,
        _ => FileAccess::ReadAndWrite,
    }
}

/// All settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The section `[server]`.
    pub server: ServerSettings,
    /// The section `[api]`.
    pub api: ApiSettings,
    /// The section `[auth]`.
    pub auth: AuthSettings,
    /// The section `[state]`.
    pub state: StateSettings,
    /// The section `[storage]`.
    pub storage: StorageSettings,
    /// The section `[monitor]`.
    pub monitor: MonitorSettings,
    /// The section `[ssh]`.
    pub ssh: SshSettings,
    /// The section `[callback]`.
    pub callback: CallbackSettings,
}

/// The section `[server]`: addresses and access of the HTTP interface.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSettings {
    /// TCP addresses to listen on; at least one.
    pub listen: Vec<SocketAddr>,
    /// Prefixes of the documented API, such as `/zstack`; at least one. Each is empty, or it starts
    /// with `/` and does not end with it. The commands use the first.
    pub base_paths: Vec<String>,
    /// The Unix socket. The default is `agent.sock` in the state directory.
    pub socket: PathBuf,
    /// True if plain HTTP may listen outside loopback.
    pub insecure_http: bool,
    /// Allowed names in a `Host` header, in addition to IP addresses and `localhost`.
    pub host_names: Vec<String>,
    /// Prefixes of the agent protocol and the health view. The first one is the main prefix.
    pub agent_prefixes: Vec<String>,
    /// Networks that may use the agent protocol. An empty list disables it.
    pub agent_allow: Vec<IpNet>,
    /// Networks of the proxies whose `X-Forwarded-For` names the source of a request, for limits
    /// and the audit log.
    pub trusted_proxies: Vec<IpNet>,
    /// True if `/metrics` needs no token.
    pub open_metrics: bool,
    /// TLS on the TCP listeners.
    pub tls: Option<TlsSettings>,
}

/// The table `server.tls`.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsSettings {
    /// PEM certificate chain of the server.
    pub cert: PathBuf,
    /// PEM key of the server.
    pub key: PathBuf,
    /// PEM CAs that must have issued the client certificates.
    pub client_ca: Option<PathBuf>,
    /// File of clients whose certificate replaces a session, one `name[:role]` per line.
    pub clients_file: Option<PathBuf>,
}

/// The section `[api]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiSettings {
    /// The callers that get a job if an operation fails or takes long: those that ask for one, or
    /// all.
    pub reply: ReplyMode,
    /// Maximum time until a caller that gets a job is answered, 1 s to 9 s.
    pub answer_within: Duration,
    /// The form of ZStack's dates.
    pub dates: DateForm,
    /// The time zone of ZStack's dates.
    pub time_zone: TimeZone,
    /// The language of the texts of errors and remedies.
    pub language: Language,
}

/// The values of `api.dates`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateForm {
    /// `Dec 22, 2016 5:10:06 PM`, without a time zone.
    ZStack,
    /// `2016-12-22T17:10:06+00:00`
    Iso8601,
}

/// The values of `api.reply`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyMode {
    /// The response is the result, unless the caller asks for a job.
    Sync,
    /// Every caller is answered as one that asks for a job.
    Async,
}

impl ReplyMode {
    /// Returns the value of the setting.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Async => "async",
        }
    }
}

/// The section `[auth]`.
#[derive(Clone, Debug, PartialEq)]
pub struct AuthSettings {
    /// File of tokens, one `name:sha256-hex[:role]` per line. Without it, TCP callers are rejected.
    pub tokens_file: Option<PathBuf>,
    /// File of accounts, one `name:phc-string[:role]` per line. Without it, no account can log in.
    pub accounts_file: Option<PathBuf>,
    /// Duration of a session that a login opens, 1 min to 7 d.
    pub session_ttl: Duration,
    /// URL by which the management node says whether a session is valid, with `{uuid}` in place
    /// of the session. Without it, the daemon does not accept these sessions.
    pub session_check_url: Option<String>,
    /// The role of a caller with such a session.
    pub session_check_role: Role,
    /// File of access keys, one `name:id:secret[:role]` per line. Without it, no signed request is
    /// accepted.
    pub access_keys_file: Option<PathBuf>,
}

/// The section `[state]`.
#[derive(Clone, Debug, PartialEq)]
pub struct StateSettings {
    /// The state directory of the daemon.
    pub dir: PathBuf,
    /// The file of the master key, which seals stored secrets. The default is the systemd
    /// credential `master-key`, else a file created in `dir`.
    pub master_key_file: Option<PathBuf>,
    /// True if the system may write a core dump of the daemon.
    pub core_dumps: bool,
    /// True if files with secrets are used whatever their owner and mode are.
    pub trust_file_modes: bool,
}

/// The section `[storage]`.
#[derive(Clone, Debug, PartialEq)]
pub struct StorageSettings {
    /// Absolute paths; every image directory must be at or below one of them. At least one.
    pub allowed_roots: Vec<String>,
    /// True if an image directory may be on the root filesystem.
    pub allow_root_disk: bool,
    /// True if probes and attempts write.
    pub write_probe: bool,
    /// Time between writing probes of a healthy store, 1 s to 1 h.
    pub write_probe_interval: Duration,
    /// Available bytes below which a store is full, at most 1 EiB. They are never subtracted from
    /// reported figures.
    pub reserved: u64,
    /// Used share of the capacity from which a store is near full; above 0, below `full`.
    pub near_full: f64,
    /// Used share of the capacity from which a store is full; at most 1.
    pub full: f64,
    /// Time within which a forecast must reach `full` for the store to be filling up, at most 365
    /// days; 0 turns it off.
    pub filling_up: Duration,
}

/// The section `[monitor]`.
#[derive(Clone, Debug, PartialEq)]
pub struct MonitorSettings {
    /// Time between probes of a store, 1 s to 1 h.
    pub interval: Duration,
    /// Maximum duration of a probe, 100 ms to 10 min. It may exceed the interval.
    pub probe_deadline: Duration,
    /// Maximum duration of a connect attempt, 1 s to 10 min.
    pub attempt_deadline: Duration,
    /// Consecutive soft faults that disconnect a store, 1 to 100.
    pub fail_after: u32,
    /// Consecutive good probes after a storage fault that start an attempt, 1 to 100.
    pub recover_after: u32,
    /// True if the daemon starts attempts automatically.
    pub auto_reconnect: bool,
    /// Time between the monitor's logins to a healthy store, 10 s to 24 h.
    pub ssh_interval: Duration,
}

/// The section `[ssh]`.
#[derive(Clone, Debug, PartialEq)]
pub struct SshSettings {
    /// Maximum duration of name resolution, 100 ms to 1 min.
    pub resolve_timeout: Duration,
    /// Maximum duration of the TCP connect, 100 ms to 1 min.
    pub connect_timeout: Duration,
    /// Maximum duration from the TCP connection to the end of the key exchange, including the
    /// banner; 100 ms to 2 min.
    pub handshake_timeout: Duration,
    /// Maximum duration of authentication, 4 s to 5 min. The minimum allows for PAM, which delays a
    /// rejection by 3 s.
    pub auth_timeout: Duration,
    /// Policy for accepting host keys.
    pub host_key_policy: HostKeyPolicy,
    /// Networks that a store's hostname may resolve to, in addition to the addresses of this host.
    pub allowed_targets: Vec<IpNet>,
    /// True if a login must check that the host behind it is this node.
    pub prove_host: bool,
    /// Algorithms to re-enable, by their SSH names: key exchanges, ciphers, MACs, and `ssh-rsa` for
    /// RSA signatures with SHA-1. The daemon warns of names that the build does not support.
    pub legacy: Vec<String>,
}

/// The values of `ssh.host_key_policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostKeyPolicy {
    /// The first key is pinned, and every later key must match it.
    PinOnFirstUse,
    /// Only a key with a given fingerprint, or the pinned key, is accepted.
    Strict,
    /// Any key is accepted.
    AcceptAny,
}

/// The section `[callback]`: delivery of notices to the management node.
#[derive(Clone, Debug, PartialEq)]
pub struct CallbackSettings {
    /// Absolute `http` or `https` URLs in order of preference, used for failover. If the list is
    /// empty, transitions are recorded only in the history.
    pub urls: Vec<String>,
    /// The format of the request body.
    pub format: CallbackFormat,
    /// File of signing secrets, one per line: `whsec_` and base64.
    pub signing_secret_file: Option<PathBuf>,
    /// PEM CAs to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM client certificate chain. It requires `client_key`.
    pub client_cert: Option<PathBuf>,
    /// PEM client key.
    pub client_key: Option<PathBuf>,
    /// Time between heartbeats, 1 s to 1 h.
    pub heartbeat: Duration,
    /// Maximum number of notices per store before they are coalesced into one, 10 to 1,000,000.
    pub max_pending: u32,
    /// Time over which the first events after a start are spread, 0 s to 1 min.
    pub start_spread: Duration,
}

/// The values of `callback.format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallbackFormat {
    /// CloudEvents 1.0 with Standard Webhooks headers.
    CloudEvents,
    /// The body and headers of a ZStack agent.
    ZStack,
}
