//! The running daemon: its tasks, and the order in which they stop.
//!
//! | task | on stop |
//! |---|---|
//! | server | stops accepting and finishes requests in flight, at most 3 s |
//! | registry | answers running attempts with `agent_stopping` |
//! | store tasks | wait up to 255 ms for SSH disconnects |
//! | heartbeat | ends, also in the middle of a request |
//! | reply poster | drops the pending replies; the management node repeats its requests |
//! | hook poster | ends, also in a request; the next start posts the results that are owed |
//! | certificate watch | ends |
//! | watchdog | ends |
//! | jobs | wait for the operations that run, which the store tasks answer |
//! | state disk watch | ends; a check that hangs is aborted |
//! | thread keeper | ends |
//! | notifier | makes one last delivery, at most 2 s, after all of the tasks above |
//! | reload | is dropped; a read that hangs keeps its thread |
//! | thread of the ledger | carries out the queued commands, at most 2 s, last |
//!
//! If a task fails or ends early, the daemon stops with exit status 70. A reload that fails is only
//! logged, at most 10 s after its start.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::process::ExitStatus;
use super::reload::Reload;
use super::startup::PreparedDaemon;
use super::tasks::{HttpDependencies, LAST_DELIVERY_TIMEOUT, TaskResult, TaskStarter};
use crate::agent::{DaemonContext, TrialLogins};
use crate::common::Timestamp;
use crate::http::{AccessKeyTable, Accounts, ClockWatch, TokenTable};
use crate::ledger::{LedgerWriter, OpenedLedger, StateDir};
use crate::management::SharedSigner;
use crate::notifier::NotifierHandle;
use crate::systemd::SystemdNotifications;

/// Time for the tasks other than the notifier to stop. Longer than the 3 s that the server drains.
const TASKS_STOP_TIMEOUT: Duration = Duration::from_secs(4);
/// Time for the ledger to close. A state disk that hangs must not delay the stop beyond it.
const LEDGER_CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

struct RunningDaemon {
    tasks: JoinSet<TaskResult>,
    /// The task of the notifier. Empty without a callback. It stops after the other tasks, because
    /// they may still add notices.
    notifier_tasks: JoinSet<TaskResult>,
    stop_tasks: CancellationToken,
    stop_notifier: CancellationToken,
    tokens: watch::Sender<Arc<TokenTable>>,
    access_keys: watch::Sender<Arc<AccessKeyTable>>,
    accounts: Arc<Accounts>,
    signer: SharedSigner,
    /// Requests a reload of the certificates.
    certificate_reload: Arc<Notify>,
    /// `None` without a callback.
    notifier_handle: Option<NotifierHandle>,
    writer: LedgerWriter,
}

impl PreparedDaemon {
    /// Runs the daemon until `stop` is cancelled or a task ends. Each message in `reloads` requests
    /// a reload of the settings in `config`.
    ///
    /// # Cancel safety
    /// Not cancel safe. A caller that drops the future skips the ordered stop.
    pub async fn run_daemon(
        self,
        config: Option<PathBuf>,
        stop: CancellationToken,
        mut reloads: mpsc::Receiver<()>,
    ) -> ExitStatus {
        let settings = self.settings.clone();
        let (addresses, listen_use) = (self.addresses(), self.listen_use);
        let (clock, settings_loaded) = (Arc::clone(&self.clock), Arc::clone(&self.settings_loaded));
        let notifications = SystemdNotifications::from_environment();
        // Holds the lock of the state directory until the end.
        let (mut running, _lock) = self.start(&notifications);
        info!(?addresses, version = env!("CARGO_PKG_VERSION"), "serving");
        notifications.notify_ready();
        let mut reload = Reload::new(config, listen_use, addresses, settings);
        let exit = loop {
            tokio::select! {
                () = stop.cancelled() => break ExitStatus::Ok,
                Some(()) = reloads.recv() => {
                    notifications.notify_reloading();
                    running.notifier_handle.iter().for_each(NotifierHandle::reset_gone);
                    running.certificate_reload.notify_one();
                    reload.start_read();
                }
                Some(read) = reload.finish_read() => {
                    let is_applied = reload.apply_result(
                        read,
                        &running.tokens,
                        &running.access_keys,
                        &running.accounts,
                        &running.signer,
                    );
                    if is_applied {
                        settings_loaded.set(clock.now());
                    }
                    notifications.notify_ready();
                }
                Some(result) = running.tasks.join_next() => {
                    log_unexpected_exit(result);
                    break ExitStatus::Internal;
                }
                Some(result) = running.notifier_tasks.join_next() => {
                    log_unexpected_exit(result);
                    break ExitStatus::Internal;
                }
                () = running.writer.wait_closed() => {
                    error!(task = "ledger", "task exited unexpectedly");
                    break ExitStatus::Internal;
                }
            }
        };
        notifications.notify_stopping();
        info!("stopping");
        running.stop().await;
        // The task that repeats the states that wait has ended.
        notifications.send_waiting(false);
        exit
    }

    fn start(self, notifications: &SystemdNotifications) -> (RunningDaemon, StateDir) {
        let Self {
            settings,
            state_dir,
            node,
            opened,
            client,
            signer,
            session_client,
            tokens,
            access_keys,
            accounts,
            tls,
            server,
            clock,
            random,
            lost_log_lines,
            settings_loaded,
            ..
        } = self;
        let OpenedLedger {
            ledger,
            writer,
            stores,
            trial_rejections,
            login_digest_key,
            jobs: stored_jobs,
            hooks: stored_hooks,
            job_key,
            epoch,
        } = opened;
        let epoch = Timestamp(i64::try_from(epoch.0).unwrap_or(i64::MAX));
        let clock_watch = ClockWatch::start(Arc::clone(&clock), epoch);
        let trial_logins = TrialLogins::new(login_digest_key, trial_rejections, clock.now());
        let (stop_tasks, stop_notifier) = (CancellationToken::new(), CancellationToken::new());
        let (stop, tasks) = (stop_tasks.clone(), JoinSet::new());
        let daemon = Arc::new(DaemonContext { node, ledger, clock, random });
        let mut starter = TaskStarter { settings, daemon, stop, tasks };

        let (notifier_handle, notifier_tasks) =
            client.map(|client| starter.start_notifier(client, stop_notifier.clone())).unzip();
        let registry = starter.start_agent(stores, trial_logins, notifier_handle.clone());
        let jobs = starter.start_jobs(&stored_jobs, job_key);
        let state_disk = starter.start_state_disk_watch();
        starter.start_thread_keeper();
        let conditions = starter.daemon_conditions(notifier_handle.as_ref(), &state_disk);
        if let Some(notifier) = &notifier_handle {
            starter.start_heartbeat(&registry, &conditions, notifier);
        }
        let replies = starter.start_reply_poster();
        let stored = (stored_jobs.as_slice(), stored_hooks);
        let guard = replies.url_guard().clone();
        let hooks = starter.start_hook_poster(guard, signer.clone(), jobs.clone(), stored);
        starter.start_watchdog(notifications, &registry);
        let certificate_reload = Arc::new(Notify::new());
        let tls = starter.start_certificate_watch(tls, &certificate_reload);
        let (tokens, tokens_receiver) = watch::channel(Arc::new(tokens));
        let (access_keys, access_keys_receiver) = watch::channel(Arc::new(access_keys));
        let dependencies = HttpDependencies {
            registry,
            tokens: tokens_receiver,
            session_client,
            access_keys: access_keys_receiver,
            accounts: Arc::clone(&accounts),
            tls,
            state_disk,
            conditions,
            notifier: notifier_handle.clone(),
            replies,
            jobs,
            hooks,
            clock: clock_watch,
            lost_log_lines,
            settings_loaded,
        };
        starter.start_http(server, dependencies);
        let running = RunningDaemon {
            tasks: starter.tasks,
            notifier_tasks: notifier_tasks.unwrap_or_default(),
            stop_tasks,
            stop_notifier,
            tokens,
            access_keys,
            accounts,
            signer,
            certificate_reload,
            notifier_handle,
            writer,
        };
        (running, state_dir)
    }
}

impl RunningDaemon {
    async fn stop(mut self) {
        self.stop_tasks.cancel();
        if timeout(TASKS_STOP_TIMEOUT, join_all(&mut self.tasks)).await.is_err() {
            warn!("stop timed out; remaining tasks are aborted");
        }
        self.stop_notifier.cancel();
        let delivery_timeout = LAST_DELIVERY_TIMEOUT + Duration::from_millis(250);
        if timeout(delivery_timeout, join_all(&mut self.notifier_tasks)).await.is_err() {
            warn!("last delivery timed out; the daemon repeats it after the next start");
        }
        self.tasks.abort_all();
        self.notifier_tasks.abort_all();
        if timeout(LEDGER_CLOSE_TIMEOUT, self.writer.close_ledger()).await.is_err() {
            warn!("ledger close timed out; acknowledged changes are on the state disk");
        }
    }
}

async fn join_all(tasks: &mut JoinSet<TaskResult>) {
    while let Some(result) = tasks.join_next().await {
        if !matches!(result, Ok((_, Ok(())))) {
            log_unexpected_exit(result);
        }
    }
}

fn log_unexpected_exit(result: Result<TaskResult, tokio::task::JoinError>) {
    match result {
        Ok((task, Ok(()))) => error!(task, "task exited unexpectedly"),
        Ok((task, Err(why))) => error!(task, why, "task failed"),
        Err(why) => error!(%why, "task panicked"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::startup::StartupFiles;
    use super::*;
    use crate::http::InheritedSockets;
    use crate::settings::Settings;

    #[tokio::test]
    async fn without_its_ledger_the_daemon_ends_with_an_internal_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings::built_in();
        settings.state.dir = dir.path().to_owned();
        settings.server.socket = dir.path().join("agent.sock");
        settings.server.listen = vec!["127.0.0.1:0".parse().unwrap()];
        let files = StartupFiles::read_files(&settings, None).unwrap();
        let prepared =
            PreparedDaemon::new(settings, files, InheritedSockets::default(), None).unwrap();
        prepared.opened.ledger.stop_thread();
        let (_reload, reloads) = mpsc::channel(1);
        let run = prepared.run_daemon(None, CancellationToken::new(), reloads);
        let exit = timeout(Duration::from_secs(20), run).await.expect("the daemon did not stop");
        assert_eq!(exit, ExitStatus::Internal);
    }
}
