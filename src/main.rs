//! The entry point of the program: parses the arguments and runs the command.

use std::io::{self, stdout};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;
use imagestore_agent::app::{self, ExitStatus};
use imagestore_agent::cli::{self, Args, ClientCommand, Command};
use imagestore_agent::common::Timestamp;
use imagestore_agent::model::Secret;
use imagestore_agent::settings::{Settings, environment_variables, format_report};
use imagestore_agent::{demo, probe};

fn main() -> ExitCode {
    // This precedes every thread, because a thread inherits the signals that are blocked.
    app::unblock_signals();
    // The daemon spawns this worker to probe an image directory. It is not a command for users.
    if std::env::args_os().nth(1).is_some_and(|word| word == "probe-worker") {
        return probe::worker_main();
    }
    let args = Args::parse();
    let config = args.config.as_deref();
    let exit = match &args.command {
        Command::Serve(args) => app::serve(config, args.new_epoch_floor.map(Timestamp)),
        Command::Demo { once } => demo::run_demo(*once),
        Command::CheckConfig => app::check_config(config),
        Command::Init(init) => with_settings(&args, |settings| {
            app::init_directory(&init.path, init.user.as_deref(), init.json, settings)
        }),
        Command::Completions { shell } => {
            exit_from_io(cli::write_completions(*shell, &mut stdout()))
        }
        Command::Man { command } => {
            exit_from_io(cli::write_manual(command.as_deref(), &mut stdout()))
        }
        Command::Client(command) if command.common().0.daemon_url.is_some() => {
            run_client_at_url(command, config)
        }
        Command::Client(command) => with_settings(&args, |settings| run_client(command, settings)),
    };
    exit.into()
}

/// Returns the exit status of a command that writes to stdout. A closed pipe (`| head`) is not an
/// error.
fn exit_from_io(result: io::Result<()>) -> ExitStatus {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("{error}");
            ExitStatus::Failed
        }
        _ => ExitStatus::Ok,
    }
}

fn with_settings(args: &Args, then: impl FnOnce(&Settings) -> ExitStatus) -> ExitStatus {
    match Settings::load(args.config.as_deref(), environment_variables()) {
        Ok(settings) => then(&settings),
        Err(error) => {
            eprint!("{}", format_report(error.setting_faults()));
            ExitStatus::Failed
        }
    }
}

/// Runs a client command with `--url`, which needs only `server.base_path` of the settings. A user
/// with a token may not be able to read the daemon's settings file, so an unreadable file is
/// ignored with a note.
fn run_client_at_url(command: &ClientCommand, config: Option<&Path>) -> ExitStatus {
    match Settings::load_lenient(config, environment_variables()) {
        Ok((settings, ignored_error)) => {
            if let Some(error) = ignored_error {
                let base_path = &settings.server.base_path;
                eprintln!(
                    "{error}; the command ignores the settings file and uses the base path {base_path:?}"
                );
            }
            run_client(command, &settings)
        }
        Err(error) => {
            eprint!("{}", format_report(error.setting_faults()));
            ExitStatus::Failed
        }
    }
}

fn run_client(command: &ClientCommand, settings: &Settings) -> ExitStatus {
    let token = std::env::var("IMAGESTORE_AGENT_TOKEN").ok().map(Secret::new);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime
            .block_on(cli::run_command(command, settings, token))
            .map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match result {
        Ok(true) => ExitStatus::Ok,
        Ok(false) => ExitStatus::Failed,
        Err(why) => {
            eprintln!("{why}");
            ExitStatus::Failed
        }
    }
}
