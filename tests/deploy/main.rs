//! The daemon where it is to live: a Debian that is booted for it, with systemd as its first process.
//!
//! These take minutes, need root, `debootstrap` and `systemd-nspawn`, and keep a base system in
//! `target/deploy`: `make test-deploy`.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking"
)]

mod machine;
mod package;
mod systemd;
