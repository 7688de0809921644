//! The identity of the host behind a login: its host key, and the evidence that it is this node.

pub(super) mod identity;
pub(super) mod local_keys;
pub(super) mod sftp;
