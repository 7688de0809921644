//! The steps of a start before the first task runs: reads the files that the settings name, opens
//! the state directory and the ledger, and binds the sockets, in this order. The command
//! `check-config` takes the first step alone.
//!
//! # Guarantees
//! - `serve` accepts every configuration that `check-config` accepts, because both read the files
//!   with [`StartupFiles::read_files`].

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use super::process::ExitStatus;
use crate::common::{Clock, Random, SystemClock, SystemRandom, Timestamp};
use crate::http::{BindError, HttpServer, InheritedSockets, TlsListenerConfig, TokenTable};
use crate::ledger::{self, OpenError, OpenedLedger, StateDir, StateDirError};
use crate::management::{CallbackClient, RequestTimeouts};
use crate::model::NodeId;
use crate::settings::{
    SettingFault, Settings, SettingsError, environment_variables, format_report, required_at_start,
};
use crate::systemd;

/// The contents of all files that a start reads before it opens the state directory.
#[derive(Debug)]
pub struct StartupFiles {
    pub(super) tokens: TokenTable,
    pub(super) client: Option<CallbackClient>,
    pub(super) tls: Option<TlsListenerConfig>,
    /// Faults of the files that cannot be read and that a start does not need.
    pub(super) optional_failures: Vec<SettingFault>,
}

impl StartupFiles {
    /// Reads all files. The call blocks on them and needs no runtime.
    ///
    /// # Errors
    /// Returns every fault of every file. A fault names the line of a possible secret and never
    /// shows its text.
    pub fn read_files(settings: &Settings) -> Result<Self, SettingsError> {
        let mut faults = settings.check_files();
        let unreadable_keys: Vec<String> = faults.iter().map(|fault| fault.key.clone()).collect();
        let mut content_faults = Vec::new();
        let tokens = match &settings.auth.tokens_file {
            Some(path) => TokenTable::load_file(path),
            None => Ok(TokenTable::default()),
        };
        let tokens = SettingsError::gather(tokens, &mut content_faults);
        let client = CallbackClient::new(&settings.callback, RequestTimeouts::default());
        let client = SettingsError::gather(client, &mut content_faults);
        let tls = settings.server.tls.as_ref().map(TlsListenerConfig::load).transpose();
        let tls = SettingsError::gather(tls, &mut content_faults);
        // `check_files` has already reported the files that cannot be read.
        faults.extend(
            content_faults.into_iter().filter(|fault| !unreadable_keys.contains(&fault.key)),
        );
        match (tokens, client, tls) {
            (Some(tokens), Some(client), Some(tls))
                if !faults.iter().any(|fault| required_at_start(&fault.key)) =>
            {
                Ok(Self { tokens, client, tls, optional_failures: faults })
            }
            _ => Err(SettingsError::new(faults)),
        }
    }
}

/// Loads and validates the settings and their files, and prints the faults or the success.
pub fn check_config(config: Option<&Path>) -> ExitStatus {
    match validate_settings(config) {
        Ok(settings) => {
            for key in settings.not_yet() {
                println!("{key}: this setting has no effect in this version");
            }
            println!("settings OK");
            ExitStatus::Ok
        }
        Err(error) => {
            eprint!("{}", format_report(error.setting_faults()));
            ExitStatus::Settings
        }
    }
}

/// Returns the settings if they and all of their files are usable. This is stricter than a start,
/// which can do without some files.
fn validate_settings(config: Option<&Path>) -> Result<Settings, SettingsError> {
    let settings = Settings::load(config, environment_variables())?;
    let StartupFiles { optional_failures, .. } = StartupFiles::read_files(&settings)?;
    if optional_failures.is_empty() {
        Ok(settings)
    } else {
        Err(SettingsError::new(optional_failures))
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
}

impl StartError {
    /// Returns the exit status for this error.
    pub fn exit_status(&self) -> ExitStatus {
        match self {
            Self::StateDir(StateDirError::Locked { .. }) => ExitStatus::Locked,
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
    pub(super) state_dir: StateDir,
    pub(super) node: NodeId,
    pub(super) opened: OpenedLedger,
    pub(super) client: Option<CallbackClient>,
    pub(super) tokens: TokenTable,
    pub(super) tls: Option<TlsListenerConfig>,
    pub(super) server: HttpServer,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn Random>,
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
        let StartupFiles { tokens, client, tls, .. } = files;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let random: Arc<dyn Random> = Arc::new(SystemRandom::default());
        let state_dir = StateDir::open(&settings.state.dir)?;
        let node = state_dir.node_id(random.as_ref())?;
        let credentials = systemd::credentials_directory();
        // The ledger uses this time for its epoch.
        let now = clock.now().max(epoch_floor.unwrap_or_default());
        let opened = ledger::open_ledger(&state_dir, &settings.state, credentials.as_deref(), now)?;
        let server = HttpServer::bind(&settings.server, inherited)?;
        Ok(Self { settings, state_dir, node, opened, client, tokens, tls, server, clock, random })
    }

    /// Returns the TCP addresses on which the server listens.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.server.addresses()
    }
}
