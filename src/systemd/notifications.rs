//! Notifications to systemd (`sd_notify(3)`).
//!
//! # Guarantees
//! - A service manager that does not read its socket delays no task: a send never waits.
//! - States that it has not received are sent again in their order, with each watchdog ping,
//!   and once at the end of the daemon.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Arc, Mutex};

use sd_notify::NotifyState;
use tracing::{info, warn};

use crate::common::lock_unpoisoned;

/// Maximum number of states that wait. A start, the status text, two reloads and the stop fit. Of
/// more, only the newest say what the daemon does.
const MAX_WAITING_STATES: usize = 8;
/// The beginning of a status text. A newer one replaces one that waits.
const STATUS_PREFIX: &str = "STATUS=";

/// The sender of notifications. Without systemd every call does nothing. Clones share their queue.
#[derive(Clone)]
pub(crate) struct SystemdNotifications {
    queue: Option<Arc<Mutex<StateQueue>>>,
}

/// The states that systemd has not received yet.
struct StateQueue {
    socket: SocketAddr,
    waiting: VecDeque<String>,
    /// True from the first failed send to the next one that succeeds.
    is_delayed: bool,
}

impl SystemdNotifications {
    /// Creates the sender for the socket that `NOTIFY_SOCKET` names. A name of another kind than a
    /// Unix socket is only logged.
    pub(crate) fn from_environment() -> Self {
        Self::to_socket(std::env::var_os("NOTIFY_SOCKET").as_deref())
    }

    fn to_socket(name: Option<&OsStr>) -> Self {
        let socket = name.map(parse_socket_name).and_then(|parsed| {
            parsed.inspect_err(|error| warn!(%error, "NOTIFY_SOCKET unusable")).ok()
        });
        let queue = |socket| StateQueue { socket, waiting: VecDeque::new(), is_delayed: false };
        Self { queue: socket.map(|socket| Arc::new(Mutex::new(queue(socket)))) }
    }

    /// Returns true if systemd listens for notifications.
    pub(crate) fn is_available(&self) -> bool {
        self.queue.is_some()
    }

    /// Reports that the state is loaded and the sockets are bound.
    pub(crate) fn notify_ready(&self) {
        self.send_state(&[NotifyState::Ready]);
    }

    /// Reports that a reload of the settings has begun. [`Self::notify_ready`] reports its end,
    /// also after a failure.
    pub(crate) fn notify_reloading(&self) {
        // `Type=notify-reload` requires the time, and `Type=notify` ignores it.
        let now = NotifyState::monotonic_usec_now().ok();
        let states: Vec<_> = [NotifyState::Reloading].into_iter().chain(now).collect();
        self.send_state(&states);
    }

    /// Reports that the shutdown has begun.
    pub(crate) fn notify_stopping(&self) {
        self.send_state(&[NotifyState::Stopping]);
    }

    /// Sets the status text that `systemctl status` shows.
    pub(crate) fn set_status(&self, text: &str) {
        self.send_state(&[NotifyState::Status(text)]);
    }

    /// Sends the states that wait. With `is_watchdog`, then sends a watchdog ping, unless a state
    /// still waits: the next ping comes soon.
    pub(crate) fn send_waiting(&self, is_watchdog: bool) {
        let Some(queue) = &self.queue else { return };
        let mut queue = lock_unpoisoned(queue);
        if queue.send_all() && is_watchdog {
            queue.send_text(&message(&[NotifyState::Watchdog]));
        }
    }

    fn send_state(&self, states: &[NotifyState<'_>]) {
        let Some(queue) = &self.queue else { return };
        let mut queue = lock_unpoisoned(queue);
        queue.push(message(states));
        queue.send_all();
    }
}

impl StateQueue {
    fn push(&mut self, text: String) {
        if text.starts_with(STATUS_PREFIX) {
            self.waiting.retain(|waiting| !waiting.starts_with(STATUS_PREFIX));
        }
        if self.waiting.len() >= MAX_WAITING_STATES {
            self.waiting.pop_front();
        }
        self.waiting.push_back(text);
    }

    /// Sends the states that wait, until one fails. Returns true if none waits any more.
    fn send_all(&mut self) -> bool {
        while let Some(text) = self.waiting.pop_front() {
            if !self.send_text(&text) {
                self.waiting.push_front(text);
                return false;
            }
        }
        true
    }

    /// Sends one message, and logs when sends begin to fail and when they succeed again.
    fn send_text(&mut self, text: &str) -> bool {
        match send_datagram(&self.socket, text.as_bytes()) {
            Ok(()) if self.is_delayed => info!("notifications to systemd recovered"),
            Ok(()) => {}
            Err(error) if !self.is_delayed => {
                warn!(%error, "notifications to systemd delayed");
                self.is_delayed = true;
                return false;
            }
            Err(_) => return false,
        }
        self.is_delayed = false;
        true
    }
}

fn message(states: &[NotifyState<'_>]) -> String {
    states.iter().map(|state| format!("{state}\n")).collect()
}

/// Parses the name of a socket: an absolute path, or `@` and an abstract name (unix(7)).
fn parse_socket_name(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] if !name.is_empty() => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "neither an absolute path nor @ and a name",
        )),
    }
}

/// Sends a datagram without waiting. If the queue of the receiver is full, the error is
/// `WouldBlock`.
fn send_datagram(socket: &SocketAddr, bytes: &[u8]) -> io::Result<()> {
    let sender = UnixDatagram::unbound()?;
    sender.set_nonblocking(true)?;
    sender.send_to_addr(bytes, socket).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a socket of systemd with a name of its own, and the sender to it.
    fn bound(name: &str) -> (UnixDatagram, SystemdNotifications) {
        let name = format!("imagestore-agent-{name}-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let systemd = UnixDatagram::bind_addr(&address).unwrap();
        systemd.set_nonblocking(true).unwrap();
        (systemd, SystemdNotifications::to_socket(Some(OsStr::new(&format!("@{name}")))))
    }

    fn received(systemd: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 4096];
        let mut messages = Vec::new();
        while let Ok(length) = systemd.recv(&mut buffer) {
            messages.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        messages
    }

    #[test]
    fn the_states_of_a_full_socket_wait_in_their_order() {
        let (systemd, sender) = bound("full");
        while send_datagram(&lock_unpoisoned(sender.queue.as_ref().unwrap()).socket, b"x").is_ok() {
        }
        sender.notify_ready();
        sender.set_status("no store");
        sender.notify_reloading();
        sender.set_status("1 store");
        sender.send_waiting(true);
        received(&systemd);
        sender.send_waiting(true);
        let messages = received(&systemd);
        assert_eq!(messages[0], "READY=1\n");
        assert!(messages[1].starts_with("RELOADING=1\nMONOTONIC_USEC="), "{messages:?}");
        assert_eq!(messages[2..], ["STATUS=1 store\n", "WATCHDOG=1\n"]);
        sender.send_waiting(false);
        assert!(received(&systemd).is_empty());
    }

    #[test]
    fn at_most_the_newest_states_wait() {
        let (systemd, sender) = bound("bounded");
        while send_datagram(&lock_unpoisoned(sender.queue.as_ref().unwrap()).socket, b"x").is_ok() {
        }
        for _ in 0..MAX_WAITING_STATES {
            sender.notify_reloading();
        }
        sender.notify_ready();
        received(&systemd);
        sender.send_waiting(false);
        let messages = received(&systemd);
        assert_eq!(messages.len(), MAX_WAITING_STATES);
        assert_eq!(messages.last().map(String::as_str), Some("READY=1\n"));
    }

    #[test]
    fn a_name_is_a_path_or_an_abstract_one() {
        for (name, usable) in [
            ("/run/systemd/notify", true),
            ("@/org/freedesktop/systemd1/notify", true),
            ("@", false),
            ("", false),
            ("notify", false),
            ("vsock:2:9999", false),
        ] {
            let sender = SystemdNotifications::to_socket(Some(OsStr::new(name)));
            assert_eq!(sender.is_available(), usable, "{name}");
        }
        assert!(!SystemdNotifications::to_socket(None).is_available());
    }
}
