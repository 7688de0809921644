//! The typed settings, one struct a section of `config/agent.toml`; that file documents each key.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

/// All settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `[server]`
    pub server: ServerSettings,
    /// `[api]`
    pub api: ApiSettings,
    /// `[auth]`
    pub auth: AuthSettings,
    /// `[state]`
    pub state: StateSettings,
    /// `[storage]`
    pub storage: StorageSettings,
    /// `[monitor]`
    pub monitor: MonitorSettings,
    /// `[ssh]`
    pub ssh: SshSettings,
    /// `[callback]`
    pub callback: CallbackSettings,
}

/// `[server]`: how the daemon is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSettings {
    /// TCP addresses to listen on; at least one.
    pub listen: Vec<SocketAddr>,
    /// Prefix of the documented API, such as `/zstack`; empty or starts with `/`, never ends with it.
    pub base_path: String,
    /// The Unix socket; `agent.sock` in the state directory unless set.
    pub socket: PathBuf,
    /// Whether plain HTTP may listen off loopback.
    pub insecure_http: bool,
    /// Names a `Host` header may carry besides IP addresses and `localhost`.
    pub host_names: Vec<String>,
    /// Prefixes of the agent protocol and the health view; the first is the main one.
    pub agent_prefixes: Vec<String>,
    /// Networks that may speak the agent protocol; none turns it off.
    pub agent_allow: Vec<IpNet>,
    /// Whether `/metrics` needs no token. Takes effect later.
    pub open_metrics: bool,
    /// TLS on the TCP listeners.
    pub tls: Option<TlsSettings>,
}

/// `server.tls`.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsSettings {
    /// PEM chain of the server.
    pub cert: PathBuf,
    /// PEM key of the server.
    pub key: PathBuf,
    /// PEM CAs that client certificates must come from.
    pub client_ca: Option<PathBuf>,
    /// `name[:role]` a line: clients whose certificate takes the place of a session.
    pub clients_file: Option<PathBuf>,
}

/// `[api]`
#[derive(Clone, Debug, PartialEq)]
pub struct ApiSettings {
    /// Whether an action answers when it is done or at once with a job. Only `sync` so far.
    pub reply: ReplyMode,
}

/// `api.reply`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyMode {
    /// The answer is the result.
    Sync,
    /// The answer is 202 and a job. Takes effect later.
    Async,
}

/// `[auth]`
#[derive(Clone, Debug, PartialEq)]
pub struct AuthSettings {
    /// `name:sha256-hex[:role]` a line; without it TCP callers are refused.
    pub tokens_file: Option<PathBuf>,
}

/// `[state]`
#[derive(Clone, Debug, PartialEq)]
pub struct StateSettings {
    /// The daemon's own directory.
    pub dir: PathBuf,
    /// The key that seals stored secrets; else the systemd credential `master-key`, else a file made
    /// in `dir`.
    pub master_key_file: Option<PathBuf>,
}

/// `[storage]`
#[derive(Clone, Debug, PartialEq)]
pub struct StorageSettings {
    /// Absolute paths that image directories must be at or below; at least one.
    pub allowed_roots: Vec<String>,
    /// Whether an image directory may lie on the root filesystem.
    pub allow_root_disk: bool,
    /// Whether probes and attempts write.
    pub write_probe: bool,
    /// Time between probes that write, of a store that is well; 1 s to 1 h.
    pub write_probe_interval: Duration,
    /// Available bytes below which a store is full, at most 1 EiB; never subtracted from reported
    /// figures.
    pub reserved: u64,
    /// Share of the capacity in use that counts as near full; above 0, below `full`.
    pub near_full: f64,
    /// Share of the capacity in use that counts as full; at most 1.
    pub full: f64,
}

/// `[monitor]`
#[derive(Clone, Debug, PartialEq)]
pub struct MonitorSettings {
    /// Time between probes of a store, 1 s to 1 h.
    pub interval: Duration,
    /// How long a probe may take, 100 ms to 10 min; may exceed the interval.
    pub probe_deadline: Duration,
    /// How long a connect attempt may take, 1 s to 10 min.
    pub attempt_deadline: Duration,
    /// Soft faults in a row that disconnect, 1 to 100.
    pub fail_after: u32,
    /// Good probes in a row after a storage fault that start an attempt, 1 to 100.
    pub recover_after: u32,
    /// Whether the daemon starts attempts by itself.
    pub auto_reconnect: bool,
    /// Time between logins of the monitor, of a store that is well; 10 s to 24 h.
    pub ssh_interval: Duration,
}

/// `[ssh]`
#[derive(Clone, Debug, PartialEq)]
pub struct SshSettings {
    /// 100 ms to 1 min.
    pub resolve_timeout: Duration,
    /// 100 ms to 1 min.
    pub connect_timeout: Duration,
    /// From the TCP connection to the end of the key exchange, the banner included; 100 ms to 2 min.
    pub handshake_timeout: Duration,
    /// 4 s to 5 min, because PAM delays a refusal by 3 s.
    pub auth_timeout: Duration,
    /// What counts as the right host key.
    pub host_key_policy: HostKeyPolicy,
    /// Networks a store's hostname may resolve to, besides this host's own addresses.
    pub allowed_targets: Vec<IpNet>,
    /// Whether the host behind the login must prove to be this node. Takes effect later.
    pub prove_host: bool,
    /// Algorithms re-enabled, by their SSH names: key exchanges, ciphers, MACs, and `ssh-rsa` for
    /// RSA signatures with SHA-1. A name that the build does not have is warned of.
    pub legacy: Vec<String>,
}

/// `ssh.host_key_policy`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostKeyPolicy {
    /// The first key seen is pinned and every later one compared with it.
    PinOnFirstUse,
    /// Only a fingerprint given with the store, or a pinned key, is taken.
    Strict,
    /// Any key is taken.
    AcceptAny,
}

/// `[callback]`: where the management node is told.
#[derive(Clone, Debug, PartialEq)]
pub struct CallbackSettings {
    /// Absolute `http` or `https` URLs in order of preference; none: transitions go to the history
    /// only. Only the first is used so far.
    pub urls: Vec<String>,
    /// The shape of the body.
    pub format: CallbackFormat,
    /// `whsec_` and base64, one a line.
    pub signing_secret_file: Option<PathBuf>,
    /// PEM CAs to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM client certificate chain. Goes with `client_key`.
    pub client_cert: Option<PathBuf>,
    /// PEM client key.
    pub client_key: Option<PathBuf>,
    /// 1 s to 1 h. Takes effect later.
    pub heartbeat: Duration,
    /// Notices kept per store before they fold into one, 10 to 1,000,000.
    pub max_pending: u32,
    /// First events after a start are spread over this time, 0 s to 1 min.
    pub start_spread: Duration,
}

/// `callback.format`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallbackFormat {
    /// CloudEvents 1.0 with Standard Webhooks headers.
    CloudEvents,
    /// The body and headers of a ZStack agent.
    ZStack,
}
