//! What the tests start: real filesystems, servers and peers, each owned by its test.

pub(crate) mod agent;
pub(crate) mod authority;
pub(crate) mod dropbear;
pub(crate) mod failures;
pub(crate) mod false_sftp;
pub(crate) mod filesystems;
pub(crate) mod fuse;
pub(crate) mod health;
pub(crate) mod hostile;
pub(crate) mod http_server;
pub(crate) mod management_node;
pub(crate) mod needs;
pub(crate) mod on_disk;
pub(crate) mod processes;
pub(crate) mod rough;
pub(crate) mod seeded;
pub(crate) mod spoiler;
pub(crate) mod sshd;
pub(crate) mod stores;
pub(crate) mod strace;
pub(crate) mod talker;
pub(crate) mod told;
pub(crate) mod trawl;
pub(crate) mod users;
pub(crate) mod wait;
