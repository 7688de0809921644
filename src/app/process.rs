//! The process of the program as the system sees it: its exit status, the signals that stop it, and
//! its memory and processor time.
#![expect(clippy::disallowed_methods, reason = "procfs does not hang")]

use std::future::pending;
use std::io;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{SigSet, Signal};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
use tokio::signal::unix::{Signal as SignalReceiver, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::common::{OutputReader, lock_unpoisoned, report_line};
use crate::metrics::{ProcessStats, ProcessStatsFn};

/// The exit status, which a supervisor or a script reads. Those with an `EX_` name are from
/// `sysexits.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitStatus {
    /// The command succeeded, or the daemon stopped on request.
    Ok = 0,
    /// A command failed and printed the reason.
    Failed = 1,
    /// The arguments are invalid. Nothing was read or sent.
    Usage = 2,
    /// The settings are invalid (`EX_USAGE`). No socket was bound.
    Settings = 64,
    /// The ledger is damaged or newer, or the node id is damaged (`EX_DATAERR`). Nothing changes.
    Ledger = 65,
    /// A socket cannot be bound (`EX_UNAVAILABLE`).
    Bind = 69,
    /// An internal error, or the system denies a basic resource (`EX_SOFTWARE`).
    Internal = 70,
    /// Another agent holds the lock of the state directory (`EX_TEMPFAIL`).
    Locked = 75,
    /// SIGHUP ended a command: 128 and the signal, as a shell reports it.
    HungUp = 129,
    /// SIGINT ended a command: 128 and the signal, as a shell reports it.
    Interrupted = 130,
    /// SIGQUIT ended a command: 128 and the signal, as a shell reports it.
    Quit = 131,
    /// SIGTERM ended a command: 128 and the signal, as a shell reports it.
    Terminated = 143,
}

impl ExitStatus {
    /// Returns the exit status of a command after it has written its output: its own status, or
    /// `Failed` if the output could not be written, which it reports on stderr.
    pub fn after_output(self, written: io::Result<OutputReader>) -> Self {
        match written {
            Ok(OutputReader::Present | OutputReader::Gone) => self,
            Err(error) => {
                report_line(format_args!("cannot write the output: {error}"));
                Self::Failed
            }
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(exit: ExitStatus) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Unblocks all signals in this thread, and thereby in every thread and process that it starts. The
/// parent process may have blocked those that stop or reload the daemon.
pub fn unblock_signals() {
    // The call fails only for an invalid argument.
    let _ = SigSet::empty().thread_set_mask();
}

/// Blocks SIGXFSZ in this thread, and thereby in every thread and process that it starts. A write
/// beyond a limit of the file size (`RLIMIT_FSIZE`) is then an error and does not end the process
/// without a message. A worker unblocks the signal again.
pub fn block_file_size_signal() {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGXFSZ);
    // The call fails only for an invalid argument.
    let _ = signals.thread_block();
}

/// Installs handlers for SIGTERM and SIGINT that only cancel `stop`. Needs a runtime. Dropping the
/// returned tasks ends the cancellation, but the handlers stay installed.
///
/// It also installs a handler for SIGCHLD that does nothing. It replaces a setting of the parent
/// process to ignore the signal, with which the kernel reaps workers by itself and their exit
/// status is lost.
///
/// # Errors
/// Returns the error of the system if it does not install a handler.
pub fn stop_at_signals(stop: &CancellationToken) -> io::Result<JoinSet<()>> {
    drop(signal(SignalKind::child())?);
    let mut signal_tasks = JoinSet::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let (mut signals, stop) = (signal(kind)?, stop.clone());
        signal_tasks.spawn(async move {
            signals.recv().await;
            stop.cancel();
        });
    }
    Ok(signal_tasks)
}

/// Installs handlers for the signals that a terminal, a shell and a service manager send to end a
/// command, so that it can remove its temporary files. Needs a runtime. The future ends with the
/// first of these signals, and returns the exit status. SIGHUP and SIGQUIT stay ignored if the
/// parent process ignores them, as `nohup` does.
///
/// # Errors
/// Returns the error of the system if it does not install a handler.
pub(super) fn ending_signal() -> io::Result<impl Future<Output = ExitStatus>> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let unless_ignored = |kind| (!is_ignored(kind, &status)).then(|| signal(kind)).transpose();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = unless_ignored(SignalKind::hangup())?;
    let mut quit = unless_ignored(SignalKind::quit())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => ExitStatus::Terminated,
            _ = interrupt.recv() => ExitStatus::Interrupted,
            () = received(hang_up.as_mut()) => ExitStatus::HungUp,
            () = received(quit.as_mut()) => ExitStatus::Quit,
        }
    })
}

/// Returns after a signal, or never without a handler.
async fn received(handler: Option<&mut SignalReceiver>) {
    match handler {
        Some(handler) => drop(handler.recv().await),
        None => pending().await,
    }
}

/// Returns true if the process ignores a signal. `status` is its `/proc/PID/status`.
fn is_ignored(kind: SignalKind, status: &str) -> bool {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    let bit = u32::try_from(kind.as_raw_value()).ok().and_then(|it| it.checked_sub(1));
    let bit = bit.and_then(|it| 1_u64.checked_shl(it));
    ignored.zip(bit).is_some_and(|(ignored, bit)| ignored & bit != 0)
}

/// Returns a function that reads the resources of this process from `/proc` at each call.
pub(super) fn process_stats() -> ProcessStatsFn {
    // `None` if `/proc` is hidden from the daemon.
    let system = Mutex::new(System::new().ok());
    let pid = Pid::from_u32(std::process::id());
    Arc::new(move || {
        let mut system = lock_unpoisoned(&system);
        let system = system.as_mut()?;
        let kinds = ProcessRefreshKind::nothing().with_memory().with_cpu();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, kinds);
        system.process(pid).map(|process| ProcessStats {
            resident_bytes: process.memory(),
            virtual_bytes: process.virtual_memory(),
            cpu_milliseconds: process.accumulated_cpu_time(),
            start_seconds: process.start_time(),
            open_files: count_entries("/proc/self/fd"),
            max_open_files: getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft),
            threads: count_entries("/proc/self/task"),
        })
    })
}

/// Returns the number of entries of a directory, or 0 if it cannot be read.
fn count_entries(dir: &str) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    u64::try_from(entries.count()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_signal_is_known_from_the_status_of_the_process() {
        let status = "Name:\tx\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000000005\n";
        for (kind, expected) in [
            (SignalKind::hangup(), true),
            (SignalKind::interrupt(), false),
            (SignalKind::quit(), true),
        ] {
            assert_eq!(is_ignored(kind, status), expected, "{kind:?}");
            assert!(!is_ignored(kind, ""), "{kind:?}");
        }
    }
}
