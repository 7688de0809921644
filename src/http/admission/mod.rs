//! Admission of connections: the permit that each connection holds, and the source that it counts
//! for.
//!
//! # Guarantees
//!
//! - A flood over TCP does not lock out the operator: Unix socket connections have permits of their
//!   own.
//! - A flood without a session does not affect connections with a session: they are counted
//!   separately.
//! - A new TCP connection is always served. Under pressure, an older connection without a session
//!   is closed for it, with a delay that keeps a flood from coming back at once (`tarpit`).

pub(super) mod local;
pub(super) mod remote;
pub(super) mod source;
pub(super) mod table;
pub(super) mod tarpit;

use local::LocalPermit;
use remote::RemotePermit;
use table::{Credential, Promotion};

/// The permit of one connection. Dropping it releases the permit.
pub(super) enum ConnectionPermit {
    /// Of a connection over the Unix socket.
    Local(LocalPermit),
    /// Of a TCP connection.
    Remote(RemotePermit),
}

impl ConnectionPermit {
    /// Records that the head of a request is complete. The connection is then no longer silent.
    pub(super) fn record_request(&self) {
        if let Self::Remote(permit) = self {
            permit.record_request();
        }
    }

    /// Records that the client has shown a credential. Returns false if the request cannot be
    /// served, because too many connections have one, or because the connection is being closed.
    pub(super) fn record_credential(&self, credential: Credential) -> bool {
        match self {
            Self::Local(_) => true,
            Self::Remote(permit) => permit.record_credential(credential) == Promotion::Granted,
        }
    }

    /// Records that the response is a stream of events, which is the last one of its connection.
    /// The connection gives its permit back, because the streams have a limit of their own.
    pub(super) fn record_stream(&self) {
        match self {
            Self::Local(permit) => permit.record_stream(),
            Self::Remote(permit) => permit.record_stream(),
        }
    }

    /// Returns true if too many connections are open to keep this one after its response.
    pub(super) fn should_close_after_response(&self) -> bool {
        match self {
            Self::Local(permit) => permit.should_close_after_response(),
            Self::Remote(permit) => permit.should_close_after_response(),
        }
    }
}
