//! Arguments of the command `access-key`.

use clap::{Args, Subcommand};

/// The commands for the access keys of ZStack's own clients.
#[derive(Debug, Subcommand)]
pub enum AccessKeyCommand {
    /// Print the line of a new access key for the file in auth.access_keys_file. This needs no
    /// daemon and no settings. Append the line to the file, and reload the daemon.
    ///
    /// The line has the name, the id, the secret and the role. The secret is not shown again.
    Add(AccessKeyAddArgs),
}

/// `access-key add`
#[derive(Debug, Args)]
pub struct AccessKeyAddArgs {
    /// Name of the caller: 1 to 64 characters of A-Z a-z 0-9 - _ . @
    pub name: String,
    /// Role of the caller. Without it, the line has no role, which means operate.
    #[arg(long, value_parser = ["read", "operate", "admin"])]
    pub role: Option<String>,
    /// Id of a key that exists already, 1 to 64 of the same characters [default: random]
    #[arg(long)]
    pub id: Option<String>,
    /// Read the secret of a key that exists already from standard input, up to its end.
    #[arg(long, requires = "id")]
    pub secret_stdin: bool,
}
