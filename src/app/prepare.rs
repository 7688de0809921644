//! Prepares a start before the first task runs. After the files have been read, it opens the state
//! directory and the ledger and binds the sockets, in this order.

use std::net::SocketAddr;
use std::sync::Arc;

use super::exit::ExitStatus;
use super::secret_files::SecretFiles;
use crate::common::{Clock, Random, SystemClock, SystemRandom, Timestamp};
use crate::http::{BindError, HttpServer, InheritedSockets, TlsAcceptance, TokenTable};
use crate::ledger::{self, OpenError, OpenedLedger, StateDir, StateDirError};
use crate::management::CallbackClient;
use crate::model::NodeId;
use crate::settings::Settings;
use crate::systemd;

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
    pub(super) tls: Option<TlsAcceptance>,
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
        files: SecretFiles,
        inherited: InheritedSockets,
        epoch_floor: Option<Timestamp>,
    ) -> Result<Self, StartError> {
        let SecretFiles { tokens, client, tls, .. } = files;
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
