//! The integration tests, one binary.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and reads its own files"
)]

mod architecture;
mod daemon;
mod deployment;
mod docs;
mod http_agent;
mod http_api;
mod http_health;
mod http_input;
mod http_limits;
mod init;
mod management;
mod notifier;
mod probe;
mod probe_claim;
mod probe_fuse;
mod probe_hazards;
mod probe_shapes;
mod program;
mod receiver;
mod settings;
mod ssh;
mod ssh_accounts;
mod ssh_host_key;
mod ssh_login;
mod ssh_peers;
mod ssh_sftp;
mod ssh_table;
mod ssh_talk;
mod support;
