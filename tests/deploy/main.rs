//! The daemon on its target systems: a Debian that is booted for it, with systemd as its first
//! process, and a container.
//!
//! These tests take minutes, need root and the packages of `make deploy-packages`, and keep a base
//! system and the layers of images in `target/deploy`. `make test-deploy` runs them.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "a test fails by panicking"
)]

mod ansible;
mod container;
mod docker;
mod fleet;
mod machine;
mod old_systems;
mod other_systems;
mod package;
mod systemd;
mod upgrades;
mod wait;

/// The modules that the integration tests share.
#[allow(dead_code, unused_macros, unused_imports, reason = "some of it is enough here")]
#[path = "../it/support"]
mod support {
    pub(crate) mod filesystems;
    pub(crate) mod fuse;
    pub(crate) mod requirements;
}
