//! Layer 11. The demo: runs the daemon's main function without installation or configuration.
//!
//! # Guarantees
//! - The daemon, its HTTP, its SSH, its SQLite and its signed callbacks are the real ones.
//! - Everything runs on loopback and in a temporary directory that is removed at the end.
//!
//! # Never
//! - It never touches a configured daemon, its state or its stores.

mod management_node;
mod scenario;
mod ssh_endpoint;
mod temp_dir;

pub use scenario::run_demo;
