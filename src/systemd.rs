//! Floor 6. What systemd says to a service and what it wants to hear.
//!
//! Promises: inherited sockets are taken once, before any thread runs; readiness, reloads and stopping
//! are told (`sd_notify(3)`); without systemd every call does nothing.
//! Never: fails a start because systemd cannot be told.

use std::net::TcpListener;
use std::path::PathBuf;

use sd_notify::NotifyState;

/// The TCP listeners that a `.socket` unit opened for us (`sd_listen_fds(3)`), in its order.
pub fn inherited_listeners() -> Vec<TcpListener> {
    let mut inherited = listenfd::ListenFd::from_env();
    let taken = (0..inherited.len()).map(|at| inherited.take_tcp_listener(at));
    // A descriptor of another kind is not ours to listen on.
    taken.filter_map(|listener| listener.ok().flatten()).collect()
}

/// Where `LoadCredential=` put its files (`systemd.exec(5)`).
pub fn credentials_directory() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

/// The state is loaded and the sockets are bound.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The settings are read again; [`ready`] says that it is over, also when nothing came of it.
pub fn reloading() {
    // `Type=notify` bears the time, `Type=notify-reload` asks for it.
    let now = NotifyState::monotonic_usec_now().ok();
    let states: Vec<_> = [NotifyState::Reloading].into_iter().chain(now).collect();
    tell(&states);
}

/// Shutdown has begun.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd could not be told");
    }
}
