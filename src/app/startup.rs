//! The steps of a start before the first task runs: reads the files that the settings name, opens
//! the state directory and the ledger, and binds the sockets, in this order. The command
//! `check-config` takes the first step alone, and looks at the locations of the others.
//!
//! # Guarantees
//! - `serve` accepts every configuration that `check-config` accepts, because both read the files
//!   with [`StartupFiles::read_files`].
//!
//! # Never
//! - `check-config` never changes anything, and never fails because of a daemon that runs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::warn;

use super::daemon_access::inspect_daemon_access;
use super::location_check::{STATE_DIR, inspect_locations};
use super::process::ExitStatus;
use crate::common::{
    Clock, Counter, FileRisk, LastTime, Random, SystemClock, SystemRandom, Timestamp,
    escape_hidden, inspect_folder, print_text, report_text,
};
use crate::http::{
    AccessKeyTable, AccountTable, Accounts, BindError, HttpServer, InheritedSockets,
    TlsListenerConfig, TokenTable,
};
use crate::ledger::{self, MasterKeyError, OpenError, OpenedLedger, StateDir, StateDirError};
use crate::management::{
    CallbackClient, RequestTimeouts, SessionCheckClient, SessionCheckTimes, SharedSigner,
    load_signer,
};
use crate::model::NodeId;
use crate::settings::{
    FilePolicy, ListenUse, LoadedSettings, SettingFault, Settings, SettingsError,
    environment_variables, format_report, is_required_at_start, settings_file,
};
use crate::systemd;

/// The contents of all files that a start reads before it opens the state directory.
#[derive(Debug)]
pub struct StartupFiles {
    pub(super) tokens: TokenTable,
    pub(super) access_keys: AccessKeyTable,
    pub(super) accounts: AccountTable,
    pub(super) client: Option<CallbackClient>,
    /// The signer of events and of results for web hooks.
    pub(super) signer: SharedSigner,
    pub(super) session_client: Option<SessionCheckClient>,
    pub(super) tls: Option<TlsListenerConfig>,
    /// Faults of the files that cannot be read and that a start does not need.
    pub(super) optional_failures: Vec<SettingFault>,
    /// Faults of the files that are used, although other users can read or replace them.
    pub(super) unsafe_files: Vec<SettingFault>,
    /// Warnings of the secrets that can be guessed.
    pub(super) weak_secrets: Vec<SettingFault>,
}

impl StartupFiles {
    /// Reads all files. The call blocks on them and needs no runtime.
    ///
    /// # Errors
    /// Returns every fault of every file. A fault names the line of a possible secret and never
    /// shows its text.
    pub fn read_files(settings: &Settings, config: Option<&Path>) -> Result<Self, SettingsError> {
        let source = settings_file(config, environment_variables());
        let policy = FilePolicy::of_daemon(&settings.state);
        let report = settings.inspect_files(Some(&source), &policy);
        let is_startable = report.refused.is_empty();
        let mut faults = [report.unreadable, report.refused].concat();
        let reported_keys: Vec<String> = faults.iter().map(|fault| fault.key.clone()).collect();
        let mut content_faults = Vec::new();
        let tokens = TokenTable::load_file(settings.auth.tokens_file.as_deref(), &policy);
        let tokens = SettingsError::gather(tokens, &mut content_faults);
        let keys_file = settings.auth.access_keys_file.as_deref();
        let access_keys = AccessKeyTable::load_file(keys_file, &policy);
        let access_keys = SettingsError::gather(access_keys, &mut content_faults);
        let accounts = AccountTable::load_file(settings.auth.accounts_file.as_deref(), &policy);
        let accounts = SettingsError::gather(accounts, &mut content_faults);
        let client = CallbackClient::new(&settings.callback, &policy, RequestTimeouts::default());
        let client = SettingsError::gather(client, &mut content_faults);
        let signer = match &client {
            Some(Some(client)) => Some(client.signer()),
            // The client has reported the faults of the secrets.
            None => None,
            Some(None) => {
                let signer = load_signer(&settings.callback, &policy);
                SettingsError::gather(signer, &mut content_faults).map(SharedSigner::new)
            }
        };
        let session_client = new_session_client(settings, &policy);
        let session_client = SettingsError::gather(session_client, &mut content_faults);
        let tls = settings.server.tls.as_ref();
        let tls = tls.map(|tls| TlsListenerConfig::load(tls, &policy)).transpose();
        let tls = SettingsError::gather(tls, &mut content_faults);
        // The report has these files already.
        faults
            .extend(content_faults.into_iter().filter(|fault| !reported_keys.contains(&fault.key)));
        match (tokens, access_keys, accounts, client, signer, session_client, tls) {
            (
                Some(tokens),
                Some(access_keys),
                Some(accounts),
                Some(client),
                Some(signer),
                Some(session_client),
                Some(tls),
            ) if is_startable && !faults.iter().any(|fault| is_required_at_start(&fault.key)) => {
                let unsafe_files = report.warnings;
                let weak_secrets =
                    keys_file.map(|path| access_keys.doubts(path)).unwrap_or_default();
                Ok(Self {
                    tokens,
                    access_keys,
                    accounts,
                    client,
                    signer,
                    session_client,
                    tls,
                    optional_failures: faults,
                    unsafe_files,
                    weak_secrets,
                })
            }
            _ => Err(SettingsError::new(faults)),
        }
    }
}

/// Returns the client of `auth.session_check_url`, or `None` if it is not set.
fn new_session_client(
    settings: &Settings,
    policy: &FilePolicy,
) -> Result<Option<SessionCheckClient>, SettingsError> {
    let timeouts = SessionCheckTimes::default().request_timeouts();
    SessionCheckClient::new(&settings.auth, &settings.callback, policy, timeouts)
}

/// Loads and validates the settings, their files and the locations that a start uses, and prints
/// the faults or the success.
pub fn check_config(config: Option<&Path>) -> ExitStatus {
    let (tcp, unix) = systemd::inherited_listeners();
    let inherited = InheritedSockets { tcp, unix };
    match validate_settings(config, &inherited) {
        Ok((settings, warnings)) => {
            let addresses = inherited.listen_addresses(&settings.server.listen);
            let warnings = warnings.into_iter().chain(settings.doubts(&addresses));
            let warnings = warnings.map(|fault| format!("warning: {fault}"));
            let lines = warnings.chain(["settings OK".to_owned()]);
            let text: String = lines.map(|line| format!("{}\n", escape_hidden(&line))).collect();
            ExitStatus::Ok.after_output(print_text(&text))
        }
        Err(error) => {
            report_text(&format_report(error.setting_faults()));
            ExitStatus::Settings
        }
    }
}

/// Returns the settings if they, all of their files and the locations are usable, and the files and
/// locations to warn of. This is stricter than a start, which can do without some files.
fn validate_settings(
    config: Option<&Path>,
    inherited: &InheritedSockets,
) -> Result<(Settings, Vec<SettingFault>), SettingsError> {
    let loaded = Settings::load_for(inherited.listen_use(), config, environment_variables())?;
    let LoadedSettings { settings, origins } = loaded;
    let locations = inspect_locations(&settings, inherited.unix.is_empty());
    let (mut faults, mut warnings) = match StartupFiles::read_files(&settings, config) {
        Ok(StartupFiles { optional_failures, unsafe_files, weak_secrets, .. }) => {
            (optional_failures, [unsafe_files, weak_secrets].concat())
        }
        Err(error) => (error.into_faults(), Vec::new()),
    };
    for (list, of_locations) in
        [(&mut faults, locations.faults), (&mut warnings, locations.warnings)]
    {
        // The look at the state directory has found its files too.
        list.retain(|fault| fault.key != STATE_DIR);
        list.splice(0..0, of_locations);
    }
    let source = settings_file(config, environment_variables());
    let access = inspect_daemon_access(&settings, &source);
    faults.extend(access.faults);
    warnings.extend(access.warnings);
    match faults.is_empty() {
        true => Ok((settings, warnings)),
        false => Err(SettingsError::new(origins.annotate(faults))),
    }
}

/// The daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory is locked or cannot be used.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// The ledger cannot be opened.
    #[error(transparent)]
    Ledger(#[from] OpenError),
    /// A socket cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Another user can replace the socket.
    #[error("the folder of server.socket, {path}, {risk}: correct it, or choose another folder")]
    UnsafeSocketFolder {
        /// The folder.
        path: PathBuf,
        /// The reason.
        risk: FileRisk,
    },
}

impl StartError {
    /// Returns the exit status for this error.
    pub fn exit_status(&self) -> ExitStatus {
        match self {
            Self::StateDir(StateDirError::Locked { .. }) => ExitStatus::Locked,
            Self::StateDir(StateDirError::Unsafe { .. })
            | Self::Ledger(OpenError::MasterKey(MasterKeyError::Unsafe { .. }))
            | Self::UnsafeSocketFolder { .. } => ExitStatus::Settings,
            Self::StateDir(StateDirError::NodeId { .. }) => ExitStatus::Ledger,
            Self::StateDir(_) => ExitStatus::Internal,
            Self::Ledger(OpenError::Damaged { .. } | OpenError::Newer { .. }) => ExitStatus::Ledger,
            Self::Ledger(_) => ExitStatus::Internal,
            Self::Bind(_) => ExitStatus::Bind,
        }
    }
}

/// A daemon that is ready to run.
pub struct PreparedDaemon {
    pub(super) settings: Settings,
    pub(super) listen_use: ListenUse,
    pub(super) state_dir: StateDir,
    pub(super) node: NodeId,
    pub(super) opened: OpenedLedger,
    pub(super) client: Option<CallbackClient>,
    pub(super) signer: SharedSigner,
    pub(super) session_client: Option<SessionCheckClient>,
    pub(super) tokens: TokenTable,
    pub(super) access_keys: AccessKeyTable,
    pub(super) accounts: Arc<Accounts>,
    pub(super) tls: Option<TlsListenerConfig>,
    pub(super) server: HttpServer,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn Random>,
    /// Number of lines that the log has lost.
    pub(super) lost_log_lines: Arc<Counter>,
    /// The time at which the settings were last taken over: at this start, or at a reload.
    pub(super) settings_loaded: Arc<LastTime>,
}

impl PreparedDaemon {
    /// Opens the state directory and the ledger, and binds the sockets. The new epoch is not below
    /// `epoch_floor`. The call blocks on the state disk and needs no runtime.
    ///
    /// # Errors
    /// Returns [`StartError`]. A ledger that cannot be used stays unchanged.
    pub fn new(
        settings: Settings,
        files: StartupFiles,
        inherited: InheritedSockets,
        epoch_floor: Option<Timestamp>,
    ) -> Result<Self, StartError> {
        let StartupFiles {
            tokens, access_keys, accounts, client, signer, session_client, tls, ..
        } = files;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let random: Arc<dyn Random> = Arc::new(SystemRandom::default());
        let session_ttl = settings.auth.session_ttl;
        let accounts =
            Accounts::new(accounts, session_ttl, Arc::clone(&clock), Arc::clone(&random));
        let policy = FilePolicy::of_daemon(&settings.state);
        let state_dir = StateDir::open(&settings.state.dir, &policy)?;
        let node = state_dir.node_id(random.as_ref())?;
        let credentials = systemd::credentials_directory();
        // The ledger uses this time for its epoch.
        let now = clock.now().max(epoch_floor.unwrap_or_default());
        let opened = ledger::open_ledger(&state_dir, &settings.state, credentials.as_deref(), now)?;
        if inherited.unix.is_empty() {
            check_socket_folder(&settings.server.socket, &policy)?;
        }
        let listen_use = inherited.listen_use();
        let server = HttpServer::bind(&settings.server, inherited)?;
        let settings_loaded = Arc::<LastTime>::default();
        settings_loaded.set(clock.now());
        Ok(Self {
            settings,
            listen_use,
            state_dir,
            node,
            opened,
            client,
            signer,
            session_client,
            tokens,
            access_keys,
            accounts: Arc::new(accounts),
            tls,
            server,
            clock,
            random,
            lost_log_lines: Arc::default(),
            settings_loaded,
        })
    }

    /// Replaces the number of lines that the log has lost, which is 0 without a log of this
    /// process.
    #[must_use]
    pub fn with_lost_log_lines(self, lost_log_lines: Arc<Counter>) -> Self {
        Self { lost_log_lines, ..self }
    }

    /// Returns the TCP addresses on which the server listens.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.server.addresses()
    }
}

/// Checks that no other user can replace the socket, because clients send secrets to it. A folder
/// that does not exist is left to the bind.
fn check_socket_folder(socket: &Path, policy: &FilePolicy) -> Result<(), StartError> {
    let Some(folder) = socket.parent() else { return Ok(()) };
    match inspect_folder(folder, policy.trusted) {
        Ok(Some(risk)) if !policy.takes_unsafe => {
            Err(StartError::UnsafeSocketFolder { path: folder.to_owned(), risk })
        }
        Ok(Some(risk)) => {
            warn!(path = %folder.display(), %risk, "socket folder not safe");
            Ok(())
        }
        _ => Ok(()),
    }
}
