//! Reload on SIGHUP: applies new callers and signing secrets, and names the sections that need a
//! restart.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::serve::{log_doubts, log_unsafe_files};
use crate::common::run_blocking;
use crate::http::{AccessKeyTable, AccountTable, Accounts, TokenTable};
use crate::management::{EventSigner, SharedSigner, load_signer};
use crate::settings::{
    AuthSettings, FilePolicy, ListenUse, SettingFault, Settings, SettingsError, StateSettings,
    environment_variables, is_read_at_reload, settings_file,
};

/// Maximum duration of one read. A disk that responds needs far less for these small files.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of reads at once, those that hang in the kernel included. Each holds a blocking
/// thread, and the name lookups need such threads too.
const MAX_CONCURRENT_READS: usize = 4;

/// The contents of the files.
pub(super) struct ReloadedFiles {
    settings: Settings,
    tokens: TokenTable,
    access_keys: AccessKeyTable,
    accounts: AccountTable,
    signer: Option<EventSigner>,
    /// Faults of the files that are used, although other users can read or replace them.
    unsafe_files: Vec<SettingFault>,
    /// Warnings of the secrets that can be guessed.
    weak_secrets: Vec<SettingFault>,
}

/// The contents of the files, or the reason why they cannot be used.
type ReadFiles = Result<ReloadedFiles, String>;

/// Reads settings, callers and signing secrets again while the daemon runs.
pub(super) struct Reload {
    /// The settings file, if one was named.
    config: Option<PathBuf>,
    listen_use: ListenUse,
    /// The addresses that the daemon listens on.
    addresses: Vec<SocketAddr>,
    /// The settings in force.
    settings: Settings,
    /// The newest read. A read that it supersedes is dropped.
    current_read: JoinSet<ReadFiles>,
    read_permits: Arc<Semaphore>,
    read_timeout: Duration,
}

impl Reload {
    pub(super) fn new(
        config: Option<PathBuf>,
        listen_use: ListenUse,
        addresses: Vec<SocketAddr>,
        settings: Settings,
    ) -> Self {
        let read_permits = Arc::new(Semaphore::new(MAX_CONCURRENT_READS));
        Self {
            config,
            listen_use,
            addresses,
            settings,
            current_read: JoinSet::new(),
            read_permits,
            read_timeout: READ_TIMEOUT,
        }
    }

    /// Starts a read. The result of a read that still runs is discarded, because the files may have
    /// changed since it started.
    pub(super) fn start_read(&mut self) {
        self.current_read = JoinSet::new();
        let read_permits = Arc::clone(&self.read_permits);
        let (config, listen_use) = (self.config.clone(), self.listen_use);
        let state = self.settings.state.clone();
        let read = move || read_blocking(config.as_deref(), listen_use, &state);
        self.current_read.spawn(read_files(read, read_permits, self.read_timeout));
    }

    /// Waits for the current read and returns its result. Returns `None` if no read runs.
    ///
    /// # Cancel safety
    /// Cancel safe. The read continues.
    pub(super) async fn finish_read(&mut self) -> Option<Result<ReadFiles, JoinError>> {
        self.current_read.join_next().await
    }

    /// Applies the result of a read. Returns true if it was applied: a fault in any of the files
    /// leaves everything unchanged.
    pub(super) fn apply_result(
        &mut self,
        read: Result<ReadFiles, JoinError>,
        tokens: &watch::Sender<Arc<TokenTable>>,
        access_keys: &watch::Sender<Arc<AccessKeyTable>>,
        accounts: &Accounts,
        shared_signer: &SharedSigner,
    ) -> bool {
        let files = match read.unwrap_or_else(|panic| Err(panic.to_string())) {
            Ok(files) => files,
            Err(why) => {
                error!(why, "reload failed; nothing changed");
                return false;
            }
        };
        let settings = files.settings;
        tokens.send_replace(Arc::new(files.tokens));
        access_keys.send_replace(Arc::new(files.access_keys));
        accounts.replace_accounts(files.accounts, settings.auth.session_ttl);
        let auth = &self.settings.auth;
        self.settings.auth = AuthSettings {
            session_check_url: auth.session_check_url.clone(),
            session_check_role: auth.session_check_role,
            ..settings.auth.clone()
        };
        shared_signer.replace(files.signer);
        let file = &settings.callback.signing_secret_file;
        self.settings.callback.signing_secret_file.clone_from(file);
        let mut unsafe_files = files.unsafe_files;
        // The TLS files of other settings are not in use before a restart.
        let is_tls_in_use = self.settings.server.tls == settings.server.tls;
        unsafe_files.retain(|fault| is_tls_in_use || !fault.key.starts_with("server.tls."));
        log_unsafe_files(&unsafe_files);
        log_doubts(&files.weak_secrets, &self.settings.doubts(&self.addresses));
        let sections = changed_sections(&self.settings, &settings);
        if sections.is_empty() {
            info!("callers and signing secrets reloaded");
        } else {
            warn!(
                ?sections,
                "callers and signing secrets reloaded; changes of other sections need a restart"
            );
        }
        true
    }
}

async fn read_files(
    read: impl FnOnce() -> ReadFiles + Send + 'static,
    read_permits: Arc<Semaphore>,
    read_timeout: Duration,
) -> ReadFiles {
    let Ok(permit) = read_permits.try_acquire_owned() else {
        return Err("earlier reloads still read their files".to_owned());
    };
    let reading = run_blocking(Instant::now() + read_timeout, move || {
        let _permit = permit;
        read()
    });
    reading.await.unwrap_or_else(|error| {
        Err(format!("the files could not be read within {read_timeout:?}: {error}"))
    })
}

/// Reads the files. `state` is the section that the daemon runs with: its policy decides which
/// files are safe until the next start.
fn read_blocking(config: Option<&Path>, listen_use: ListenUse, state: &StateSettings) -> ReadFiles {
    let settings = Settings::load_for(listen_use, config, environment_variables())
        .map_err(|error| error.to_string())?
        .settings;
    let takes_more = settings.state.trust_file_modes && !state.trust_file_modes;
    let policy = FilePolicy::of_daemon(state);
    read_named_files(settings, config, &policy).map_err(|error| match takes_more {
        true => format!("{error}; the new state.trust_file_modes takes effect after a restart"),
        false => error.to_string(),
    })
}

fn read_named_files(
    settings: Settings,
    config: Option<&Path>,
    policy: &FilePolicy,
) -> Result<ReloadedFiles, SettingsError> {
    let auth = &settings.auth;
    let tokens = TokenTable::load_file(auth.tokens_file.as_deref(), policy)?;
    let keys_file = auth.access_keys_file.as_deref();
    let access_keys = AccessKeyTable::load_file(keys_file, policy)?;
    let accounts = AccountTable::load_file(auth.accounts_file.as_deref(), policy)?;
    let signer = load_signer(&settings.callback, policy)?;
    let weak_secrets = keys_file.map(|path| access_keys.doubts(path)).unwrap_or_default();
    let source = settings_file(config, environment_variables());
    let mut unsafe_files = settings.inspect_files(Some(&source), policy).warnings;
    unsafe_files.retain(|fault| is_read_at_reload(&fault.key));
    Ok(ReloadedFiles {
        settings,
        tokens,
        access_keys,
        accounts,
        signer,
        unsafe_files,
        weak_secrets,
    })
}

fn changed_sections(old: &Settings, new: &Settings) -> Vec<&'static str> {
    [
        ("server", old.server != new.server),
        ("api", old.api != new.api),
        ("auth", old.auth != new.auth),
        ("state", old.state != new.state),
        ("storage", old.storage != new.storage),
        ("monitor", old.monitor != new.monitor),
        ("ssh", old.ssh != new.ssh),
        ("callback", old.callback != new.callback),
    ]
    .into_iter()
    .filter_map(|(section, differs)| differs.then_some(section))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn reload_error(reload: &mut Reload) -> String {
        reload.start_read();
        reload.finish_read().await.unwrap().unwrap().err().unwrap()
    }

    #[tokio::test]
    async fn a_read_that_hangs_times_out_and_few_of_them_hold_threads() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("agent.toml");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let config = Some(pipe.clone());
        let mut reload = Reload::new(config, ListenUse::Opened, Vec::new(), Settings::built_in());
        reload.read_timeout = Duration::from_millis(20);
        assert!(reload_error(&mut reload).await.contains("could not be read within"));
        // The read ends when a writer opens the pipe and closes it.
        drop(std::fs::OpenOptions::new().write(true).open(pipe).unwrap());

        reload.read_permits = Arc::new(Semaphore::new(0));
        assert!(reload_error(&mut reload).await.contains("earlier reloads"));
    }
}
