//! The daemon where it is to live: a Debian that is booted for it, with systemd as its first process, and a
//! container.
//!
//! These take minutes, need root and what `make deploy-packages` installs, and keep a base system and the
//! layers of images in `target/deploy`: `make test-deploy`.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking"
)]

mod container;
mod docker;
mod machine;
mod package;
mod systemd;
mod wait;

/// What the other tests have already.
#[allow(dead_code, unused_macros, unused_imports, reason = "some of it is enough here")]
#[path = "../it/support"]
mod support {
    pub(crate) mod filesystems;
    pub(crate) mod fuse;
    pub(crate) mod requirements;
}
