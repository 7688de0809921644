//! `imagestore-agent` proves that an ImageStore backup storage on this node is usable, and reports
//! it to the management node.
//!
//! The daemon serves several stores. For each of them it logs in over SSH, examines the image
//! directory, and writes to it. The outcome becomes a status, a durable notice, and a signed
//! callback.
//!
//! # The idea
//!
//! Decisions are pure functions, and tasks act on them. [`lifecycle::step()`] decides the status of
//! a store without I/O. The store task in [`agent`] commits the decision to the [`ledger`] and only
//! then carries out its effects. Start to read at [`http`], [`agent::StoreService`],
//! [`lifecycle`], [`ledger`], [`notifier`].
//!
//! # Modules
//!
//! A module depends on modules of lower layers only. From the top:
//!
//! | layer | module | role |
//! |---|---|---|
//! | 11 | [`demo`] | Runs the whole scenario on loopback in a temporary directory. |
//! | 10 | [`app`] | Builds, connects, starts and stops everything. |
//! | 9 | [`http`] | Serves the HTTP interface over TCP and the Unix socket. |
//! | 9 | [`cli`] | Implements the client commands. |
//! | 9 | [`telemetry`] | Writes the log. |
//! | 9 | [`systemd`] | Takes inherited sockets and reports readiness. |
//! | 8 | [`metrics`] | Renders the metrics for Prometheus. |
//! | 7 | [`notifier`] | Delivers the outbox to the management node, in order for each store. |
//! | 6 | [`jobs`] | Keeps the jobs, whose results callers fetch later. |
//! | 6 | [`agent`] | Owns the stores: the registry and one task for each store. |
//! | 6 | [`management`] | Posts events and replies to the management node. |
//! | 5 | [`ledger`] | Keeps all durable state in SQLite. |
//! | 5 | [`probe`] | Examines image directories through a worker process. |
//! | 5 | [`ssh`] | Verifies the login and the host behind it. |
//! | 5 | [`tls`] | Loads certificates and configures TLS. |
//! | 4 | [`wire`] | Defines the JSON of requests, responses and events. |
//! | 4 | [`redaction`] | Decides what a report that leaves the node may show. |
//! | 3 | [`settings`] | Reads and checks the settings. |
//! | 2 | [`lifecycle`] | Decides the status of a store. |
//! | 2 | [`delivery`] | Classifies the replies to notices and schedules the next delivery. |
//! | 2 | [`query`] | Evaluates ZStack's queries over lists of records. |
//! | 2 | [`catalog`] | Has the texts of reasons, conditions, checks and codes, in two languages. |
//! | 1 | [`model`] | Defines the values of the domain. |
//! | 0 | [`common`] | Offers general tools: time, randomness, backoff, sanitized text. |
//!
//! `docs/architecture.md` follows a reconnect through these modules, and has the invariants, the
//! glossary, and the places to extend.

#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::disallowed_macros,
        clippy::disallowed_methods,
        reason = "a test fails by panicking and reads its own files"
    )
)]

pub mod agent;
pub mod app;
pub mod catalog;
pub mod cli;
pub mod common;
pub mod delivery;
pub mod demo;
pub mod diagnosis;
pub mod forecast;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod hooks;
pub mod http;
pub mod jobs;
pub mod ledger;
pub mod lifecycle;
pub mod management;
pub mod metrics;
pub mod model;
pub mod notifier;
pub mod probe;
pub mod query;
pub mod redaction;
pub mod settings;
pub mod ssh;
pub mod systemd;
pub mod telemetry;
pub mod tls;
pub mod wire;
