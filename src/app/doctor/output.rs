//! The findings of one round, their worst verdict, and their output.

use std::io;

use serde_json::{Map, Value, json};

use super::report::background::Background;
use super::requested::RequestedChecks;
use crate::app::process::ExitStatus;
use crate::catalog::{DoctorCheck, Language, ROUND_LABELS, unmade_phrase};
use crate::cli::{DoctorArgs, format_diagnosis, store_label};
use crate::common::{
    Clock as _, OutputReader, SystemClock, print_json, print_text, report_line, report_text,
};
use crate::diagnosis::Verdict;
use crate::model::StoreUuid;
use crate::wire::DIAGNOSIS_VERSION;

/// Writes the output.
pub(super) type WriteOutput = Box<dyn FnOnce() -> io::Result<OutputReader> + Send>;

/// Everything that one round found.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The findings as JSON, as in the body of a diagnosis.
    pub(super) checks: Vec<Value>,
    /// The stores as the summary of the daemon lists them.
    pub(super) stores: Vec<Value>,
    /// True if the stores are known: the daemon listed them, or its ledger was read.
    pub(super) knows_stores: bool,
    /// The checks that the daemon was asked to make.
    pub(super) requested: RequestedChecks,
    /// The facts that only a report to others needs.
    pub(super) background: Option<Background>,
    /// True if only some stores were chosen.
    pub(super) has_choice: bool,
}

impl Report {
    /// Returns the worst verdict. A check that could not run is no verdict. A requested check that
    /// was not made is a warning.
    pub(super) fn worst(&self) -> Verdict {
        let verdicts = self.checks.iter().filter_map(verdict_of);
        let least = match self.requested.has_problem() {
            true => Verdict::Warning,
            false => Verdict::Ok,
        };
        verdicts.max().unwrap_or(Verdict::Ok).max(least)
    }

    /// Returns the label of the worst finding.
    pub(super) fn worst_cause(&self, language: Language) -> String {
        let worst = self.checks.iter().filter(|check| verdict_of(check) == Some(self.worst()));
        let cause = worst.map(|check| store_label(check, language)).next();
        cause.or_else(|| self.requested.first_problem()).unwrap_or_default()
    }

    /// Returns the chosen stores, or `None` if none was chosen, so that all count.
    pub(super) fn choice(&self) -> Option<Vec<StoreUuid>> {
        let uuid = |store: &Value| store.get("uuid")?.as_str()?.parse().ok();
        self.has_choice.then(|| self.stores.iter().filter_map(uuid).collect())
    }

    /// Returns the JSON output, with `brief` only what is not well.
    pub(super) fn to_json(&self, brief: bool) -> Value {
        let is_shown = |check: &&Value| !brief || verdict_of(check) > Some(Verdict::Ok);
        let checks: Vec<&Value> = self.checks.iter().filter(is_shown).collect();
        let mut document = Map::new();
        document.insert("outputVersion".to_owned(), DIAGNOSIS_VERSION.into());
        document.insert("worst".to_owned(), self.worst().as_str().into());
        document.insert("checks".to_owned(), checks.into_iter().cloned().collect());
        if self.requested.is_wanted() {
            document.insert("requested".to_owned(), self.requested.to_json(brief).into());
        }
        document.into()
    }
}

fn verdict_of(check: &Value) -> Option<Verdict> {
    check.get("verdict")?.as_str()?.parse().ok()
}

/// Returns the exit status, and the function that writes the report.
pub(super) fn prepare_output(
    args: &DoctorArgs,
    language: Language,
    report: &Report,
) -> (ExitStatus, WriteOutput) {
    let worst = report.worst();
    let exit = match worst {
        Verdict::Error => ExitStatus::Failed,
        Verdict::Warning if args.strict => ExitStatus::Failed,
        Verdict::Warning | Verdict::Ok | Verdict::Skipped => ExitStatus::Ok,
    };
    if !args.json && !args.checks.is_empty() {
        let skipped = report.checks.iter().filter(|it| verdict_of(it) == Some(Verdict::Skipped));
        for check in skipped {
            let label = ROUND_LABELS.skipped.marked(language);
            report_line(format_args!("{label}{}", skipped_label(check)));
        }
    }
    if args.json {
        let document = report.to_json(args.brief);
        return (exit, Box::new(move || print_json(&document)));
    }
    let stores = report.knows_stores.then_some(report.stores.as_slice());
    let mut text =
        format_diagnosis(&report.checks, stores, args.brief, SystemClock.now(), language);
    let unmade = report.requested.to_json(true).len();
    if unmade > 0 {
        text.push_str(&format!("{}\n", unmade_phrase(unmade, language)));
    }
    if args.writes_report_to_stdout() {
        return (
            exit,
            Box::new(move || {
                report_text(&text);
                Ok(OutputReader::Present)
            }),
        );
    }
    (exit, Box::new(move || print_text(&text)))
}

/// Returns the store, the id and the need of a check that could not run.
fn skipped_label(check: &Value) -> String {
    let text = |pointer| check.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    format!("{} {} {}", text("/store/name"), text("/id"), text("/summary")).trim().to_owned()
}

/// Returns the ids of all checks, each with the fact that it verifies.
pub(super) fn list_checks(language: Language) -> String {
    let width = DoctorCheck::ALL.iter().map(|check| check.as_str().len()).max().unwrap_or_default();
    let line = |check: &DoctorCheck| {
        format!("{:width$}  {}\n", check.as_str(), check.guidance().meaning.plain(language))
    };
    DoctorCheck::ALL.iter().map(line).collect()
}

/// Returns the list for a program.
pub(super) fn listed_checks(language: Language) -> Value {
    let entry = |check: &DoctorCheck| json!({"id": check.as_str(), "meaning": check.guidance().meaning.plain(language)});
    let checks: Vec<Value> = DoctorCheck::ALL.iter().map(entry).collect();
    json!({"outputVersion": DIAGNOSIS_VERSION, "checks": checks})
}
