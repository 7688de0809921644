//! Arguments of the command line: every command, flag and default.
//!
//! # Guarantees
//!
//! * A value that clap accepts has its type and range.
//! * clap reports a usage error with exit code 2, before anything is read or sent.
//!
//! # Never
//!
//! * A flag takes a secret as its value, because arguments stand in the process list and in the
//!   history of the shell.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use crate::model::{Hostname, StoreUuid};

/// Proves the image stores of this node usable and tells the management node.
#[derive(Debug, Parser)]
#[command(name = "imagestore-agent", version, arg_required_else_help = true)]
pub struct Args {
    /// Settings file [env: IMAGESTORE_AGENT_CONFIG] [default: /etc/imagestore-agent/agent.toml,
    /// then built-in defaults]
    // The variable is read with the settings: clap would not take an empty one for unset.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands of the program.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon
    Serve(ServeArgs),
    /// Run the whole thing on loopback in a throw-away directory; needs no settings
    Demo {
        /// Exit after the first reconnect, non-zero if anything failed
        #[arg(long)]
        once: bool,
    },
    /// Check the settings and list every fault
    CheckConfig,
    /// Mark a directory as an image store (run it as root)
    Init(InitArgs),
    /// Print completions for a shell
    Completions {
        /// Shell that reads the completions
        shell: Shell,
    },
    /// Print the manual page, or a command's, for man(1): imagestore-agent man add | man -l -
    Man {
        /// Of this command
        command: Option<String>,
    },
    #[allow(missing_docs, reason = "a doc comment here would be taken for help text")]
    #[command(flatten)]
    Client(Box<ClientCommand>),
}

/// Arguments of `serve`.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct ServeArgs {
    /// After a restore of an older state directory with the clock set back: number transitions from
    /// here on, in milliseconds since 1970, above every epoch that has been told (to be given once)
    // Up to the year 2200: what is kept never goes back, and must not come near its end.
    #[arg(long, value_name = "MILLISECONDS", value_parser = clap::value_parser!(i64).range(1..=7_258_118_400_000))]
    pub new_epoch_floor: Option<i64>,
}

/// A command that asks the running daemon.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Add an image store; it is kept only if the first connect succeeds
    Add(Box<AddArgs>),
    /// List the image stores
    List(ListArgs),
    /// Show one image store
    Show(ShowArgs),
    /// Change a store's login, name or description; a new login is proven first
    Update(Box<UpdateArgs>),
    /// Prove a store usable again, now
    Reconnect(ReconnectArgs),
    /// Stop serving a store; its directory and images stay
    Remove(ConfirmArgs),
    /// Pin the host key for which a store is down, after comparing it on the server
    AcceptHostKey(ConfirmArgs),
    /// Exit 0 when the daemon is ready, 1 otherwise (for containers)
    Healthcheck(HealthcheckArgs),
}

impl ClientCommand {
    /// Returns the options of the connection, and true if results and errors are to be JSON on
    /// standard output.
    pub fn common(&self) -> (&ConnectionArgs, bool) {
        let common = match self {
            Self::Add(args) => &args.common,
            Self::List(args) => &args.common,
            Self::Show(args) => &args.common,
            Self::Update(args) => &args.common,
            Self::Reconnect(args) => &args.common,
            Self::Remove(args) | Self::AcceptHostKey(args) => &args.common,
            Self::Healthcheck(args) => return (&args.connection, false),
        };
        (&common.connection, common.json)
    }
}

/// The options of every command that asks the daemon and prints its answer.
#[derive(Debug, Default, clap::Args)]
pub struct CommonArgs {
    /// Print the daemon's answer as JSON
    #[arg(long)]
    pub json: bool,
    #[allow(missing_docs, reason = "a doc comment here would be taken for help text")]
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// The address of the daemon, and the credentials for it; its Unix socket if no URL is given.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Reaching the daemon")]
pub struct ConnectionArgs {
    /// Speak to this address instead of the Unix socket, such as http://127.0.0.1:7811 or
    /// https://node-1:7811; the token comes from IMAGESTORE_AGENT_TOKEN or --token-file
    #[arg(long = "url", value_name = "URL")]
    pub daemon_url: Option<String>,
    /// File that holds the token for --url; goes before IMAGESTORE_AGENT_TOKEN
    #[arg(long, value_name = "FILE", requires = "daemon_url")]
    pub token_file: Option<PathBuf>,
    /// PEM file of the authorities that an https:// URL is believed by, instead of the system's
    #[arg(long, value_name = "FILE", requires = "daemon_url")]
    pub ca_file: Option<PathBuf>,
    /// PEM file of the certificate to show to a daemon that asks for one
    #[arg(long, value_name = "FILE", requires = "daemon_url", requires = "client_key")]
    pub client_cert: Option<PathBuf>,
    /// PEM file of that certificate's key
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    pub client_key: Option<PathBuf>,
}

/// `init`
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// The image directory; must exist
    #[arg(value_name = "PATH")]
    pub path: String,
    /// User that the daemon runs as [default: the owner of state.dir, else imagestore-agent]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// `add`
#[derive(Debug, clap::Args)]
pub struct AddArgs {
    /// The image directory, an absolute path on this node (`url` in the API)
    #[arg(long, value_name = "DIR")]
    pub path: String,
    /// Name of the store, at most 255 characters
    #[arg(long)]
    pub name: String,
    /// Host whose SSH login proves the store: an address or name of this node
    #[arg(long, value_name = "HOST")]
    pub hostname: Hostname,
    /// User of the SSH login
    #[arg(long, value_name = "USER")]
    pub username: String,
    /// Port of the SSH server
    #[arg(long, default_value_t = 22, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// Description of the store, at most 2048 characters
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// Uuid of the store: 32 lower-case hex digits of a version 1 to 5 uuid [default: random]
    #[arg(long)]
    pub uuid: Option<StoreUuid>,
    /// Fingerprint the SSH server must show, as `ssh-keygen -l` prints it (SHA256:...); repeatable
    #[arg(long = "host-key-fingerprint", value_name = "SHA256")]
    pub host_key_fingerprints: Vec<String>,
    /// Move the store here although the directory belongs to another node's daemon
    #[arg(long)]
    pub take_over: bool,
    /// Log in even if the server has refused these credentials three times within 15 minutes
    #[arg(long)]
    pub force: bool,
    #[allow(missing_docs, reason = "a doc comment here would be taken for help text")]
    #[command(flatten)]
    pub secrets: SecretSources,
    #[allow(missing_docs, reason = "a doc comment here would be taken for help text")]
    #[command(flatten)]
    pub tags: TagArgs,
    #[allow(missing_docs, reason = "a doc comment here would be taken for help text")]
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Sources of the login's secrets. Without a password or key, an add asks the terminal.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Secrets (an add asks for them on the terminal when none is given)")]
pub struct SecretSources {
    /// Read the password from standard input
    #[arg(long, conflicts_with = "password_file")]
    pub password_stdin: bool,
    /// Read the password from this file
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Read the private key (OpenSSH or PEM) from this file
    #[arg(long, value_name = "FILE")]
    pub private_key_file: Option<PathBuf>,
    /// Read the private key's passphrase from this file
    #[arg(long, value_name = "FILE", requires = "private_key_file")]
    pub passphrase_file: Option<PathBuf>,
}

/// Tags that are recorded with the attempt and travel in its events.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Tags")]
pub struct TagArgs {
    /// System tag, at most 255 characters; repeatable
    #[arg(long = "system-tag", value_name = "TAG")]
    pub system: Vec<String>,
    /// User tag, at most 255 characters; repeatable
    #[arg(long = "user-tag", value_name = "TAG")]
    pub user: Vec<String>,
}

/// `list`
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[allow(missing_docs, reason = "a doc comment here would be taken for help text")]
    #[command(flatten)]
    pub common: CommonArgs,
}

/// `show`
#[derive(Debug, clap::Args)]
#[command(mut_arg("json", |json| json.help("Print the store as JSON")))]
pub struct ShowArgs {
    /// The store: 32 lower-case hex digits, as `list` prints them
    pub uuid: StoreUuid,
    #[allow(missing_docs, reason = "a doc comment here would be taken for help text")]
    #[command(flatten)]
    pub common: CommonArgs,
}

/// `update`: what is not given stays as it is.
#[derive(Debug, clap::Args)]
pub struct UpdateArgs {
    /// The store: 32 lower-case hex digits, as `list` prints them
    pub uuid: StoreUuid,
    /// Name of the store, at most 255 characters
    #[arg(long)]
    pub name: Option<String>,
    /// Description of the store, at most 2048 characters
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// Host whose SSH login proves the store: an address or name of this node
    #[arg(long, value_name = "HOST")]
    pub hostname: Option<Hostname>,
    /// Port of the SSH server
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// User of the SSH login
    #[arg(long, value_name = "USER")]
    pub username: Option<String>,
    /// Fingerprint that a server at another address must show, as `ssh-keygen -l` prints it;
    /// repeatable
    #[arg(long = "host-key-fingerprint", value_name = "SHA256")]
    pub host_key_fingerprints: Vec<String>,
    /// Ask for a new password on the terminal
    #[arg(long, conflicts_with_all = ["password_stdin", "password_file"])]
    pub password: bool,
    /// Log in even if the server has refused these credentials three times within 15 minutes
    #[arg(long)]
    pub force: bool,
    #[allow(missing_docs, reason = "a doc comment here would be taken for help text")]
    #[command(flatten)]
    pub secrets: SecretSources,
    #[allow(missing_docs, reason = "a doc comment here would be taken for help text")]
    #[command(flatten)]
    pub tags: TagArgs,
    #[allow(missing_docs, reason = "a doc comment here would be taken for help text")]
    #[command(flatten)]
    pub common: CommonArgs,
}

/// `reconnect`
#[derive(Debug, clap::Args)]
pub struct ReconnectArgs {
    /// The store: 32 lower-case hex digits, as `list` prints them
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub uuid: Option<StoreUuid>,
    /// Every store, eight at a time; exit 1 if any fails
    #[arg(long)]
    pub all: bool,
    /// Log in even if the server has refused these credentials three times within 15 minutes
    #[arg(long)]
    pub force: bool,
    #[allow(missing_docs, reason = "a doc comment here would be taken for help text")]
    #[command(flatten)]
    pub tags: TagArgs,
    #[allow(missing_docs, reason = "a doc comment here would be taken for help text")]
    #[command(flatten)]
    pub common: CommonArgs,
}

/// `remove`, `accept-host-key`: asks before it acts.
#[derive(Debug, clap::Args)]
pub struct ConfirmArgs {
    /// The store: 32 lower-case hex digits, as `list` prints them
    pub uuid: StoreUuid,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    #[allow(missing_docs, reason = "a doc comment here would be taken for help text")]
    #[command(flatten)]
    pub common: CommonArgs,
}

/// `healthcheck`
#[derive(Debug, clap::Args)]
pub struct HealthcheckArgs {
    #[allow(missing_docs, reason = "a doc comment here would be taken for help text")]
    #[command(flatten)]
    pub connection: ConnectionArgs,
}
