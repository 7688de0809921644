//! Arguments of the command line: every command, flag and default.
//!
//! # Guarantees
//!
//! * A value that clap accepts has its type and range.
//! * clap reports a usage error with exit code 2, before anything is read or sent.
//!
//! # Never
//!
//! * A flag never takes a secret as its value, because arguments appear in the process list and in
//!   the history of the shell.

mod access_key;
mod account;
mod capacity;
mod client;
mod connection;
mod doctor;
mod events;

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Parser, Subcommand};
use clap_complete::Shell;

pub use access_key::{AccessKeyAddArgs, AccessKeyCommand};
pub use account::{AccountAddArgs, AccountCommand};
pub(super) use capacity::CapacityArgs;
pub use client::ClientCommand;
pub(super) use client::{
    AddArgs, ConfirmArgs, ListArgs, ReconnectArgs, SecretSources, TagArgs, UpdateArgs,
};
pub use connection::ConnectionArgs;
pub use doctor::DoctorArgs;
pub(super) use events::{AwaitedState, EventsArgs, WaitArgs};

use crate::catalog::Language;

/// Checks that the image stores of this node are usable, and reports each change to the management
/// node.
#[derive(Debug, Parser)]
#[command(name = "imagestore-agent", version, arg_required_else_help = true)]
pub struct Args {
    /// Settings file [env: IMAGESTORE_AGENT_CONFIG] [default: /etc/imagestore-agent/agent.toml if
    /// it exists, else the built-in defaults]
    // The settings read the variable, because clap does not treat an empty one as unset.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands of the program.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon.
    Serve(ServeArgs),
    /// Run a daemon with a store, an SSH server and a management node on loopback, in a temporary
    /// directory. This needs no settings.
    Demo {
        /// Exit after the first reconnect, with 0 only if every step succeeded.
        #[arg(long)]
        once: bool,
    },
    /// Check the settings and the files that they name, and list every fault.
    CheckConfig,
    /// Check the daemon, its settings and its stores, and show what is wrong, what it means and
    /// what helps.
    ///
    /// This changes no definition and no file; only --report creates one. With --fresh and --login,
    /// the daemon looks now, and what it sees counts as the result of its own monitor: a store may
    /// be disconnected or reconnected by it.
    Doctor(Box<DoctorArgs>),
    /// Mark a directory as an image store (run this as root).
    Init(InitArgs),
    /// Manage the access keys with which ZStack's own clients sign their requests.
    #[command(subcommand)]
    AccessKey(AccessKeyCommand),
    /// Manage the accounts with which ZStack's own clients log in.
    #[command(subcommand)]
    Account(AccountCommand),
    /// Explain a reason, a condition, a check, an exit code, an error code of ZStack, a message of
    /// the management node or another word of the output. This needs no daemon and no settings.
    ///
    /// The text may be a whole error message in English or Chinese: the longest known message in it
    /// is explained, else the reasons, the error codes or the exit codes in it. An unknown word
    /// ends with 1 and the closest words.
    Explain(ExplainArgs),
    /// Print the completions for a shell.
    Completions {
        /// Shell that reads the completions.
        shell: Shell,
    },
    /// Print the description of the HTTP API and its events, an OpenAPI 3.1 document.
    Openapi,
    /// Print the manual page of the program or of one command, for man(1): imagestore-agent man add
    /// | man -l -
    Man {
        /// Command to describe [default: the program as a whole]
        command: Option<String>,
    },
    #[allow(missing_docs, reason = "a doc comment here would be taken for help text")]
    #[command(flatten)]
    Client(Box<ClientCommand>),
}

/// Arguments of `serve`.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct ServeArgs {
    /// Lowest epoch of new transitions, in milliseconds since 1970-01-01 UTC, 1 to 7258118400000.
    /// Give it once, if an older state directory was restored and the clock was set back. It must
    /// be above every epoch that a receiver has seen.
    // The maximum is the year 2200: the epoch never decreases, and must stay far from its limit.
    #[arg(long, value_name = "MILLISECONDS", value_parser = clap::value_parser!(i64).range(1..=7_258_118_400_000))]
    pub new_epoch_floor: Option<i64>,
}

/// `explain`
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// Word or text to explain, such as not_mounted, BS.1500, 64 or stuck-connecting.
    #[arg(required = true, value_name = "WORD")]
    pub words: Vec<String>,
    /// Language of the output: en or zh [default: that of LC_ALL, LC_MESSAGES or LANG]
    #[arg(long, value_name = "LANGUAGE", value_parser = PossibleValuesParser::new(["en", "zh"])
        .try_map(|word| word.parse::<Language>()), hide_possible_values = true)]
    pub lang: Option<Language>,
    /// Print the result as JSON, an unknown word included.
    #[arg(long)]
    pub json: bool,
}

/// `init`
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// The image directory. It must exist, at or below one of storage.allowed_roots.
    #[arg(value_name = "PATH")]
    pub path: String,
    /// User of the daemon, who gets the marker [default: the owner of state.dir, else
    /// imagestore-agent]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}
