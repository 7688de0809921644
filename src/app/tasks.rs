//! Starts the tasks of the daemon. Each function starts one task, or the tasks of one subject, and
//! returns the handles to it; `daemon.rs` calls them in the order in which they need each other.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use ring::hmac;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{cert_reload, process, state_disk};
use crate::agent::{
    AgentContext, DaemonConditions, DaemonContext, DeliveryMonitor, EventReader, OutboxSignal,
    Registry, RegistryTask, SpaceIndex, TrialLogins,
};
use crate::common::{Counter, LastTime, keep_thread_alive};
use crate::hooks::HookQueue;
use crate::http::{
    AccessKeyTable, Accounts, ClockWatch, DaemonInfo, HttpServer, ServerContext, SessionCheck,
    TlsListenerConfig, TokenTable, interrupted_job_body,
};
use crate::jobs::{JobDigests, JobRegistry};
use crate::ledger::LoadedStore;
use crate::lifecycle::{CheckPolicy, SpaceThresholds};
use crate::management::{
    CallbackClient, HookClient, ReplyQueue, RequestTimeouts, SessionCheckClient, SessionCheckTimes,
    SessionChecker, SharedSigner, UrlGuard,
};
use crate::metrics::{MetricSources, Metrics};
use crate::model::{NodeId, StoredHook, StoredJob};
use crate::notifier::{HeartbeatTask, NotifierContext, NotifierHandle, NotifierTask};
use crate::probe::{ProbeOptions, Prober};
use crate::settings::{CallbackFormat, FilePolicy, HostKeyPolicy, Settings};
use crate::ssh::Verifier;
use crate::systemd::{SystemdNotifications, watchdog};
use crate::wire::{DateFormat, EventFormat};

/// Time for requests that are in flight when the daemon stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);
/// Time for the last delivery when the daemon stops.
pub(super) const LAST_DELIVERY_TIMEOUT: Duration = Duration::from_secs(2);
/// Duration from which a probe is slow. A good disk needs hundreds of times less, with the start of
/// the worker included.
const SLOW_PROBE_THRESHOLD: Duration = Duration::from_secs(1);

/// The name of a task that has ended, and its error.
pub(super) type TaskResult = (&'static str, Result<(), String>);

/// The daemon while its tasks are started: the dependencies that several tasks share, and the tasks
/// that have been started.
pub(super) struct TaskStarter {
    pub(super) settings: Settings,
    pub(super) daemon: Arc<DaemonContext>,
    /// Stops every task but the notifier.
    pub(super) stop: CancellationToken,
    /// Every task but the notifier.
    pub(super) tasks: JoinSet<TaskResult>,
}

/// The dependencies of the HTTP server that other tasks provide.
pub(super) struct HttpDependencies {
    pub(super) registry: Registry,
    pub(super) tokens: watch::Receiver<Arc<TokenTable>>,
    /// `None` if sessions of the management node are not accepted.
    pub(super) session_client: Option<SessionCheckClient>,
    pub(super) access_keys: watch::Receiver<Arc<AccessKeyTable>>,
    pub(super) accounts: Arc<Accounts>,
    pub(super) tls: Option<watch::Receiver<Arc<TlsListenerConfig>>>,
    pub(super) state_disk: watch::Receiver<Option<String>>,
    pub(super) conditions: DaemonConditions,
    /// `None` without a callback.
    pub(super) notifier: Option<NotifierHandle>,
    pub(super) replies: ReplyQueue,
    pub(super) jobs: JobRegistry,
    pub(super) hooks: HookQueue,
    pub(super) clock: ClockWatch,
    pub(super) lost_log_lines: Arc<Counter>,
    pub(super) settings_loaded: Arc<LastTime>,
}

impl TaskStarter {
    /// Starts the notifier. It runs in a set of its own, because it stops after the other tasks, at
    /// `stop`.
    pub(super) fn start_notifier(
        &self,
        client: CallbackClient,
        stop: CancellationToken,
    ) -> (NotifierHandle, JoinSet<TaskResult>) {
        let callback = &self.settings.callback;
        let context = NotifierContext {
            daemon: Arc::clone(&self.daemon),
            client,
            format: match callback.format {
                CallbackFormat::CloudEvents => EventFormat::CloudEvents,
                CallbackFormat::ZStack => EventFormat::ZStack,
            },
            language: self.settings.api.language,
            max_pending: callback.max_pending,
            start_spread: callback.start_spread,
            last_delivery_timeout: LAST_DELIVERY_TIMEOUT,
        };
        let (handle, notifier) = NotifierTask::new(context, stop);
        let mut tasks = JoinSet::new();
        spawn(&mut tasks, "notifier", notifier.run_notifier());
        (handle, tasks)
    }

    /// Starts the registry, which starts a task for each of the stores.
    pub(super) fn start_agent(
        &mut self,
        stores: Vec<LoadedStore>,
        trial_logins: TrialLogins,
        notifier: Option<NotifierHandle>,
    ) -> Registry {
        let settings = &self.settings;
        let context = AgentContext {
            daemon: Arc::clone(&self.daemon),
            prober: new_prober(settings, self.daemon.node),
            verifier: Verifier::new(&settings.ssh),
            trial_logins,
            policy: new_policy(settings),
            probe_timeout: settings.monitor.probe_deadline,
            attempt_timeout: settings.monitor.attempt_deadline,
            host_key_policy: settings.ssh.host_key_policy,
            spaces: SpaceIndex::default(),
            stats: Arc::default(),
            outbox_signal: notifier.map(|handle| -> Arc<dyn OutboxSignal> { Arc::new(handle) }),
            started: Instant::now(),
        };
        let (registry, task) = RegistryTask::new(Arc::new(context), stores, self.stop.clone());
        spawn(&mut self.tasks, "registry", task.run());
        registry
    }

    /// Starts the task that ends the jobs that a stop interrupted, and drops expired results.
    pub(super) fn start_jobs(&mut self, stored: &[StoredJob], key: hmac::Key) -> JobRegistry {
        let (clock, random) = (Arc::clone(&self.daemon.clock), Arc::clone(&self.daemon.random));
        let (ledger, digests) = (self.daemon.ledger.clone(), JobDigests::new(key));
        let jobs = JobRegistry::new(ledger, digests, stored, clock, random);
        let language = self.settings.api.language;
        let render = move |job| interrupted_job_body(job, language);
        let run = jobs.clone().run_jobs(render, self.stop.clone());
        self.spawn_infallible("jobs", run);
        jobs
    }

    /// Starts the task that posts the results of jobs to their web hooks. The guard is that of the
    /// replies of the agent protocol.
    pub(super) fn start_hook_poster(
        &mut self,
        guard: UrlGuard,
        signer: SharedSigner,
        jobs: JobRegistry,
        stored: (&[StoredJob], Vec<StoredHook>),
    ) -> HookQueue {
        let (clock, random) = (Arc::clone(&self.daemon.clock), Arc::clone(&self.daemon.random));
        let client = HookClient::new(guard, signer, RequestTimeouts::default(), clock);
        let ledger = self.daemon.ledger.clone();
        let (hooks, poster) = HookQueue::new(client, ledger, jobs, random, stored);
        self.spawn_infallible("hook poster", poster.run_poster(self.stop.clone()));
        hooks
    }

    /// Starts the watch of the state disk. Returns a receiver of its current error.
    pub(super) fn start_state_disk_watch(&mut self) -> watch::Receiver<Option<String>> {
        let (sender, receiver) = watch::channel(None);
        let watch =
            state_disk::watch_state_disk(self.daemon.ledger.clone(), sender, self.stop.clone());
        self.spawn_infallible("state disk watch", watch);
        receiver
    }

    /// Starts the task that keeps a thread for blocking work.
    pub(super) fn start_thread_keeper(&mut self) {
        let stop = self.stop.clone();
        self.spawn_infallible("thread keeper", async move {
            stop.run_until_cancelled(keep_thread_alive()).await;
        });
    }

    /// Returns the source of the conditions that concern the daemon as a whole.
    pub(super) fn daemon_conditions(
        &self,
        notifier: Option<&NotifierHandle>,
        state_disk: &watch::Receiver<Option<String>>,
    ) -> DaemonConditions {
        let ssh = &self.settings.ssh;
        DaemonConditions {
            started: self.daemon.clock.now(),
            legacy: ssh.legacy.clone(),
            accepts_any_host_key: ssh.host_key_policy == HostKeyPolicy::AcceptAny,
            delivery: notifier
                .map(|handle| -> Arc<dyn DeliveryMonitor> { Arc::new(handle.clone()) }),
            state_disk: state_disk.clone(),
        }
    }

    /// Starts the heartbeat, if the format of the callback has one.
    pub(super) fn start_heartbeat(
        &mut self,
        registry: &Registry,
        conditions: &DaemonConditions,
        notifier: &NotifierHandle,
    ) {
        let callback = &self.settings.callback;
        if callback.format != CallbackFormat::CloudEvents {
            return;
        }
        let heartbeat = HeartbeatTask {
            daemon: Arc::clone(&self.daemon),
            interval: callback.heartbeat,
            start_spread: callback.start_spread,
            stores: registry.clone(),
            daemon_conditions: conditions.clone(),
            notifier: notifier.clone(),
            language: self.settings.api.language,
        };
        let stop = self.stop.clone();
        self.spawn_infallible("heartbeat", heartbeat.run_heartbeat(stop));
    }

    /// Starts the task that posts the answers of the agent protocol.
    pub(super) fn start_reply_poster(&mut self) -> ReplyQueue {
        let networks = UrlGuard::new(&self.settings.server.agent_allow);
        let (clock, random) = (Arc::clone(&self.daemon.clock), Arc::clone(&self.daemon.random));
        let (replies, poster) =
            ReplyQueue::new(networks, RequestTimeouts::default(), clock, random);
        let stop = self.stop.clone();
        self.spawn_infallible("reply poster", poster.run_poster(stop));
        replies
    }

    /// Starts the reports to systemd, if systemd listens.
    pub(super) fn start_watchdog(
        &mut self,
        notifications: &SystemdNotifications,
        registry: &Registry,
    ) {
        if notifications.is_available() {
            let (notifications, stop) = (notifications.clone(), self.stop.clone());
            let reports = watchdog::run_watchdog(notifications, registry.clone(), stop);
            self.spawn_infallible("watchdog", reports);
        }
    }

    /// Starts the watch of the certificate files, if the settings name any. It reads them again
    /// when `reload_requests` is notified. Returns a receiver of the current TLS configuration.
    pub(super) fn start_certificate_watch(
        &mut self,
        tls: Option<TlsListenerConfig>,
        reload_requests: &Arc<Notify>,
    ) -> Option<watch::Receiver<Arc<TlsListenerConfig>>> {
        let (sender, receiver) = tls.map(|tls| watch::channel(Arc::new(tls))).unzip();
        if let (Some(files), Some(sender)) = (self.settings.server.tls.clone(), sender) {
            let watch = cert_reload::watch_certificates(
                files,
                FilePolicy::of_daemon(&self.settings.state),
                sender,
                Arc::clone(reload_requests),
                self.stop.clone(),
            );
            self.spawn_infallible("certificate watch", watch);
        }
        receiver
    }

    /// Starts the HTTP server.
    pub(super) fn start_http(&mut self, server: HttpServer, dependencies: HttpDependencies) {
        let HttpDependencies {
            registry,
            tokens,
            session_client,
            access_keys,
            accounts,
            tls,
            state_disk,
            conditions,
            notifier,
            replies,
            jobs,
            hooks,
            clock,
            lost_log_lines,
            settings_loaded,
        } = dependencies;
        let session_check = session_client.map(|client| SessionCheck {
            checker: SessionChecker::new(
                client,
                self.daemon.random.as_ref(),
                SessionCheckTimes::default(),
            ),
            role: self.settings.auth.session_check_role,
        });
        let process_stats = process::process_stats();
        let metrics = Metrics::new(MetricSources {
            conditions: conditions.clone(),
            notifier: notifier.clone(),
            agent: Arc::clone(registry.stats()),
            ledger: self.daemon.ledger.clone(),
            http: Arc::default(),
            lost_log_lines,
            settings_loaded,
            process_stats: Arc::clone(&process_stats),
        });
        let context = ServerContext {
            stores: registry,
            tls,
            tokens,
            session_check,
            access_keys,
            clock: Arc::clone(&self.daemon.clock),
            accounts,
            readiness: Arc::new(move || {
                state_disk.borrow().iter().cloned().collect::<Vec<String>>()
            }),
            daemon: DaemonInfo {
                node: self.daemon.node,
                conditions,
                notifier,
                process_stats,
                clock,
            },
            events: EventReader::new(self.daemon.ledger.clone()),
            metrics,
            replies,
            jobs,
            hooks,
            api: self.settings.api.clone(),
            random: Arc::clone(&self.daemon.random),
            allowed_roots: self.settings.storage.allowed_roots.clone(),
            dates: DateFormat::new(self.settings.api.dates, self.settings.api.time_zone.clone()),
        };
        spawn(&mut self.tasks, "server", server.run(context, self.stop.clone(), DRAIN_TIMEOUT));
    }

    fn spawn_infallible(
        &mut self,
        name: &'static str,
        run: impl Future<Output = ()> + Send + 'static,
    ) {
        self.tasks.spawn(async move {
            run.await;
            (name, Ok(()))
        });
    }
}

fn spawn<E: Display>(
    tasks: &mut JoinSet<TaskResult>,
    name: &'static str,
    run: impl Future<Output = Result<(), E>> + Send + 'static,
) {
    tasks.spawn(async move { (name, run.await.map_err(|error| error.to_string())) });
}

fn new_prober(settings: &Settings, node_id: NodeId) -> Prober {
    Prober::new(ProbeOptions {
        allowed_roots: settings.storage.allowed_roots.clone(),
        allow_root_disk: settings.storage.allow_root_disk,
        node_id,
    })
}

pub(super) fn new_policy(settings: &Settings) -> CheckPolicy {
    let Settings { monitor, storage, callback, .. } = settings;
    CheckPolicy {
        probe_interval: monitor.interval,
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
            filling_up: Some(storage.filling_up).filter(|limit| !limit.is_zero()),
        },
        slow_probe_after: SLOW_PROBE_THRESHOLD.min(monitor.probe_deadline / 2),
    }
}
