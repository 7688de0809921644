//! Layer 9. What systemd says to a service and what it wants to hear.
//!
//! Promises: inherited sockets are taken once, before any thread runs; readiness, reloads and stopping
//! are told (`sd_notify(3)`); without systemd every call does nothing.
//! Never: fails a start because systemd cannot be told.

pub(crate) mod watchdog;

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use sd_notify::NotifyState;

/// The listeners that a `.socket` unit opened for us (`sd_listen_fds(3)`), in its order: those of TCP, and
/// those of Unix sockets.
pub fn inherited_listeners() -> (Vec<TcpListener>, Vec<UnixListener>) {
    let mut inherited = listenfd::ListenFd::from_env();
    let (mut tcp, mut unix) = (Vec::new(), Vec::new());
    for at in 0..inherited.len() {
        // A descriptor of a third kind is not ours to listen on.
        match inherited.take_tcp_listener(at) {
            Ok(listener) => tcp.extend(listener),
            Err(_) => unix.extend(inherited.take_unix_listener(at).ok().flatten()),
        }
    }
    (tcp, unix)
}

/// Whether there is anybody to be told.
pub fn is_available() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// How long systemd waits between two signs of life (`WatchdogSec=`); none when it waits for none.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// A sign of life.
pub fn ping_watchdog() {
    notify(&[NotifyState::Watchdog]);
}

/// What `systemctl status` shows beside the state.
pub fn set_status(text: &str) {
    notify(&[NotifyState::Status(text)]);
}

/// Where `LoadCredential=` put its files (`systemd.exec(5)`).
pub fn credentials_directory() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

/// The state is loaded and the sockets are bound.
pub fn notify_ready() {
    notify(&[NotifyState::Ready]);
}

/// The settings are read again; [`notify_ready`] says that it is over, also when nothing came of it.
pub fn notify_reloading() {
    // `Type=notify` bears the time, `Type=notify-reload` asks for it.
    let now = NotifyState::monotonic_usec_now().ok();
    let states: Vec<_> = [NotifyState::Reloading].into_iter().chain(now).collect();
    notify(&states);
}

/// Shutdown has begun.
pub fn notify_stopping() {
    notify(&[NotifyState::Stopping]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd could not be told");
    }
}
