//! Layer 9. The interface to systemd: inherited sockets, credentials, and state notifications.
//!
//! # Guarantees
//! - Inherited sockets are taken once, before any thread runs.
//! - Readiness, reloads and the shutdown are reported (`sd_notify(3)`).
//! - Without systemd every call does nothing.
//!
//! # Never
//! - A failed notification never fails the start.

pub(crate) mod watchdog;

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use sd_notify::NotifyState;

/// Returns the listeners that a `.socket` unit opened for the daemon (`sd_listen_fds(3)`), in its
/// order: TCP listeners and Unix listeners.
pub fn inherited_listeners() -> (Vec<TcpListener>, Vec<UnixListener>) {
    let mut inherited = listenfd::ListenFd::from_env();
    let (mut tcp, mut unix) = (Vec::new(), Vec::new());
    for index in 0..inherited.len() {
        // The daemon cannot listen on a descriptor of another kind.
        match inherited.take_tcp_listener(index) {
            Ok(listener) => tcp.extend(listener),
            Err(_) => unix.extend(inherited.take_unix_listener(index).ok().flatten()),
        }
    }
    (tcp, unix)
}

/// Returns true if systemd listens for notifications.
pub fn is_available() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Returns the watchdog interval (`WatchdogSec=`), or `None` if the watchdog is off.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// Sends a watchdog ping.
pub fn ping_watchdog() {
    notify(&[NotifyState::Watchdog]);
}

/// Sets the status text that `systemctl status` shows.
pub fn set_status(text: &str) {
    notify(&[NotifyState::Status(text)]);
}

/// Returns the directory with the files of `LoadCredential=` (`systemd.exec(5)`).
pub fn credentials_directory() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

/// Reports that the state is loaded and the sockets are bound.
pub fn notify_ready() {
    notify(&[NotifyState::Ready]);
}

/// Reports that a reload of the settings has begun. [`notify_ready`] reports its end, also after a
/// failure.
pub fn notify_reloading() {
    // `Type=notify-reload` requires the time, and `Type=notify` ignores it.
    let now = NotifyState::monotonic_usec_now().ok();
    let states: Vec<_> = [NotifyState::Reloading].into_iter().chain(now).collect();
    notify(&states);
}

/// Reports that the shutdown has begun.
pub fn notify_stopping() {
    notify(&[NotifyState::Stopping]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "sd_notify failed");
    }
}
