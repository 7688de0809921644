//! The integration tests, one binary.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and reads its own files"
)]

mod ansible;
mod architecture;
mod cli;
mod daemon;
mod deployment;
mod docs;
mod generated_docs;
mod http;
mod management;
mod monitoring;
mod notifier;
mod packages;
mod probe;
mod receiver;
mod receiver_answers;
mod settings;
mod ssh;
mod support;
