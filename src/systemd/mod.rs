//! Layer 9. The interface to systemd: inherited sockets, credentials, and state notifications.
//!
//! # Guarantees
//! - Inherited sockets are taken once, before any thread runs.
//! - Readiness, reloads and the shutdown are reported (`sd_notify(3)`).
//! - Without systemd every call does nothing, and a systemd that does not read delays no task.
//!
//! # Never
//! - A failed notification never fails the start.

mod notifications;
pub(crate) mod watchdog;

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use notifications::SystemdNotifications;

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

/// Returns the watchdog interval (`WatchdogSec=`), or `None` if the watchdog is off.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// Returns the directory with the files of `LoadCredential=` (`systemd.exec(5)`).
pub fn credentials_directory() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}
