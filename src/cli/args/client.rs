//! Arguments of the commands that send requests to the daemon.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::capacity::CapacityArgs;
use super::connection::{CommonArgs, ConnectionArgs};
use super::events::{EventsArgs, WaitArgs, parse_timeout};
use crate::cli::output::store_table::ListColumn;
use crate::cli::store_reference::StoreReference;
use crate::model::{Hostname, StoreUuid};

/// A command that sends requests to the running daemon.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Add an image store. The daemon keeps it only if its first connect succeeds.
    Add(Box<AddArgs>),
    /// List the image stores.
    List(ListArgs),
    /// Show one image store: its status, checks, conditions and history.
    Show(ShowArgs),
    /// Show how the space of one store was used by day, and when it will be full.
    Capacity(CapacityArgs),
    /// Show what happened to the stores, oldest first, and with --follow what happens next.
    ///
    /// Events that are missing are shown as a gap. With --follow, the command ends with 0 when the
    /// reader of its output is gone, and goes on while the daemon is restarted.
    Events(EventsArgs),
    /// Wait until a store is connected or disconnected, or its notices are delivered.
    ///
    /// The command ends with 0 in that state, else with 1, and goes on while the daemon restarts.
    Wait(WaitArgs),
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
            Self::Capacity(args) => &args.common,
            Self::Events(args) => &args.common,
            Self::Wait(args) => return (&args.connection, false),
            Self::Reconnect(args) => &args.common,
            Self::Remove(args) | Self::AcceptHostKey(args) => &args.common,
            Self::Healthcheck(args) => return (&args.connection, false),
        };
        (&common.connection, common.json)
    }
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
    /// Print one line for each store: its name, the first digits of its uuid, its status and for
    /// how long, and the reason or the conditions.
    #[arg(long)]
    pub brief: bool,
    /// Go on with the list as it changes, also while the daemon is restarted, until Ctrl-C. A
    /// terminal shows the whole list. Otherwise, each change is a line with the store as it is now,
    /// and a removed store has the status Removed. With --json, each change is a line of JSON.
    #[arg(long, short)]
    pub watch: bool,
    /// For scripts: no header, tabs between the columns, exact numbers (bytes), and \t, \n and
    /// \\ for a tab, a line feed and a backslash in a value.
    #[arg(short = 'H', long, conflicts_with_all = ["brief", "json"])]
    pub scripted: bool,
    /// The columns, with commas and in this order [default: uuid,status,available,total,name,path]
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = column_parser(),
          conflicts_with_all = ["brief", "json"])]
    pub columns: Vec<ListColumn>,
    #[allow(missing_docs, reason = "a doc comment here would be taken for help text")]
    #[command(flatten)]
    pub common: CommonArgs,
}

fn column_parser() -> impl TypedValueParser<Value = ListColumn> {
    PossibleValuesParser::new(ListColumn::ALL.iter().map(|column| column.as_str()))
        .try_map(|text| text.parse::<ListColumn>())
}

/// `show`
#[derive(Debug, clap::Args)]
#[command(mut_arg("json", |json| json.help("Print the health view as JSON, errors included")))]
pub struct ShowArgs {
    /// The store: its name, its uuid, or the first digits of its uuid, at least 6.
    pub store: StoreReference,
    #[allow(missing_docs, reason = "a doc comment here would be taken for help text")]
    #[command(flatten)]
    pub common: CommonArgs,
}

/// `update`: fields without an option stay unchanged.
#[derive(Debug, clap::Args)]
pub struct UpdateArgs {
    /// The store: its name, its uuid, or the first digits of its uuid, at least 6.
    pub store: StoreReference,
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
    /// The store: its name, its uuid, or the first digits of its uuid, at least 6.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub store: Option<StoreReference>,
    /// Reconnect every store, eight at a time. The exit code is 1 if any of them fails.
    #[arg(long)]
    pub all: bool,
    /// Print each phase of the attempt as it ends, with its duration: key, resolve, connect,
    /// handshake, auth, proof, examine, write, commit. With --json, each is a line of JSON before
    /// the result.
    #[arg(long)]
    pub progress: bool,
    /// Then wait until the management node has acknowledged every notice of the store, at most this
    /// long, such as 90s or 10m. After it the command ends with 1. With --progress, this is the
    /// phase delivered.
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout, conflicts_with = "all")]
    pub wait_delivered: Option<Duration>,
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
    /// The store: its name, its uuid, or the first digits of its uuid, at least 6.
    pub store: StoreReference,
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
