//! The command `serve`: runs the daemon, from loading the settings to the exit status.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::panic::catch_unwind;
use std::path::Path;
use std::time::Duration;

use nix::sys::prctl::set_dumpable;
use nix::sys::stat::{Mode, umask};
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::process::{ExitStatus, stop_at_signals};
use super::startup::{PreparedDaemon, StartupFiles};
use crate::common::{
    ErrorChain, THREAD_KEEP_ALIVE, Timestamp, is_resource_shortage, report_line, report_text,
    run_blocking,
};
use crate::http::{AUDIT_CHANGE_EVENT, AUDIT_TARGET, InheritedSockets};
use crate::settings::{
    HostKeyPolicy, LoadedSettings, MASTER_KEY_SETTING, SettingFault, Settings,
    environment_variables, format_report,
};
use crate::{systemd, telemetry};

/// Number of runtime threads. The daemon mostly waits, so it needs few. With two, a task that
/// computes does not delay the others.
const WORKER_THREADS: usize = 2;

/// Number of pairs of descriptors that a runtime opens. Its I/O driver has an epoll instance, a
/// copy of it and an eventfd. Its signal driver has a pair of sockets and a copy of one of them.
const RUNTIME_SOCKET_PAIRS: usize = 3;

/// Maximum time for the system to provide the first thread for blocking work. It takes less than a
/// millisecond unless a limit is reached.
const THREAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs the daemon until a signal stops it. Its new epoch is not below `epoch_floor`.
pub fn serve(config: Option<&Path>, epoch_floor: Option<Timestamp>) -> ExitStatus {
    // The files of SQLite have no mode of their own. The socket and the state directory set theirs.
    umask(Mode::from_bits_truncate(0o077));
    let (tcp, unix) = systemd::inherited_listeners();
    let inherited = InheritedSockets { tcp, unix };
    let listen_use = inherited.listen_use();
    let loaded = Settings::load_for(listen_use, config, environment_variables());
    let LoadedSettings { settings, origins } = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            report_text(&format_report(error.setting_faults()));
            return ExitStatus::Settings;
        }
    };
    // Before the first secret is read. A worker becomes dumpable again, because it has no secrets.
    if !settings.state.core_dumps
        && let Err(errno) = set_dumpable(false)
    {
        report_line(format_args!("the core dumps of this process cannot be turned off: {errno}"));
        return ExitStatus::Internal;
    }
    let files = match StartupFiles::read_files(&settings, config) {
        Ok(files) => files,
        Err(error) => {
            report_text(&format_report(&origins.annotate(error.into_faults())));
            return ExitStatus::Settings;
        }
    };
    let log = match telemetry::init(&[AUDIT_TARGET], AUDIT_CHANGE_EVENT) {
        Ok(log) => log,
        Err(error) => {
            report_line(ErrorChain(&error));
            return ExitStatus::Internal;
        }
    };
    log_risks(&settings, &files, &inherited.listen_addresses(&settings.server.listen));
    let prepared = match PreparedDaemon::new(settings, files, inherited, epoch_floor) {
        Ok(prepared) => prepared.with_lost_log_lines(log.lost_lines()),
        Err(error) => {
            log_failed_start(&error);
            return error.exit_status();
        }
    };
    let runtime = match build_runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            log_failed_start(&error);
            return ExitStatus::Internal;
        }
    };
    let exit = runtime.block_on(run_until_signal(prepared, config));
    // A name lookup may still hang on a dead name server. The stop does not wait for it.
    runtime.shutdown_background();
    exit
}

/// Builds the runtime.
///
/// # Errors
/// Returns the error of the system, such as a limit of descriptors or threads. tokio reports that
/// of threads by a panic.
fn build_runtime() -> io::Result<runtime::Runtime> {
    let build = || {
        runtime::Builder::new_multi_thread()
            .worker_threads(WORKER_THREADS)
            .thread_keep_alive(THREAD_KEEP_ALIVE)
            .enable_all()
            .build()
    };
    // tokio panics if it gets no descriptors for its signals.
    let spare_descriptors: Result<Vec<_>, _> =
        (0..RUNTIME_SOCKET_PAIRS).map(|_| UnixStream::pair()).collect();
    drop(spare_descriptors?);
    catch_unwind(build).unwrap_or_else(|_| {
        Err(io::Error::new(io::ErrorKind::WouldBlock, "the system provides no thread"))
    })
}

async fn run_until_signal(prepared: PreparedDaemon, config: Option<&Path>) -> ExitStatus {
    let stop = CancellationToken::new();
    // One pending reload covers every signal that arrives before it starts.
    let (reload, reloads) = mpsc::channel(1);
    let signal_tasks = stop_at_signals(&stop).and_then(|mut signal_tasks| {
        let mut signals = signal(SignalKind::hangup())?;
        signal_tasks.spawn(async move {
            while signals.recv().await.is_some() {
                // If the channel is full, a reload is already pending.
                let _ = reload.try_send(());
            }
        });
        Ok(signal_tasks)
    });
    let _signal_tasks = match signal_tasks {
        Ok(signal_tasks) => signal_tasks,
        Err(error) => {
            error!(%error, "signal handlers not installed");
            return ExitStatus::Internal;
        }
    };
    // The pool must have a thread before the first check needs one.
    if let Err(error) = run_blocking(Instant::now() + THREAD_TIMEOUT, || ()).await {
        error!(%error, "start failed");
        return ExitStatus::Internal;
    }
    prepared.run_daemon(config.map(Path::to_owned), stop, reloads).await
}

/// Logs why the daemon does not start. If the system denies a resource, it also logs the limits.
fn log_failed_start(error: &(dyn Error + 'static)) {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    let mut is_shortage = false;
    while let Some(error) = cause {
        is_shortage |= error.downcast_ref::<io::Error>().is_some_and(is_resource_shortage);
        cause = error.source();
    }
    if is_shortage {
        let remedy = "raise the limits of this service: file descriptors (LimitNOFILE=, 64 or more), \
                      processes and threads (TasksMax=), memory (MemoryMax=)";
        error!(error = %ErrorChain(error), remedy, "start failed");
    } else {
        error!(error = %ErrorChain(error), "start failed");
    }
}

/// Logs the warnings of a start and of a reload.
pub(super) fn log_doubts(weak_secrets: &[SettingFault], doubts: &[SettingFault]) {
    for fault in weak_secrets {
        warn!(%fault, "secret can be guessed");
    }
    for doubt in doubts {
        warn!(%doubt, "setting is doubtful");
    }
}

/// Logs the files that are used although other users can read or replace them.
pub(super) fn log_unsafe_files(files: &[SettingFault]) {
    for fault in files {
        warn!(%fault, "file not safe from other users");
    }
}

/// Logs a warning for each choice of the operator that has a risk or no effect.
fn log_risks(settings: &Settings, files: &StartupFiles, addresses: &[SocketAddr]) {
    for fault in &files.optional_failures {
        match fault.key.as_str() {
            MASTER_KEY_SETTING => {
                warn!(%fault, "master key not readable; logins fail with secret_unreadable until it is restored");
            }
            _ => warn!(%fault, "file not readable, but not required for a start"),
        }
    }
    log_unsafe_files(&files.unsafe_files);
    log_doubts(&files.weak_secrets, &settings.doubts(addresses));
    if settings.state.trust_file_modes {
        warn!("state.trust_file_modes is set: files are used whatever their owner and mode");
    }
    if settings.state.core_dumps {
        warn!("state.core_dumps is set: a core dump contains keys and passwords");
    }
    if settings.server.insecure_http {
        warn!("server.insecure_http is set: tokens and secrets cross the network unencrypted");
    }
    if settings.ssh.host_key_policy == HostKeyPolicy::AcceptAny {
        warn!("ssh.host_key_policy is accept-any: any SSH server can pose as the host of a store");
    }
    if settings.callback.urls.is_empty() {
        warn!("callback.urls is empty: transitions are recorded in the history only");
    }
    if !settings.callback.urls.is_empty() && settings.callback.signing_secret_file.is_none() {
        warn!("callback.signing_secret_file is not set: events are not signed");
    }
}
