//! How much one client may hold, and for how long.

use std::time::Duration;

/// Bounds of the server. The default is what the daemon runs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// TCP connections served at once. A management node keeps a handful.
    pub connections: usize,
    /// The same for the Unix socket, counted apart, so that a flood over TCP does not lock out the
    /// operator.
    pub local_connections: usize,
    /// Connections, of each kind, up to which one is kept for another request. Beyond, each answer is
    /// the last of its connection, so that a crowd neither fills the seats nor the memory: a kept
    /// connection costs 16 KiB.
    pub max_keep_alive: usize,
    /// From the opening of a connection to its first byte, and from there, or the end of the answer
    /// before, to the end of a request's head: bounds slow heads and idle connections alike.
    pub header_read_timeout: Duration,
    /// Most bytes of a request's head; at least 8192, which is hyper's own least.
    pub head_bytes: usize,
    /// From the end of a request's head to the end of its body.
    pub body_deadline: Duration,
    /// Most bytes of a request's body. The largest that is asked for, an add with a private key, has
    /// 35 KiB.
    pub body_bytes: usize,
    /// How long an answer may make no progress because the client does not read it.
    pub write_deadline: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: 512,
            local_connections: 64,
            max_keep_alive: 64,
            header_read_timeout: Duration::from_secs(30),
            head_bytes: 16 * 1024,
            body_deadline: Duration::from_secs(10),
            body_bytes: 64 * 1024,
            write_deadline: Duration::from_secs(30),
        }
    }
}
