//! Layer 11. The main job with nothing installed and nothing configured.
//!
//! Promises: the daemon, its HTTP, its SSH, its SQLite and its signed callbacks are the real ones; all
//! of it runs on loopback and in a throw-away directory that is gone at the end.
//! Never: touches a configured daemon, its state or its stores.

mod management_node;
mod scenario;
mod ssh_endpoint;
mod temp_dir;

pub use scenario::run_demo;
