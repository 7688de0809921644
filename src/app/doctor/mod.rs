//! The command `doctor`: collects what the daemon, the system and the settings tell, and shows a
//! verdict on each check.
//!
//! # Guarantees
//!
//! - It goes on after a failure: a check that could not run says what it needs.
//! - A chosen check that could not run because no daemon answers brings the finding
//!   `service.answers`, which is an error then.
//! - Every question to the daemon, to systemd and to another process has a deadline, and so has
//!   every file that the options, the settings or `TMPDIR` name.
//! - The files of the options are read once. A pipe gives a token to all rounds of `--wait`.
//! - The exit status is 0 if nothing is wrong, 1 if something is (with `--strict` also for a
//!   warning), and 2 for wrong arguments.
//! - A signal that ends it leaves no copy of the ledger behind.
//!
//! # Never
//!
//! - It never changes a definition, a file or a status. `--report` creates one file, and `--fresh`
//!   and `--login` let the daemon make its own checks now.
//! - It never sends a receiver of `callback.urls` a request.
//! - It never touches an image directory or the state directory itself, because a dead disk would
//!   hold its process.

mod child;
mod configured;
mod daemon_view;
mod lock_holder;
mod offline;
mod output;
mod path_worker;
mod report;
mod requested;
mod service;
mod state_files;
mod state_report;
mod state_worker;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::runtime;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::process::{ExitStatus, ending_signal};
use crate::catalog::{DoctorCheck, Language, Observation, ROUND_LABELS};
use crate::cli::{ConnectionArgs, DaemonAddress, DoctorArgs};
use crate::common::{Clock as _, SystemClock, print_json, print_text, report_line, run_blocking};
use crate::diagnosis::{ClockFacts, Finding, Verdict, diagnose_clock, diagnose_state_dir};
use crate::settings::{ListenUse, Settings, environment_variables};
use crate::wire::FindingBody;
use daemon_view::{DaemonView, remote_daemon};
use offline::OfflineView;
use output::{Report, list_checks, listed_checks, prepare_output};
use report::background::Background;
use report::{make_report, write_report_file};
use requested::RequestedChecks;
use state_files::StateView;

pub use configured::{SETTINGS_WORKER, settings_worker_main};
pub use path_worker::{PATH_WORKER, path_worker_main};
pub use state_files::STATE_WORKER;
pub use state_worker::state_worker_main;

/// Maximum time to write the output. A person may read it page by page.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
/// Time between two rounds of `--wait`.
const ROUND_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum time to read the files that the options name, such as a token from a pipe, or the
/// settings.
const FILES_TIMEOUT: Duration = Duration::from_secs(10);

/// The checks that the daemon makes of itself. The others need no answer.
const MADE_BY_DAEMON: [DoctorCheck; 3] = [
    DoctorCheck::StateWritable,
    DoctorCheck::ManagementDelivered,
    DoctorCheck::ManagementAgentAllow,
];

/// Runs the command. `locale` is the language without `--lang`.
pub fn run_doctor(args: &DoctorArgs, config: Option<&Path>, locale: Language) -> ExitStatus {
    let language = args.lang.unwrap_or(locale);
    if args.list_checks {
        return ExitStatus::Ok.after_output(match args.json {
            true => print_json(&listed_checks(language)),
            false => print_text(&list_checks(language)),
        });
    }
    if args.json && args.writes_report_to_stdout() {
        report_line("--json and --report - both write to the standard output: omit --json");
        return ExitStatus::Usage;
    }
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            report_line(error);
            return ExitStatus::Failed;
        }
    };
    let exit = runtime.block_on(async {
        let ended = match ending_signal() {
            Ok(ended) => ended,
            Err(error) => {
                report_line(error);
                return ExitStatus::Failed;
            }
        };
        // The end of the work removes its temporary files, and kills its processes.
        tokio::select! {
            exit = check_and_show(args, config, language) => exit,
            exit = ended => exit,
        }
    });
    // A name lookup or a read may hang.
    runtime.shutdown_background();
    exit
}

async fn check_and_show(
    args: &DoctorArgs,
    config: Option<&Path>,
    language: Language,
) -> ExitStatus {
    let deadline = args.wait.map(|wait| Instant::now() + wait);
    let remote = match remote_daemon(&args.connection).await {
        Ok(remote) => remote,
        Err(problem) => {
            report_line(problem);
            return ExitStatus::Failed;
        }
    };
    let mut requested = RequestedChecks::of_options(args);
    let mut round = async || examine(args, config, remote.as_ref(), language, &mut requested).await;
    let report = match (round().await, deadline) {
        (Ok(first), Some(deadline)) => Ok(wait_until_well(first, language, deadline, round).await),
        (first, _) => first,
    };
    match report {
        Ok(report) => {
            let (exit, write) = prepare_output(args, language, &report);
            let exit = write_report(args, &report, exit).await;
            // The reader of the output may be slow, and a signal still ends this command.
            let written = run_blocking(Instant::now() + OUTPUT_TIMEOUT, write).await;
            exit.after_output(written.unwrap_or_else(|error| Err(io::Error::other(error))))
        }
        Err(error) => {
            report_line(error);
            ExitStatus::Failed
        }
    }
}

/// Writes the report that the arguments name, if they do. Says on stderr where it is. Returns the
/// exit status, which is a failure if the report was not written.
async fn write_report(args: &DoctorArgs, report: &Report, exit: ExitStatus) -> ExitStatus {
    let Some(target) = &args.report else { return exit };
    let (is_stdout, document) = (args.writes_report_to_stdout(), make_report(report).await);
    match write_report_file(target, is_stdout, &document).await {
        Ok(()) if is_stdout => exit,
        Ok(()) => {
            let target = target.display();
            report_line(format_args!("report: written to {target}; read it before you send it"));
            exit
        }
        Err(problem) => {
            report_line(format_args!("report: {problem}"));
            ExitStatus::Failed
        }
    }
}

/// Makes one round of all checks. `remote` is the daemon at `--url`.
async fn examine(
    args: &DoctorArgs,
    config: Option<&Path>,
    remote: Option<&DaemonAddress>,
    language: Language,
    requested: &mut RequestedChecks,
) -> Result<Report, String> {
    let is_local = args.connection.daemon_url.is_none();
    let is_about_daemon = is_local && args.stores.is_empty();
    let (service, checked) =
        tokio::join!(check_service(is_about_daemon), configured::check_settings(config));
    let loaded = match checked.is_hung {
        true => Err(()),
        false => load_settings(&args.connection, config).await,
    };
    let mut local: Vec<Finding> = service.into_iter().collect();
    if is_about_daemon {
        local.push(checked.finding);
    }
    let settings = loaded.as_ref().map_or_else(|_| Settings::built_in(), Clone::clone);
    let socket = || DaemonAddress::Socket(settings.server.socket.clone());
    let daemon = remote.cloned().unwrap_or_else(socket);
    // With invalid settings, the place of the state directory is not known.
    let looks_at_state = is_local && loaded.is_ok();
    let state = look_at_state(looks_at_state, &settings).await;
    // The connection to a socket on a disk that hangs would hold this process.
    let hung = state
        .as_ref()
        .and_then(StateView::problem)
        .filter(|_| settings.server.socket.starts_with(&settings.state.dir));
    let mut view = match hung {
        Some(problem) => {
            requested.skip();
            DaemonView::not_asked(problem)
        }
        None => {
            // Their results are in the findings.
            let monitor = looks_at_state.then_some(&settings.monitor);
            requested.run(&daemon, daemon_view::prefix(&settings), &args.stores, monitor).await?;
            DaemonView::ask(&daemon, &settings, &args.stores, language).await?
        }
    };
    local.extend(view.local_findings(state.as_ref().and_then(StateView::lock)));
    let is_chosen = |check: DoctorCheck| args.checks.is_empty() || args.checks.contains(&check);
    let (mut has_secrets, mut knows_stores, mut newest_record) = (None, false, None);
    if let Some(state) = state.as_ref().filter(|_| view.problem.is_some()) {
        let offline = OfflineView::look(state, &settings, &args.stores).await?;
        local.extend(offline.findings);
        (has_secrets, knows_stores) = (offline.has_secrets, offline.knows_stores);
        newest_record = offline.newest_record;
        view.stores = offline.stores;
    }
    if is_about_daemon {
        local.extend(configured::diagnose_settings(&settings, loaded.is_ok()));
        let readable = loaded.as_ref().ok().filter(|_| checked.can_read_files);
        local.extend(configured::check_named(readable, &mut view.checks, is_chosen).await);
        if view.problem.is_some() {
            let clock = ClockFacts { now: SystemClock.now(), newest_record, jump: None };
            local.push(diagnose_clock(&clock));
        }
        let answer = view.problem.is_none().then_some(view.checks.as_slice());
        local.extend(state_findings(state.as_ref(), has_secrets, answer));
    } else if !args.stores.is_empty() {
        // Only the stores were asked for.
        local.retain(|finding| finding.store.is_some() || finding.verdict != Verdict::Ok);
    }
    view.checks.retain(|check| id_of(check).is_none_or(is_chosen));
    // A chosen check without a finding must not look as if it was good.
    let found: BTreeSet<DoctorCheck> =
        view.checks.iter().filter_map(id_of).chain(local.iter().map(|it| it.check)).collect();
    let without_finding = args.checks.iter().filter(|check| !found.contains(check));
    let needs_answer = |check: DoctorCheck| {
        view.problem.is_some()
            && match check.is_of_store() {
                true => !knows_stores,
                false => args.stores.is_empty() && MADE_BY_DAEMON.contains(&check),
            }
    };
    local.extend(without_finding.map(|&check| match needs_answer(check) {
        true => Finding::without_daemon(check, DoctorCheck::ServiceAnswers),
        false => Finding::skipped(check, Observation::NotConcerned),
    }));
    // The silence of the daemon is an error of what needs the daemon.
    let lacks_daemon =
        requested.lacks_daemon() || local.iter().any(|it| it.lacks_daemon && is_chosen(it.check));
    local.retain(|finding| {
        is_chosen(finding.check) || lacks_daemon && finding.check == DoctorCheck::ServiceAnswers
    });
    let own = local.iter().map(|finding| {
        serde_json::to_value(FindingBody::new(finding, language)).unwrap_or_default()
    });
    let mut checks: Vec<Value> = own.chain(view.checks).collect();
    // The checks of the daemon come first, in the order of their ids.
    checks.sort_by_cached_key(|check| (!check["store"].is_null(), check_order(check)));
    let background = args.report.is_some().then(|| Background {
        prefix: daemon_view::prefix(&settings).to_owned(),
        settings: loaded.ok(),
        daemon,
        is_local,
        state,
        is_answered: view.problem.is_none(),
        daemon_version: view.version,
    });
    let has_choice = !args.stores.is_empty();
    Ok(Report {
        checks,
        stores: view.stores,
        knows_stores: knows_stores || view.problem.is_none(),
        requested: requested.clone(),
        background,
        has_choice,
    })
}

async fn look_at_state(is_wanted: bool, settings: &Settings) -> Option<StateView> {
    if !is_wanted {
        return None;
    }
    Some(StateView::look(&settings.state).await)
}

/// Returns the findings about the state directory. A daemon that answers reports itself whether it
/// can write. `answer` are its findings.
fn state_findings(
    state: Option<&StateView>,
    has_secrets: Option<bool>,
    answer: Option<&[Value]>,
) -> Vec<Finding> {
    let Some(state) = state else {
        let checks = [DoctorCheck::StateSpace, DoctorCheck::StateKey];
        return checks.map(|check| Finding::skipped(check, DoctorCheck::SettingsValid)).to_vec();
    };
    let mut findings = diagnose_state_dir(&state.facts(has_secrets, answer));
    if answer.is_some() {
        findings.retain(|finding| finding.check != DoctorCheck::StateWritable);
        let summary = Observation::LedgerInUse;
        findings.push(Finding::new(DoctorCheck::StateLedger, Verdict::Ok, summary));
    }
    findings
}

async fn check_service(is_wanted: bool) -> Option<Finding> {
    if !is_wanted {
        return None;
    }
    Some(service::diagnose_service().await)
}

async fn load_settings(connection: &ConnectionArgs, config: Option<&Path>) -> Result<Settings, ()> {
    let (is_remote, config) = (connection.daemon_url.is_some(), config.map(Path::to_owned));
    let load = move || {
        let (config, variables) = (config.as_deref(), environment_variables());
        // A command with --url may not be able to read the settings of the daemon.
        let loaded = match is_remote {
            true => Settings::load_lenient(config, variables).map(|(loaded, _)| loaded),
            false => Settings::load_for(ListenUse::Replaced, config, variables)
                .map(|loaded| loaded.settings),
        };
        loaded.map_err(drop)
    };
    run_blocking(Instant::now() + FILES_TIMEOUT, load).await.map_err(drop).flatten()
}

/// Returns the check of a finding of the daemon, or `None` if this version does not know it.
fn id_of(check: &Value) -> Option<DoctorCheck> {
    check["id"].as_str()?.parse().ok()
}

fn check_order(check: &Value) -> (String, Option<DoctorCheck>) {
    let store = check.pointer("/store/uuid").and_then(Value::as_str).unwrap_or_default();
    (store.to_owned(), id_of(check))
}

/// Repeats the checks with `--wait` until all is well or the time is over. Says on stderr what it
/// waits for, each time that this changes. A round that fails or does not end in time does not
/// count.
async fn wait_until_well(
    mut report: Report,
    language: Language,
    deadline: Instant,
    mut round: impl AsyncFnMut() -> Result<Report, String>,
) -> Report {
    let (mut cause, mut named_cause) = (report.worst_cause(language), String::new());
    while report.worst() > Verdict::Ok {
        if cause != named_cause {
            report_line(format_args!("{}{cause}", ROUND_LABELS.waiting.marked(language)));
            named_cause.clone_from(&cause);
        }
        let next_round = Instant::now() + ROUND_INTERVAL;
        if next_round >= deadline {
            break;
        }
        sleep_until(next_round).await;
        match timeout_at(deadline, round()).await {
            Ok(Ok(next)) => {
                cause = next.worst_cause(language);
                report = next;
            }
            Ok(Err(problem)) => cause = problem,
            Err(_) => break,
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(verdict: Verdict, id: &str) -> Report {
        let checks = vec![json!({"id": id, "verdict": verdict.as_str()})];
        Report { checks, ..Report::default() }
    }

    #[tokio::test]
    async fn a_wait_ends_at_its_deadline_with_the_last_report() {
        let deadline = Instant::now() + Duration::from_secs(3);
        let rounds = std::cell::Cell::new(0);
        let round = async || {
            rounds.set(rounds.get() + 1);
            if rounds.get() > 1 {
                // This round does not end.
                std::future::pending::<()>().await;
            }
            Ok(report(Verdict::Warning, "later"))
        };
        let first = || report(Verdict::Error, "first");
        let last = wait_until_well(first(), Language::English, deadline, round).await;
        assert_eq!((rounds.get(), &last.checks[0]["id"]), (2, &"later".into()));
        assert!(Instant::now() >= deadline);
        // No time is left after the first round.
        let last = wait_until_well(first(), Language::English, deadline, round).await;
        assert_eq!((rounds.get(), &last.checks[0]["id"]), (2, &"first".into()));
    }

    #[tokio::test]
    async fn a_round_that_fails_leaves_the_report_before_it_and_does_not_end_the_wait() {
        let rounds = std::cell::Cell::new(0);
        let deadline = Instant::now() + Duration::from_secs(60);
        let round = async || {
            rounds.set(rounds.get() + 1);
            match rounds.get() {
                1 | 2 => Err("no store has the name".to_owned()),
                _ => Ok(report(Verdict::Ok, "later")),
            }
        };
        let first = report(Verdict::Error, "first");
        let last = wait_until_well(first, Language::English, deadline, round).await;
        assert_eq!((rounds.get(), &last.checks[0]["id"]), (3, &"later".into()));

        let deadline = Instant::now() + Duration::from_secs(2);
        let fails = async || Err("no store has the name".to_owned());
        let first = report(Verdict::Error, "first");
        let last = wait_until_well(first, Language::English, deadline, fails).await;
        assert_eq!(&last.checks[0]["id"], "first");
    }
}
