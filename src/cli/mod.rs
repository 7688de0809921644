//! Layer 9. The client commands: day-to-day work against the running daemon.
//!
//! Promises: says the daemon's reason and remedy on stderr and ends with 1 when something failed;
//! `--json` puts the daemon's answer, and nothing else, on stdout.
//! Never: takes a secret as an argument, opens the ledger, prints a secret.

mod args;
mod client;
mod commands;
mod manual;
mod output;
mod request_body;
mod secrets;

pub use args::{Args, ClientCommand, Command, InitArgs};
pub use client::{ClientError, DaemonAddress, DaemonResponse};
pub use commands::{CommandError, run_command};
pub use manual::{write_completions, write_manual};
