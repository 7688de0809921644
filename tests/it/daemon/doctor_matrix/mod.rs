//! The exit status of `doctor` for each of its checks: a run in which the check is good, and one in
//! which it is not.

mod settings;
mod stores;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Output;

use imagestore_agent::catalog::DoctorCheck;
use serde_json::Value;

use crate::support::agent::Agent;
use crate::support::requirements::needs_root;

/// The runs of each check that were as expected.
#[derive(Default)]
struct Matrix(BTreeMap<DoctorCheck, BTreeSet<&'static str>>);

/// Returns the exit status and the findings of a check.
fn outcome(check: DoctorCheck, output: &Output) -> (i32, Value) {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let body: Value =
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{check}: {text} {errors}"));
    (output.status.code().unwrap(), body)
}

/// Returns the finding of a check that is not well, or else its first one.
fn finding(check: DoctorCheck, body: &Value) -> &Value {
    let all = body["checks"].as_array().unwrap();
    let own: Vec<&Value> = all.iter().filter(|it| it["id"] == check.as_str()).collect();
    let bad = own.iter().find(|it| it["verdict"] == "error" || it["verdict"] == "warning");
    bad.or(own.first()).unwrap_or_else(|| panic!("no {check} in {body:#}"))
}

impl Matrix {
    /// Runs the check, which must be good: exit status 0, also with `--strict`.
    fn good(&mut self, agent: &Agent, check: DoctorCheck, more: &[&str]) {
        self.good_by(check, more, &|args| agent.cli(args, ""));
    }

    fn good_by(&mut self, check: DoctorCheck, more: &[&str], run: &dyn Fn(&[&str]) -> Output) {
        for strict in [&[][..], &["--strict"]] {
            let args = [&["doctor", "--json", "--check", check.as_str()], strict, more].concat();
            let (code, body) = outcome(check, &run(&args));
            let verdict = &finding(check, &body)["verdict"];
            assert_eq!((code, verdict), (0, &"ok".into()), "{check} {strict:?}: {body:#}");
        }
        self.0.entry(check).or_default().insert("good");
    }

    /// Runs the check, which must have this verdict: an error has exit status 1, and a warning has
    /// 0, and 1 with `--strict`.
    fn bad(&mut self, agent: &Agent, check: DoctorCheck, verdict: &str, more: &[&str]) {
        self.bad_by(check, verdict, more, &|args| agent.cli(args, ""));
    }

    fn bad_by(
        &mut self,
        check: DoctorCheck,
        verdict: &str,
        more: &[&str],
        run: &dyn Fn(&[&str]) -> Output,
    ) {
        for (strict, expected) in [(&[][..], i32::from(verdict == "error")), (&["--strict"], 1)] {
            let args = [&["doctor", "--json", "--check", check.as_str()], strict, more].concat();
            let (code, body) = outcome(check, &run(&args));
            let finding = finding(check, &body);
            assert_eq!(
                (code, finding["verdict"].as_str().unwrap()),
                (expected, verdict),
                "{check} {strict:?}: {body:#}"
            );
            assert_eq!(body["worst"], verdict, "{check}: {body:#}");
            for text in [&finding["summary"], &finding["impact"], &finding["remedy"]["text"]] {
                assert!(text.as_str().is_some_and(|text| !text.is_empty()), "{finding:#}");
            }
            assert!(finding["see"].as_str().unwrap().starts_with("imagestore-agent explain "));
        }
        self.0.entry(check).or_default().insert("bad");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_check_decides_the_exit_status_in_both_directions() {
    needs_root!();
    let mut matrix = Matrix::default();
    settings::run_all(&mut matrix);
    stores::run_all(&mut matrix).await;
    let missing: Vec<_> = DoctorCheck::ALL
        .iter()
        .flat_map(|check| ["good", "bad"].map(|direction| (*check, direction)))
        .filter(|(check, direction)| {
            !matrix.0.get(check).is_some_and(|seen| seen.contains(direction))
        })
        .collect();
    assert!(missing.is_empty(), "checks without a run: {missing:?}");
}
