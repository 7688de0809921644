//! The command `access-key add`: prints the line of a new access key for the file of the keys. It
//! works without a daemon and without settings.

use super::process::ExitStatus;
use crate::cli::{AccessKeyAddArgs, read_secret_stdin};
use crate::common::{SystemRandom, print_bytes, report_line};
use crate::http::new_access_key_line;

/// Prints the line, with a random id and a random secret if they are not given.
pub fn add_access_key(args: &AccessKeyAddArgs) -> ExitStatus {
    let secret = match args.secret_stdin.then(read_secret_stdin).transpose() {
        Ok(secret) => secret,
        Err(error) => {
            report_line(error);
            return ExitStatus::Failed;
        }
    };
    let (id, role) = (args.id.as_deref(), args.role.as_deref());
    match new_access_key_line(&args.name, id, secret, role, &SystemRandom::default()) {
        // The bytes are written as they are: an escaped copy of the secret would not be erased.
        Ok(line) => ExitStatus::Ok.after_output(print_bytes(line.as_bytes())),
        Err(problem) => {
            report_line(problem);
            ExitStatus::Failed
        }
    }
}
