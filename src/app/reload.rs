//! Reload on SIGHUP: applies new callers and signing secrets, and names the sections that need a
//! restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::common::run_blocking;
use crate::http::{AccessKeyTable, AccountTable, Accounts, TokenTable};
use crate::management::{CallbackClient, EventSigner, load_signer};
use crate::settings::{AuthSettings, FilePolicy, ListenUse, Settings, environment_variables};

/// Maximum duration of one read. A disk that responds needs far less for these small files.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of reads at once, those that hang in the kernel included. Each holds a blocking
/// thread, and the name lookups need such threads too.
const MAX_CONCURRENT_READS: usize = 4;

/// The contents of the files, or the reason why they cannot be used.
type ReadFiles =
    Result<(Settings, TokenTable, AccessKeyTable, AccountTable, Option<EventSigner>), String>;

/// Reads settings, callers and signing secrets again while the daemon runs.
pub(super) struct Reload {
    /// The settings file, if one was named.
    config: Option<PathBuf>,
    listen_use: ListenUse,
    /// The settings in force.
    settings: Settings,
    /// The newest read. A read that it supersedes is dropped.
    current_read: JoinSet<ReadFiles>,
    read_permits: Arc<Semaphore>,
    read_timeout: Duration,
}

impl Reload {
    pub(super) fn new(config: Option<PathBuf>, listen_use: ListenUse, settings: Settings) -> Self {
        let read_permits = Arc::new(Semaphore::new(MAX_CONCURRENT_READS));
        Self {
            config,
            listen_use,
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
        let read = move || read_blocking(config.as_deref(), listen_use);
        self.current_read.spawn(read_files(read, read_permits, self.read_timeout));
    }

    /// Waits for the current read and returns its result. Returns `None` if no read runs.
    ///
    /// # Cancel safety
    /// Cancel safe. The read continues.
    pub(super) async fn finish_read(&mut self) -> Option<Result<ReadFiles, JoinError>> {
        self.current_read.join_next().await
    }

    /// Applies the result of a read. A fault in any of the files leaves everything unchanged.
    pub(super) fn apply_result(
        &mut self,
        read: Result<ReadFiles, JoinError>,
        tokens: &watch::Sender<Arc<TokenTable>>,
        access_keys: &watch::Sender<Arc<AccessKeyTable>>,
        accounts: &Accounts,
        client: Option<&CallbackClient>,
    ) {
        let (settings, new_tokens, new_keys, new_accounts, signer) =
            match read.unwrap_or_else(|panic| Err(panic.to_string())) {
                Ok(read) => read,
                Err(why) => {
                    error!(why, "reload failed; nothing changed");
                    return;
                }
            };
        tokens.send_replace(Arc::new(new_tokens));
        access_keys.send_replace(Arc::new(new_keys));
        accounts.replace_accounts(new_accounts, settings.auth.session_ttl);
        let auth = &self.settings.auth;
        self.settings.auth = AuthSettings {
            session_check_url: auth.session_check_url.clone(),
            session_check_role: auth.session_check_role,
            ..settings.auth.clone()
        };
        if let Some(client) = client {
            client.set_signer(signer);
            let file = &settings.callback.signing_secret_file;
            self.settings.callback.signing_secret_file.clone_from(file);
        }
        let sections = changed_sections(&self.settings, &settings);
        if sections.is_empty() {
            info!("callers and signing secrets reloaded");
        } else {
            warn!(
                ?sections,
                "callers and signing secrets reloaded; changes of other sections need a restart"
            );
        }
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

fn read_blocking(config: Option<&Path>, listen_use: ListenUse) -> ReadFiles {
    let settings = Settings::load_for(listen_use, config, environment_variables())
        .map_err(|error| error.to_string())?
        .settings;
    let policy = FilePolicy::of_daemon(&settings.state);
    let tokens = match &settings.auth.tokens_file {
        Some(path) => TokenTable::load_file(path, &policy).map_err(|error| error.to_string())?,
        None => TokenTable::default(),
    };
    let access_keys = AccessKeyTable::load_file(settings.auth.access_keys_file.as_deref(), &policy)
        .map_err(|error| error.to_string())?;
    let accounts = match &settings.auth.accounts_file {
        Some(path) => AccountTable::load_file(path, &policy).map_err(|error| error.to_string())?,
        None => AccountTable::default(),
    };
    let signer = load_signer(&settings.callback, &policy).map_err(|error| error.to_string())?;
    Ok((settings, tokens, access_keys, accounts, signer))
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
        reload.finish_read().await.unwrap().unwrap().unwrap_err()
    }

    #[tokio::test]
    async fn a_read_that_hangs_times_out_and_few_of_them_hold_threads() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("agent.toml");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut reload = Reload::new(Some(pipe.clone()), ListenUse::Opened, Settings::built_in());
        reload.read_timeout = Duration::from_millis(20);
        assert!(reload_error(&mut reload).await.contains("could not be read within"));
        // The read ends when a writer opens the pipe and closes it.
        drop(std::fs::OpenOptions::new().write(true).open(pipe).unwrap());

        reload.read_permits = Arc::new(Semaphore::new(0));
        assert!(reload_error(&mut reload).await.contains("earlier reloads"));
    }
}
