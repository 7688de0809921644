//! Fixtures of the tests: real filesystems, servers and peers, each owned by its test.

pub(crate) mod agent;
pub(crate) mod corrupting_proxy;
pub(crate) mod dropbear;
pub(crate) mod event_order;
pub(crate) mod failures;
pub(crate) mod faulty_http_server;
pub(crate) mod filesystems;
pub(crate) mod fixtures;
pub(crate) mod fuse;
pub(crate) mod health;
pub(crate) mod http_server;
pub(crate) mod ledger_snapshot;
pub(crate) mod management_node;
pub(crate) mod non_ssh_peers;
pub(crate) mod processes;
pub(crate) mod requirements;
pub(crate) mod scripted_sftp_server;
pub(crate) mod scripted_ssh_server;
pub(crate) mod secret_files;
pub(crate) mod secret_scan;
pub(crate) mod seeded_rng;
pub(crate) mod sshd;
pub(crate) mod strace;
pub(crate) mod test_ca;
pub(crate) mod users;
pub(crate) mod wait;
