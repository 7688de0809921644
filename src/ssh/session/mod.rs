//! One connection to an SSH server: from the hostname to the authenticated session, and its end.

pub(super) mod algorithms;
pub(super) mod classify;
pub(super) mod dial;
pub(super) mod disconnect;
pub(super) mod handshake;
pub(super) mod host_key;
pub(super) mod host_key_negotiation;
pub(super) mod host_limit;
pub(super) mod resolve;
pub(super) mod stream;
pub(super) mod transcript;
