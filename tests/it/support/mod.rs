//! What the tests start: real filesystems, servers and peers, each owned by its test.

pub(crate) mod filesystems;
pub(crate) mod needs;
