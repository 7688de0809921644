//! Options of every command that sends requests to the daemon.

use std::path::PathBuf;

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
#[derive(Clone, Debug, Default, clap::Args)]
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
