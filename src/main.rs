//! The program.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == "probe-worker") {
        return imagestore_agent::probe::worker_main();
    }
    ExitCode::FAILURE
}
