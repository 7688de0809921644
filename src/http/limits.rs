//! Limits on the resources and the time that clients can use.

use std::time::Duration;

use crate::wire::MAX_BODY_BYTES;

/// Limits of the server. The daemon uses the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Maximum number of open TCP connections that have shown no session, certificate or allowed
    /// network. A management node uses only a few connections.
    pub max_connections: usize,
    /// Maximum number of them from one source, an IPv4 address or an IPv6 /64. A quarter leaves
    /// room for others beside three sources that use up their share.
    pub max_source_connections: usize,
    /// Maximum number of open TCP connections that have shown a session, a certificate or an
    /// allowed network. They are counted separately, so that a flood without a session does not
    /// lock them out.
    pub max_trusted_connections: usize,
    /// Maximum number of open Unix socket connections. They are counted separately, so that a flood
    /// over TCP does not lock out the operator.
    pub max_local_connections: usize,
    /// Maximum number of connections of each kind that are kept for another request: over TCP with
    /// a session, over TCP without one, and over the Unix socket. Beyond it, each response is the
    /// last of its connection. Idle connections then exhaust neither the
    /// permits nor the memory: a kept connection costs 16 KiB.
    pub max_keep_alive_connections: usize,
    /// Maximum time from the start of a connection to its first byte. It also bounds the time from
    /// there, or from the end of the previous response, to the end of a request head. It limits
    /// slow heads and idle connections alike.
    pub header_read_timeout: Duration,
    /// Maximum size of a request head, in bytes. It is at least 8192, the minimum of hyper.
    pub max_head_bytes: usize,
    /// Maximum time from the end of a request head to the end of its body.
    pub body_read_timeout: Duration,
    /// Maximum size of a request body, in bytes: that of the largest valid body.
    pub max_body_bytes: usize,
    /// Size from which a body is large, in bytes. An add with the longest private key has 35 KiB,
    /// so that 64 KiB fit nearly every request.
    pub large_body_bytes: usize,
    /// Maximum number of large bodies in memory. Eight of them have 10 MiB, however many clients
    /// send one. The others wait for their turn.
    pub max_large_bodies: usize,
    /// Maximum number of open streams of events. They are counted apart from the connections above.
    /// A waiting stream costs some 20 KiB with its connection.
    pub max_event_streams: usize,
    /// Time after which a waiting stream sends a comment, so that the client and the proxies on the
    /// way see that the connection lives.
    pub event_comment_interval: Duration,
    /// Maximum duration of a stream. The client then resumes it, and shows its session again.
    pub event_stream_duration: Duration,
    /// Maximum sum of the responses with metrics that are not sent yet, in bytes: for callers with
    /// a session, and again for those without one. A store takes some 3 KiB of a response.
    pub max_unsent_metrics_bytes: usize,
    /// Maximum time without progress of a response, because the client does not read it.
    pub write_timeout: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            max_connections: 512,
            max_source_connections: 128,
            max_trusted_connections: 512,
            max_local_connections: 64,
            max_keep_alive_connections: 64,
            header_read_timeout: Duration::from_secs(30),
            max_head_bytes: 16 * 1024,
            body_read_timeout: Duration::from_secs(10),
            max_body_bytes: MAX_BODY_BYTES,
            large_body_bytes: 64 * 1024,
            max_large_bodies: 8,
            max_event_streams: 50,
            event_comment_interval: Duration::from_secs(15),
            event_stream_duration: Duration::from_secs(60 * 60),
            max_unsent_metrics_bytes: 32 * 1024 * 1024,
            write_timeout: Duration::from_secs(30),
        }
    }
}
