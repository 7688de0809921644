//! Layer 9. The client commands: operations on the running daemon, and explanations without it.
//!
//! # Guarantees
//! - A command that fails exits with 1.
//! - Without `--json`, stderr shows the reason and the remedy that the daemon reports.
//! - `--json` prints the response of the daemon, and nothing else, on stdout, in printable ASCII.
//! - No text of the daemon or of a peer controls the terminal.
//!
//! # Never
//! - It never takes a secret as an argument.
//! - It never prints a secret. (`access-key add` is part of `app`.)
//! - It never opens the ledger.

mod args;
mod client;
mod commands;
mod daemon_response;
mod event_stream;
mod explain;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod manual;
mod output;
mod secrets;
mod store_reference;

pub use args::{AccessKeyAddArgs, AccessKeyCommand, AccountAddArgs, AccountCommand};
pub use args::{Args, ClientCommand, Command, ConnectionArgs, DoctorArgs, ExplainArgs, InitArgs};
pub use client::{ClientError, DaemonAddress, RequestEffect};
pub use commands::{CommandError, daemon_address, run_command};
pub use daemon_response::DaemonResponse;
pub use explain::explain_word;
pub use manual::{manual_page, shell_completions};
pub(crate) use output::diagnosis::{format_diagnosis, store_label};
pub use secrets::{SecretError, read_new_password, read_secret_stdin};
pub(crate) use store_reference::ListedStore;
pub use store_reference::{ReferenceError, StoreReference};
