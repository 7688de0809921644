//! `imagestore-agent`: proves that an ImageStore backup storage on this node is usable and tells the
//! management node so. `docs/architecture.md` is the map of these rooms.

#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::disallowed_methods,
        reason = "a test fails by panicking and looks at its own files"
    )
)]

pub mod agent;
pub mod app;
pub mod cli;
pub mod common;
pub mod delivery;
pub mod demo;
pub mod http;
pub mod ledger;
pub mod lifecycle;
pub mod management;
pub mod model;
pub mod notifier;
pub mod probe;
pub mod settings;
pub mod ssh;
pub mod systemd;
pub mod telemetry;
pub mod tls;
pub mod wire;
