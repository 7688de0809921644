//! The entry point of the program: parses the arguments and runs the command.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;
use imagestore_agent::app::{self, ExitStatus};
use imagestore_agent::catalog::Language;
use imagestore_agent::cli::{self, AccessKeyCommand, AccountCommand, Args, ClientCommand, Command};
use imagestore_agent::common::{
    Timestamp, escape_hidden, has_colours, print_bytes, report_line, report_text,
};
use imagestore_agent::model::Secret;
use imagestore_agent::settings::{ListenUse, Settings, environment_variables, format_report};
use imagestore_agent::wire::API_DESCRIPTION;
use imagestore_agent::{demo, probe};

fn main() -> ExitCode {
    // This precedes every thread, because a thread inherits the signals that are blocked.
    app::unblock_signals();
    // The daemon spawns this worker to probe an image directory. It is not a command for users.
    if std::env::args_os().nth(1).is_some_and(|word| word == "probe-worker") {
        return probe::worker_main();
    }
    // The command doctor spawns these workers to look at the state directory, the settings and
    // other files.
    if std::env::args_os().nth(1).is_some_and(|word| word == app::STATE_WORKER) {
        return app::state_worker_main();
    }
    if std::env::args_os().nth(1).is_some_and(|word| word == app::SETTINGS_WORKER) {
        return app::settings_worker_main(std::env::args_os().nth(2).map(PathBuf::from));
    }
    if std::env::args_os().nth(1).is_some_and(|word| word == app::PATH_WORKER) {
        return app::path_worker_main(std::env::args_os().skip(2));
    }
    app::block_file_size_signal();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return show_usage(&error).into(),
    };
    let config = args.config.as_deref();
    let exit = match &args.command {
        Command::Serve(args) => app::serve(config, args.new_epoch_floor.map(Timestamp)),
        Command::Demo { once } => demo::run_demo(*once),
        Command::CheckConfig => app::check_config(config),
        Command::Doctor(args) => app::run_doctor(args, config, locale_language()),
        Command::Init(init) => with_settings(&args, |settings| {
            app::init_directory(&init.path, init.user.as_deref(), init.json, settings)
        }),
        Command::AccessKey(AccessKeyCommand::Add(args)) => app::add_access_key(args),
        Command::Account(AccountCommand::Add(account)) => app::add_account(account),
        Command::Explain(explain) => match cli::explain_word(explain, locale_language()) {
            Ok(true) => ExitStatus::Ok,
            Ok(false) => ExitStatus::Failed,
            Err(error) => ExitStatus::Failed.after_output(Err(error)),
        },
        Command::Completions { shell } => {
            ExitStatus::Ok.after_output(print_bytes(&cli::shell_completions(*shell)))
        }
        Command::Openapi => ExitStatus::Ok.after_output(print_bytes(API_DESCRIPTION.as_bytes())),
        Command::Man { command } => match cli::manual_page(command.as_deref()) {
            Ok(page) => ExitStatus::Ok.after_output(print_bytes(&page)),
            Err(error) => {
                report_line(error);
                ExitStatus::Failed
            }
        },
        Command::Client(command) if command.common().0.daemon_url.is_some() => {
            run_client_at_url(command, config)
        }
        Command::Client(command) => with_settings(&args, |settings| run_client(command, settings)),
    };
    exit.into()
}

/// Prints the help or the version that the user requested, or reports a usage error. Only the help
/// has colours, because an error quotes arguments.
fn show_usage(error: &clap::Error) -> ExitStatus {
    // An error that quotes escaped arguments has no line of theirs.
    let escaped = std::env::args_os().map(|word| escape_hidden(&word.to_string_lossy()));
    let text = Args::try_parse_from(escaped).as_ref().err().unwrap_or(error).render();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let text = if has_colours() { text.ansi().to_string() } else { text.to_string() };
            ExitStatus::Ok.after_output(print_bytes(text.as_bytes()))
        }
        _ => {
            report_text(&text.to_string());
            ExitStatus::Usage
        }
    }
}

/// Returns the language that the environment asks for.
fn locale_language() -> Language {
    let variable = |name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    Language::from_locale(["LC_ALL", "LC_MESSAGES", "LANG"].map(variable))
}

fn with_settings(args: &Args, then: impl FnOnce(&Settings) -> ExitStatus) -> ExitStatus {
    // None of these commands opens an address to listen on.
    let config = args.config.as_deref();
    match Settings::load_for(ListenUse::Replaced, config, environment_variables()) {
        Ok(loaded) => then(&loaded.settings),
        Err(error) => {
            report_text(&format_report(error.setting_faults()));
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
                let base_path = settings.server.base_paths.first().cloned().unwrap_or_default();
                report_line(format_args!(
                    "{error}; the command ignores the settings file and uses the base path {base_path:?}"
                ));
            }
            run_client(command, &settings)
        }
        Err(error) => {
            report_text(&format_report(error.setting_faults()));
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
            report_line(why);
            ExitStatus::Failed
        }
    }
}
