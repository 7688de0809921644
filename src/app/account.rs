//! The command `account add`: prints the line of a new account for the accounts file. It works
//! without a daemon and without settings.

use super::process::ExitStatus;
use crate::cli::{AccountAddArgs, read_new_password};
use crate::common::{SystemRandom, print_text, report_line};
use crate::http::new_account_line;

/// Reads the password from stdin or the terminal, and prints the line.
pub fn add_account(args: &AccountAddArgs) -> ExitStatus {
    let password = match read_new_password() {
        Ok(password) => password,
        Err(error) => {
            report_line(error);
            return ExitStatus::Failed;
        }
    };
    let random = SystemRandom::default();
    match new_account_line(&args.name, args.role.as_deref(), &password, &random) {
        Ok(line) => ExitStatus::Ok.after_output(print_text(&format!("{line}\n"))),
        Err(problem) => {
            report_line(problem);
            ExitStatus::Failed
        }
    }
}
