//! The running daemon: which tasks there are, and the order in which they stop.
//!
//! | task | on stop | on error |
//! |---|---|---|
//! | server | stops accepting, finishes what is in flight, at most 3 s | the daemon stops, exit 70 |
//! | registry and its stores | answers running attempts with `agent_stopping`, waits up to 255 ms for SSH disconnects | the daemon stops, exit 70 |
//! | notifier | one last try, at most 2 s, after the two above | the daemon stops, exit 70 |
//! | heartbeat | ends, in the middle of a request too | the daemon stops, exit 70 |
//! | answers of the agent protocol | dropped: the management node asks again | the daemon stops, exit 70 |
//! | certificates | ends | the daemon stops, exit 70 |
//! | signs of life to systemd | ends | the daemon stops, exit 70 |
//! | a reload | left behind | logged, at most after 10 s |
//! | state disk watch | aborted | the daemon stops, exit 70 |
//! | ledger's thread | carries out what waits, at most 2 s | the daemon stops, exit 70 |

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::cert_reload;
use super::exit::ExitStatus;
use super::prepare::PreparedDaemon;
use super::reload::Reload;
use super::state_disk;
use crate::agent::{
    AgentContext, DaemonConditions, DeliveryMonitor, OutboxSignal, RegistryTask, TrialLogins,
};
use crate::http::{DaemonInfo, ServerContext, TokenTable};
use crate::ledger::{LedgerWriter, OpenedLedger};
use crate::lifecycle::{CheckPolicy, SpaceThresholds};
use crate::management::{CallbackClient, ReplyQueue, RequestTimeouts, UrlGuard};
use crate::notifier::{HeartbeatTask, NotifierContext, NotifierHandle, NotifierTask};
use crate::probe::{ProbeOptions, Prober};
use crate::settings::{CallbackFormat, HostKeyPolicy, Settings};
use crate::ssh::Verifier;
use crate::systemd;
use crate::systemd::watchdog;
use crate::wire::EventFormat;

const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);
const STORES_TIMEOUT: Duration = Duration::from_secs(4);
const LAST_DELIVERY_TIMEOUT: Duration = Duration::from_secs(2);
const LEDGER_CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// A probe that takes this long is slow: hundreds of times what a good disk needs, spawning included.
const SLOW_SHUTDOWN: Duration = Duration::from_secs(1);

/// Which task ended, and what it complained of.
type EndedTask = (&'static str, Result<(), String>);

struct RunningDaemon {
    tasks: JoinSet<EndedTask>,
    /// Empty without a callback. It stops last: the others may have something to tell.
    notifier: JoinSet<EndedTask>,
    stop_tasks: CancellationToken,
    stop_notifier: CancellationToken,
    tokens: watch::Sender<Arc<TokenTable>>,
    /// None without a callback.
    client: Option<CallbackClient>,
    /// Has the certificates read again.
    certificate_reload: Arc<Notify>,
    /// None without a callback.
    receivers: Option<NotifierHandle>,
    writer: LedgerWriter,
}

impl PreparedDaemon {
    /// Runs until `stop` is cancelled or a task breaks off. `reloads` asks for the settings of
    /// `config` to be read again.
    ///
    /// # Cancel safety
    /// Not to be dropped while it runs: the order of the stop is its promise.
    pub async fn run_daemon(
        self,
        config: Option<PathBuf>,
        stop: CancellationToken,
        mut reloads: mpsc::Receiver<()>,
    ) -> ExitStatus {
        let settings = self.settings.clone();
        let addresses = self.addresses();
        // Held to the end: it is the lock of the state directory.
        let (mut running, _lock) = self.start();
        info!(?addresses, version = env!("CARGO_PKG_VERSION"), "serving");
        systemd::notify_ready();
        let mut reload = Reload::new(config, settings);
        let exit = loop {
            tokio::select! {
                () = stop.cancelled() => break ExitStatus::Ok,
                Some(()) = reloads.recv() => {
                    systemd::notify_reloading();
                    running.receivers.iter().for_each(NotifierHandle::reset_gone);
                    running.certificate_reload.notify_one();
                    reload.start_read();
                }
                Some(read) = reload.finish_read() => {
                    reload.take_result(read, &running.tokens, running.client.as_ref());
                    systemd::notify_ready();
                }
                Some(ended) = running.tasks.join_next() => {
                    log_unexpected_exit(ended);
                    break ExitStatus::Internal;
                }
                Some(ended) = running.notifier.join_next() => {
                    log_unexpected_exit(ended);
                    break ExitStatus::Internal;
                }
                () = running.writer.wait_closed() => {
                    error!(task = "ledger", "a task ended by itself");
                    break ExitStatus::Internal;
                }
            }
        };
        systemd::notify_stopping();
        info!("stopping");
        running.stop().await;
        exit
    }

    fn start(self) -> (RunningDaemon, crate::ledger::StateDir) {
        let Self { settings, state_dir, node, opened, client, tokens, tls, server, clock, random } =
            self;
        let OpenedLedger { ledger, writer, stores, .. } = opened;
        let (mut tasks, mut sending): (JoinSet<EndedTask>, JoinSet<EndedTask>) = Default::default();
        let (stop_early, stop_notifier) = (CancellationToken::new(), CancellationToken::new());

        let signing = client.clone();
        let mut notifier_handle = None;
        let outbox = client.map(|client| {
            let means = NotifierContext {
                ledger: ledger.clone(),
                client,
                node,
                format: match settings.callback.format {
                    CallbackFormat::CloudEvents => EventFormat::CloudEvents,
                    CallbackFormat::ZStack => EventFormat::ZStack,
                },
                max_pending: settings.callback.max_pending,
                start_spread: settings.callback.start_spread,
                last_try: LAST_DELIVERY_TIMEOUT,
                clock: Arc::clone(&clock),
                random: Arc::clone(&random),
            };
            let (handle, notifier) = NotifierTask::new(means, stop_notifier.clone());
            sending.spawn(async {
                ("notifier", notifier.run_notifier().await.map_err(|e| e.to_string()))
            });
            notifier_handle = Some(handle.clone());
            let signal: OutboxSignal = Arc::new(move |store| handle.notify_changed(store));
            signal
        });

        let (started, beat_clock) = (clock.now(), Arc::clone(&clock));
        let context = AgentContext {
            ledger: ledger.clone(),
            prober: new_prober(&settings, node),
            verifier: Verifier::new(&settings.ssh),
            try_outs: TrialLogins::default(),
            clock,
            random: Arc::clone(&random),
            policy: new_policy(&settings),
            probe_deadline: settings.monitor.probe_deadline,
            attempt_deadline: settings.monitor.attempt_deadline,
            pins_host_keys: settings.ssh.host_key_policy != HostKeyPolicy::AcceptAny,
            outbox,
            started: Instant::now(),
        };
        let (registry, registry_task) =
            RegistryTask::new(Arc::new(context), stores, stop_early.clone());
        tasks.spawn(async { ("registry", registry_task.run().await.map_err(|e| e.to_string())) });

        let (trouble, seen) = watch::channel(None);
        let (looked_at, end) = (ledger.clone(), stop_early.clone());
        tasks.spawn(async move {
            state_disk::watch_state_disk(looked_at, trouble, end).await;
            ("state disk watch", Ok(()))
        });

        let delivery = notifier_handle.clone();
        let conditions = DaemonConditions {
            started,
            legacy: settings.ssh.legacy.clone(),
            accepts_any_host_key: settings.ssh.host_key_policy == HostKeyPolicy::AcceptAny,
            delivery: delivery.map(|handle| -> Arc<dyn DeliveryMonitor> { Arc::new(handle) }),
            state_disk: seen.clone(),
        };
        let beats = settings.callback.format == CallbackFormat::CloudEvents;
        if let Some(notifier) = notifier_handle.clone().filter(|_| beats) {
            let heartbeat = HeartbeatTask {
                node,
                every: settings.callback.heartbeat,
                start_spread: settings.callback.start_spread,
                stores: registry.clone(),
                daemon_conditions: conditions.clone(),
                notifier,
                clock: Arc::clone(&beat_clock),
                random: Arc::clone(&random),
            };
            let end = stop_early.clone();
            tasks.spawn(async move {
                heartbeat.run_heartbeat(end).await;
                ("heartbeat", Ok(()))
            });
        }
        let networks = UrlGuard::new(&settings.server.agent_allow);
        let (replies, posting) =
            ReplyQueue::new(networks, RequestTimeouts::default(), beat_clock, Arc::clone(&random));
        let end = stop_early.clone();
        tasks.spawn(async move {
            posting.run_poster(end).await;
            ("answers of the agent protocol", Ok(()))
        });
        if systemd::is_available() {
            let (stores, end) = (registry.clone(), stop_early.clone());
            tasks.spawn(async move {
                watchdog::run_watchdog(stores, end).await;
                ("signs of life", Ok(()))
            });
        }
        let (known, tokens_seen) = watch::channel(Arc::new(tokens));
        let renew = Arc::new(Notify::new());
        let (secured, tls) = tls.map(|tls| watch::channel(Arc::new(tls))).unzip();
        if let (Some(files), Some(shown)) = (settings.server.tls.clone(), secured) {
            let (asked, end) = (Arc::clone(&renew), stop_early.clone());
            tasks.spawn(async move {
                cert_reload::watch_certificates(files, shown, asked, end).await;
                ("certificates", Ok(()))
            });
        }
        let context = ServerContext {
            stores: registry,
            tls,
            tokens: tokens_seen,
            readiness: Arc::new(move || seen.borrow().iter().cloned().collect::<Vec<String>>()),
            daemon: DaemonInfo {
                node,
                conditions,
                notifier: notifier_handle.clone(),
                process: super::process::process_stats(),
            },
            replies,
            random,
            allowed_roots: settings.storage.allowed_roots,
        };
        let end = stop_early.clone();
        tasks.spawn(async move {
            ("server", server.run(context, end, DRAIN_TIMEOUT).await.map_err(|e| e.to_string()))
        });
        let running = RunningDaemon {
            tasks,
            notifier: sending,
            stop_tasks: stop_early,
            stop_notifier,
            tokens: known,
            client: signing,
            certificate_reload: renew,
            receivers: notifier_handle,
            writer,
        };
        (running, state_dir)
    }
}

impl RunningDaemon {
    async fn stop(mut self) {
        self.stop_tasks.cancel();
        if timeout(STORES_TIMEOUT, all_ended(&mut self.tasks)).await.is_err() {
            warn!("a task did not end in time and is left behind");
        }
        self.stop_notifier.cancel();
        let patience = LAST_DELIVERY_TIMEOUT + Duration::from_millis(250);
        if timeout(patience, all_ended(&mut self.notifier)).await.is_err() {
            warn!("the last delivery did not end in time; it is made again at the next start");
        }
        self.tasks.abort_all();
        self.notifier.abort_all();
        if timeout(LEDGER_CLOSE_TIMEOUT, self.writer.close_ledger()).await.is_err() {
            warn!("the state disk does not answer; what was acknowledged is on it");
        }
    }
}

async fn all_ended(tasks: &mut JoinSet<EndedTask>) {
    while let Some(ended) = tasks.join_next().await {
        if !matches!(ended, Ok((_, Ok(())))) {
            log_unexpected_exit(ended);
        }
    }
}

fn log_unexpected_exit(ended: Result<EndedTask, tokio::task::JoinError>) {
    match ended {
        Ok((task, Ok(()))) => error!(task, "a task ended by itself"),
        Ok((task, Err(why))) => error!(task, why, "a task broke off"),
        Err(why) => error!(%why, "a task broke off"),
    }
}

fn new_prober(settings: &Settings, node_id: crate::model::NodeId) -> Prober {
    Prober::new(ProbeOptions {
        allowed_roots: settings.storage.allowed_roots.clone(),
        allow_root_disk: settings.storage.allow_root_disk,
        node_id,
    })
}

fn new_policy(settings: &Settings) -> CheckPolicy {
    let Settings { monitor, storage, callback, .. } = settings;
    CheckPolicy {
        interval: monitor.interval,
        write_interval: storage.write_probe.then_some(storage.write_probe_interval),
        login_interval: monitor.ssh_interval,
        start_spread: callback.start_spread,
        fail_after: monitor.fail_after,
        recover_after: monitor.recover_after,
        auto_reconnect: monitor.auto_reconnect,
        space: SpaceThresholds {
            reserved: storage.reserved,
            near_full: storage.near_full,
            full: storage.full,
        },
        slow: SLOW_SHUTDOWN.min(monitor.probe_deadline / 2),
    }
}

#[cfg(test)]
mod tests {
    use super::super::secret_files::SecretFiles;
    use super::*;
    use crate::http::InheritedSockets;

    #[tokio::test]
    async fn without_its_ledger_the_daemon_ends_with_an_internal_fault() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings::built_in();
        settings.state.dir = dir.path().to_owned();
        settings.server.socket = dir.path().join("agent.sock");
        settings.server.listen = vec!["127.0.0.1:0".parse().unwrap()];
        let files = SecretFiles::read_files(&settings).unwrap();
        let prepared =
            PreparedDaemon::new(settings, files, InheritedSockets::default(), None).unwrap();
        prepared.opened.ledger.break_off();
        let (_reload, reloads) = mpsc::channel(1);
        let run = prepared.run_daemon(None, CancellationToken::new(), reloads);
        let exit = timeout(Duration::from_secs(20), run).await.expect("it went on");
        assert_eq!(exit, ExitStatus::Internal);
    }
}
