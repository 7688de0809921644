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

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use super::access_key_args::AccessKeyCommand;
use super::account_args::AccountCommand;
use crate::model::{Hostname, StoreUuid};

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
    /// Mark a directory as an image store (run this as root).
    Init(InitArgs),
    /// Manage the access keys with which ZStack's own clients sign their requests.
    #[command(subcommand)]
    AccessKey(AccessKeyCommand),
    /// Manage the accounts with which ZStack's own clients log in.
    #[command(subcommand)]
    Account(AccountCommand),
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

/// A command that sends requests to the running daemon.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Add an image store. The daemon keeps it only if its first connect succeeds.
    Add(Box<AddArgs>),
    /// List the image stores.
    List(ListArgs),
    /// Show one image store: its status, checks, conditions and history.
    Show(ShowArgs),
    /// Change the login, name or description of a store. The daemon verifies a new login first.
    Update(Box<UpdateArgs>),
    /// Connect a store again, with all checks, and wait for the result.
    Reconnect(ReconnectArgs),
    /// Remove a store from the daemon. Its directory and images stay.
    Remove(ConfirmArgs),
    /// Pin the changed or unknown host key of a server, after you have compared it on the server.
    AcceptHostKey(ConfirmArgs),
    /// Exit with 0 if the daemon reports within 5 s that it is ready, else with 1 (for containers).
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

/// The options of every command that sends a request and prints the response.
#[derive(Debug, Default, clap::Args)]
pub struct CommonArgs {
    /// Print the response of the daemon as JSON, errors included.
    #[arg(long, help_heading = None)]
    pub json: bool,
    #[allow(missing_docs, reason = "a doc comment here would be taken for help text")]
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// The address of the daemon, and the credentials for it; its Unix socket if no URL is given.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Reaching the daemon")]
pub struct ConnectionArgs {
    /// Connect to this address instead of the Unix socket, such as http://127.0.0.1:7811 or
    /// https://node-1:7811. The token is read from --token-file or IMAGESTORE_AGENT_TOKEN.
    #[arg(long = "url", value_name = "URL")]
    pub daemon_url: Option<String>,
    /// File with the token for --url. It takes precedence over IMAGESTORE_AGENT_TOKEN.
    #[arg(long, value_name = "FILE", requires = "daemon_url")]
    pub token_file: Option<PathBuf>,
    /// Send the token to another host over http://, which anyone on the way can read.
    #[arg(long, requires = "daemon_url")]
    pub insecure_http: bool,
    /// PEM file of the CAs to trust for an https:// URL, instead of the CAs of the system.
    #[arg(long, value_name = "FILE", requires = "daemon_url")]
    pub ca_file: Option<PathBuf>,
    /// PEM file of the client certificate, for a daemon that requests one.
    #[arg(long, value_name = "FILE", requires = "daemon_url", requires = "client_key")]
    pub client_cert: Option<PathBuf>,
    /// PEM file of the key of --client-cert.
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    pub client_key: Option<PathBuf>,
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

/// `add`
#[derive(Debug, clap::Args)]
pub struct AddArgs {
    /// The image directory, an absolute path on this node (`url` in the API).
    #[arg(long, value_name = "DIR")]
    pub path: String,
    /// Name of the store, 1 to 255 characters.
    #[arg(long)]
    pub name: String,
    /// Host of the SSH login: an address or a name of this node.
    #[arg(long, value_name = "HOST")]
    pub hostname: Hostname,
    /// User of the SSH login, 1 to 255 characters.
    #[arg(long, value_name = "USER")]
    pub username: String,
    /// Port of the SSH server, 1 to 65535.
    #[arg(long, default_value_t = 22, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// Description of the store, at most 2048 characters.
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// Uuid of the store: 32 lower-case hex digits of a version 1 to 5 uuid [default: random]
    #[arg(long)]
    pub uuid: Option<StoreUuid>,
    /// Fingerprint that the host key of the SSH server must have, as `ssh-keygen -l` prints it
    /// (SHA256:...). Repeat the option for several keys, at most 16.
    #[arg(long = "host-key-fingerprint", value_name = "SHA256")]
    pub host_key_fingerprints: Vec<String>,
    /// Move the store to this node, although the directory belongs to the daemon of another node.
    #[arg(long)]
    pub take_over: bool,
    /// Log in even if the server has rejected these credentials three times within 15 minutes.
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

/// Sources of the secrets of the login. Without any of them, `add` prompts on the terminal.
#[derive(Debug, Default, clap::Args)]
#[command(
    next_help_heading = "Secrets (`add` prompts for a password on the terminal if none is given)"
)]
pub struct SecretSources {
    /// Read the password from standard input, up to its end.
    #[arg(long, conflicts_with = "password_file")]
    pub password_stdin: bool,
    /// Read the password from this file.
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Read the private key (OpenSSH or PEM) from this file.
    #[arg(long, value_name = "FILE")]
    pub private_key_file: Option<PathBuf>,
    /// Read the passphrase of the private key from this file.
    #[arg(long, value_name = "FILE", requires = "private_key_file")]
    pub passphrase_file: Option<PathBuf>,
}

/// Tags that the daemon records with the attempt and sends in its events.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Tags")]
pub struct TagArgs {
    /// System tag, at most 255 characters. Repeat the option for several tags, at most 64.
    #[arg(long = "system-tag", value_name = "TAG")]
    pub system: Vec<String>,
    /// User tag, at most 255 characters. Repeat the option for several tags, at most 64.
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
#[command(mut_arg("json", |json| json.help("Print the health view as JSON, errors included")))]
pub struct ShowArgs {
    /// Uuid of the store: 32 lower-case hex digits, as `list` prints them.
    pub uuid: StoreUuid,
    #[allow(missing_docs, reason = "a doc comment here would be taken for help text")]
    #[command(flatten)]
    pub common: CommonArgs,
}

/// `update`: fields without an option stay unchanged.
#[derive(Debug, clap::Args)]
pub struct UpdateArgs {
    /// Uuid of the store: 32 lower-case hex digits, as `list` prints them.
    pub uuid: StoreUuid,
    /// Name of the store, 1 to 255 characters.
    #[arg(long)]
    pub name: Option<String>,
    /// Description of the store, at most 2048 characters.
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// Host of the SSH login: an address or a name of this node. At another host or port, the
    /// stored secrets are used only if the server has the pinned key; otherwise, give a secret.
    #[arg(long, value_name = "HOST")]
    pub hostname: Option<Hostname>,
    /// Port of the SSH server, 1 to 65535. The rule of `--hostname` applies.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// User of the SSH login, 1 to 255 characters.
    #[arg(long, value_name = "USER")]
    pub username: Option<String>,
    /// Fingerprint that the host key of a server at a new address must have, as `ssh-keygen -l`
    /// prints it. Repeat the option for several keys, at most 16.
    #[arg(long = "host-key-fingerprint", value_name = "SHA256")]
    pub host_key_fingerprints: Vec<String>,
    /// Prompt for a new password on the terminal.
    #[arg(long, conflicts_with_all = ["password_stdin", "password_file"])]
    pub password: bool,
    /// Log in even if the server has rejected these credentials three times within 15 minutes.
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
    /// Uuid of the store: 32 lower-case hex digits, as `list` prints them.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub uuid: Option<StoreUuid>,
    /// Reconnect every store, eight at a time. The exit code is 1 if any of them fails.
    #[arg(long)]
    pub all: bool,
    /// Log in even if the server has rejected these credentials three times within 15 minutes.
    #[arg(long)]
    pub force: bool,
    #[allow(missing_docs, reason = "a doc comment here would be taken for help text")]
    #[command(flatten)]
    pub tags: TagArgs,
    #[allow(missing_docs, reason = "a doc comment here would be taken for help text")]
    #[command(flatten)]
    pub common: CommonArgs,
}

/// `remove` and `accept-host-key`, which ask for a confirmation.
#[derive(Debug, clap::Args)]
pub struct ConfirmArgs {
    /// Uuid of the store: 32 lower-case hex digits, as `list` prints them.
    pub uuid: StoreUuid,
    /// Do not ask for a confirmation.
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
