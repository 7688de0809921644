//! Arguments of the command `account`.

use clap::{Args, Subcommand};

/// The commands for the accounts of ZStack's own clients.
#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Print the line of a new account for the file in auth.accounts_file. This needs no daemon and
    /// no settings. Append the line to the file, and reload the daemon.
    ///
    /// The password is read from standard input, or twice from the terminal. It has at least 8
    /// characters.
    Add(AccountAddArgs),
}

/// `account add`
#[derive(Debug, Args)]
pub struct AccountAddArgs {
    /// Name of the account: 1 to 64 characters of A-Z a-z 0-9 - _ . @
    pub name: String,
    /// Role of the account. Without it, the line has no role, which means operate.
    #[arg(long, value_parser = ["read", "operate", "admin"])]
    pub role: Option<String>,
}
