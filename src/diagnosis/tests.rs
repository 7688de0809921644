//! Diagnoses of stores in every state.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::catalog::{CheckCase, DoctorCheck, Language};
use crate::common::Timestamp;
use crate::lifecycle::{CheckState, StoreChecks};
use crate::model::{
    AttemptFailure, Capacity, Check, Condition, Fault, HostEvidence, HostIdentity, InodeCounts,
    Reason, Status,
};

const OTHER_PROCESS: StoreObserver = StoreObserver::OtherProcess { has_node_id: true };
const DECIDED: Timestamp = Timestamp(1_000_000);

/// The checks that each store has a finding for.
const STORE_CHECKS: [DoctorCheck; 14] = [
    DoctorCheck::Directory,
    DoctorCheck::Mount,
    DoctorCheck::Identity,
    DoctorCheck::Permission,
    DoctorCheck::Write,
    DoctorCheck::Space,
    DoctorCheck::Inodes,
    DoctorCheck::Quota,
    DoctorCheck::SshResolve,
    DoctorCheck::SshConnect,
    DoctorCheck::SshHostKey,
    DoctorCheck::SshLogin,
    DoctorCheck::SshProof,
    DoctorCheck::Reported,
];

fn english(finding: &Finding) -> String {
    finding.summary.text(Language::English)
}

fn title() -> StoreTitle {
    let uuid = "4cd9fb914f5f4a1d8d2f000000000001".parse().unwrap();
    StoreTitle { uuid, name: "images".to_owned() }
}

fn good() -> CheckState {
    let mut state = CheckState::default();
    (state.since, state.last, state.last_good) = (Some(DECIDED), Some(DECIDED), Some(DECIDED));
    state.took = Duration::from_millis(3);
    state
}

fn failed(reason: Reason) -> CheckState {
    let mut state = good();
    state.fault = Some(Fault::new(reason, "the observation"));
    state
}

/// A store as the daemon knows it.
struct Subject {
    status: Status,
    failure: Option<AttemptFailure>,
    checks: StoreChecks,
    conditions: Vec<ConditionFact>,
    report: Option<ReportFact>,
    observer: StoreObserver,
}

impl Subject {
    fn healthy() -> Self {
        let mut checks = StoreChecks::default();
        (checks.examine, checks.write, checks.ssh) = (good(), good(), good());
        let report =
            Some(ReportFact { destination: Some("mn-1:8080".into()), ..Default::default() });
        Self {
            status: Status::Connected,
            failure: None,
            checks,
            conditions: Vec::new(),
            report,
            observer: StoreObserver::Daemon,
        }
    }

    fn disconnected(reasons: &[Reason]) -> Self {
        let faults = reasons.iter().map(|reason| Fault::new(*reason, format!("{reason} seen")));
        let mut subject = Self {
            status: Status::Disconnected,
            failure: AttemptFailure::from_faults(faults),
            ..Self::healthy()
        };
        for reason in reasons {
            match reason.failed_check() {
                Check::Ssh => subject.checks.ssh = failed(*reason),
                _ => subject.checks.examine = failed(*reason),
            }
        }
        subject
    }

    fn with_condition(condition: Condition) -> Self {
        let fact =
            ConditionFact { condition, message: "the observation".into(), since: Some(DECIDED) };
        Self { conditions: vec![fact], ..Self::healthy() }
    }

    fn findings(&self) -> Vec<Finding> {
        let title = title();
        let proof = HostIdentity::Verified { evidence: HostEvidence::BootId, marker: None };
        diagnose_store(&StoreFacts {
            observer: self.observer,
            title: &title,
            status: self.status,
            since: DECIDED,
            failure: self.failure.as_ref(),
            checks: &self.checks,
            conditions: &self.conditions,
            capacity: Some(Capacity::new(100, 60).unwrap()),
            inodes: Some(InodeCounts { total: 10, available: 5 }),
            host_identity: self.checks.ssh.last.map(|_| &proof),
            report: self.report.as_ref(),
        })
    }

    fn finding(&self, check: DoctorCheck) -> Finding {
        let found = self.findings().into_iter().find(|finding| finding.check == check);
        found.unwrap_or_else(|| panic!("no finding of {check}"))
    }
}

fn verdicts(findings: &[Finding], verdict: Verdict) -> Vec<DoctorCheck> {
    findings.iter().filter(|it| it.verdict == verdict).map(|it| it.check).collect()
}

#[test]
fn a_healthy_store_has_a_good_finding_for_each_check() {
    let findings = Subject::healthy().findings();
    assert_eq!(verdicts(&findings, Verdict::Ok), STORE_CHECKS);
    assert!(
        findings.iter().all(|it| it.store.as_ref() == Some(&title()) && !english(it).is_empty())
    );
    let space = Subject::healthy().finding(DoctorCheck::Space);
    assert_eq!(english(&space), "60 of 100 bytes available");
    assert_eq!(space.evidence.facts.get("totalCapacity"), Some(&100_u64.into()));
    let without_callback = Subject { report: None, ..Subject::healthy() };
    let reported = without_callback.finding(DoctorCheck::Reported);
    assert_eq!(
        (reported.verdict, english(&reported)),
        (Verdict::Skipped, "needs callback.urls".to_owned())
    );
}

#[test]
fn each_fault_of_a_disconnected_store_is_one_error_at_its_check() {
    for reason in Reason::ALL {
        let Some(check) = check_of_reason(*reason) else { continue };
        let subject = Subject::disconnected(&[*reason]);
        let findings = subject.findings();
        assert_eq!(verdicts(&findings, Verdict::Error), [check], "{reason}");
        let finding = subject.finding(check);
        assert_eq!(finding.words, [ProblemWord::Reason(*reason)]);
        assert_eq!(english(&finding), format!("{reason} seen"));
        assert_eq!(finding.evidence.since, Some(DECIDED), "{reason}");
        assert!(finding.fault.is_some_and(|fault| fault.reason() == *reason));
    }
}

#[test]
fn checks_after_a_failed_one_say_what_they_need() {
    let findings = Subject::disconnected(&[Reason::ConnectionRefused]).findings();
    let skipped = [DoctorCheck::SshHostKey, DoctorCheck::SshLogin, DoctorCheck::SshProof];
    assert_eq!(verdicts(&findings, Verdict::Skipped), skipped);
    let proof = findings.iter().find(|it| it.check == DoctorCheck::SshProof).unwrap();
    assert_eq!(english(proof), "needs ssh.connect");
    let both = Subject::disconnected(&[Reason::NotMounted, Reason::CredentialsRefused]);
    let findings = both.findings();
    assert_eq!(verdicts(&findings, Verdict::Error), [DoctorCheck::Mount, DoctorCheck::SshLogin]);
    let skipped = [DoctorCheck::Identity, DoctorCheck::Write, DoctorCheck::SshProof];
    assert_eq!(verdicts(&findings, Verdict::Skipped), skipped);
}

#[test]
fn a_fault_that_may_be_temporary_is_a_warning_while_the_store_is_connected() {
    let mut subject = Subject::healthy();
    subject.checks.examine = failed(Reason::ProbeTimeout);
    let finding = subject.finding(DoctorCheck::Directory);
    assert_eq!(finding.verdict, Verdict::Warning);
    assert!(english(&finding).contains("stays connected until this repeats"), "{finding:?}");
    assert_eq!(finding.evidence.took, Some(Duration::from_millis(3)));
}

#[test]
fn a_disconnected_store_whose_check_is_good_again_says_so() {
    let mut subject = Subject::disconnected(&[Reason::NotMounted]);
    subject.checks.examine = good();
    subject.checks.examine.last = Some(Timestamp(DECIDED.0 + 1));
    let finding = subject.finding(DoctorCheck::Mount);
    assert_eq!(finding.verdict, Verdict::Error);
    assert!(english(&finding).ends_with("; the check is good again"));
    // The newest probe found something else than the attempt.
    subject.checks.examine = failed(Reason::WrongStore);
    let findings = subject.findings();
    assert_eq!(verdicts(&findings, Verdict::Error), [DoctorCheck::Mount, DoctorCheck::Identity]);
}

#[test]
fn an_attempt_that_runs_is_a_warning_and_an_unprobed_store_needs_its_first_probe() {
    let connecting = Subject { status: Status::Connecting, ..Subject::healthy() };
    let finding = connecting.finding(DoctorCheck::SshLogin);
    assert_eq!((finding.verdict, finding.evidence.since), (Verdict::Warning, Some(DECIDED)));
    // Nothing has failed, so the password needs no correction.
    assert_eq!(finding.case, Some(CheckCase::AttemptRunning));
    let fact = ConditionFact {
        condition: Condition::Unverified,
        message: "not probed since the daemon started".into(),
        since: None,
    };
    let unprobed =
        Subject { checks: StoreChecks::default(), conditions: vec![fact], ..Subject::healthy() };
    let findings = unprobed.findings();
    let known = [DoctorCheck::Space, DoctorCheck::Inodes, DoctorCheck::Reported];
    assert_eq!(verdicts(&findings, Verdict::Ok), known);
    assert_eq!(verdicts(&findings, Verdict::Skipped).len(), STORE_CHECKS.len() - known.len());
    let directory = unprobed.finding(DoctorCheck::Directory);
    assert_eq!(directory.words, [ProblemWord::Condition(Condition::Unverified)]);
}

#[test]
fn each_condition_is_in_the_finding_of_its_check() {
    for condition in Condition::ALL {
        let subject = Subject::with_condition(*condition);
        let finding = subject.finding(check_of_condition(*condition));
        assert!(finding.words.contains(&ProblemWord::Condition(*condition)), "{finding:?}");
        let bad = verdicts(&subject.findings(), Verdict::Error).len();
        let warned = verdicts(&subject.findings(), Verdict::Warning).len();
        assert_eq!(bad + warned, usize::from(finding.verdict > Verdict::Ok), "{condition}");
    }
    for (condition, verdict) in [
        (Condition::Full, Verdict::Error),
        (Condition::NearFull, Verdict::Warning),
        (Condition::DeliveryRefused, Verdict::Error),
        (Condition::SharedFilesystem, Verdict::Ok),
        (Condition::LegacyAlgorithms, Verdict::Ok),
    ] {
        let finding = Subject::with_condition(condition).finding(check_of_condition(condition));
        assert_eq!(finding.verdict, verdict, "{condition}");
    }
    // A note does not hide the result.
    let space = Subject::with_condition(Condition::SharedFilesystem).finding(DoctorCheck::Space);
    assert_eq!(english(&space), "60 of 100 bytes available; also: the observation");
}

#[test]
fn notices_that_wait_are_shown_with_the_last_reply() {
    let report = ReportFact {
        destination: Some("mn-1:8080".into()),
        pending: 3,
        last_reply: Some("HTTP 502".into()),
        next_try: None,
    };
    let finding =
        Subject { report: Some(report), ..Subject::healthy() }.finding(DoctorCheck::Reported);
    assert_eq!(finding.verdict, Verdict::Warning);
    assert_eq!(english(&finding), "3 notices wait for mn-1:8080; last reply: HTTP 502");
}

#[test]
fn without_the_daemon_a_look_replaces_the_last_known_fault_of_the_directory() {
    let mut subject = Subject::disconnected(&[Reason::NotMounted, Reason::CredentialsRefused]);
    subject.observer = OTHER_PROCESS;
    (subject.checks.write, subject.checks.ssh) = Default::default();
    // The look finds another fault than the attempt.
    subject.checks.examine = failed(Reason::WrongStore);
    let errors = verdicts(&subject.findings(), Verdict::Error);
    assert_eq!(errors, [DoctorCheck::Identity, DoctorCheck::SshLogin]);
    let login = subject.finding(DoctorCheck::SshLogin);
    assert_eq!(english(&login), "last known: credentials_refused seen");
    // The look is good.
    subject.checks.examine = good();
    assert_eq!(verdicts(&subject.findings(), Verdict::Error), [DoctorCheck::SshLogin]);
    assert_eq!(english(&subject.finding(DoctorCheck::Mount)), "the directory is good now");
    for check in [DoctorCheck::Write, DoctorCheck::Quota, DoctorCheck::SshConnect] {
        assert_eq!(english(&subject.finding(check)), "needs the daemon", "{check}");
    }
    // No look was possible: the last known fault counts.
    subject.checks.examine = CheckState::default();
    let mount = subject.finding(DoctorCheck::Mount);
    assert_eq!(
        (mount.verdict, english(&mount)),
        (Verdict::Error, "last known: not_mounted seen".to_owned())
    );
    // A fault now is an error, also of a store that was Connected.
    let mut connected = Subject { observer: OTHER_PROCESS, ..Subject::healthy() };
    connected.checks.examine = failed(Reason::ProbeTimeout);
    assert_eq!(connected.finding(DoctorCheck::Directory).verdict, Verdict::Error);
}

#[test]
fn an_overdue_check_is_not_good_and_has_the_condition() {
    use DoctorCheck::{
        Directory, Identity, Inodes, Mount, Permission, Quota, Space, SshConnect, SshHostKey,
        SshLogin, SshProof, SshResolve, Write,
    };
    type Choose = fn(&mut StoreChecks) -> &mut CheckState;
    let cases: [(Choose, DoctorCheck, &[DoctorCheck]); 3] = [
        (|it| &mut it.examine, Directory, &[Mount, Identity, Space, Inodes]),
        (|it| &mut it.write, Write, &[Permission, Quota]),
        (|it| &mut it.ssh, SshLogin, &[SshResolve, SshConnect, SshHostKey, SshProof]),
    ];
    for (choose, main, dependent) in cases {
        let mut subject = Subject::with_condition(Condition::NotProbed);
        choose(&mut subject.checks).set_overdue();
        let findings = subject.findings();
        assert_eq!(verdicts(&findings, Verdict::Warning), [main]);
        assert_eq!(verdicts(&findings, Verdict::Skipped), dependent, "{main}");
        let word = ProblemWord::Condition(Condition::NotProbed);
        assert_eq!(subject.finding(main).words, [word]);
    }
    // A note does not make it good.
    let mut subject = Subject::with_condition(Condition::SharedFilesystem);
    subject.checks.examine.set_overdue();
    assert_eq!(english(&subject.finding(Space)), "needs directory; also: the observation");
    assert_eq!(subject.finding(Space).verdict, Verdict::Skipped);
    // Several at a time are warnings, and the condition is in one finding.
    let mut subject = Subject::with_condition(Condition::NotProbed);
    subject.checks.write.set_overdue();
    subject.checks.ssh.set_overdue();
    let findings = subject.findings();
    assert_eq!(verdicts(&findings, Verdict::Warning), [Write, SshLogin]);
    assert_eq!(findings.iter().filter(|it| !it.words.is_empty()).count(), 1);
    assert_eq!(subject.finding(Directory).verdict, Verdict::Ok);
}

proptest! {
    #[test]
    fn each_check_has_one_finding_and_each_problem_is_in_one(
        reasons in proptest::sample::subsequence(Reason::ALL.to_vec(), 0..4),
        conditions in proptest::sample::subsequence(Condition::ALL.to_vec(), 0..5),
        overdue: [bool; 3],
    ) {
        let mut subject = Subject::disconnected(&reasons);
        let StoreChecks { examine, write, ssh, .. } = &mut subject.checks;
        for (state, is_overdue) in [examine, write, ssh].into_iter().zip(overdue) {
            if is_overdue {
                state.set_overdue();
            }
        }
        subject.conditions.extend(conditions.iter().flat_map(|c| Subject::with_condition(*c).conditions));
        let findings = subject.findings();
        for check in STORE_CHECKS {
            prop_assert_eq!(findings.iter().filter(|it| it.check == check).count(), 1, "{}", check);
        }
        let holders = |word| findings.iter().filter(|it| it.words.contains(&word)).count();
        for reason in reasons.iter().filter(|reason| check_of_reason(**reason).is_some()) {
            prop_assert_eq!(holders(ProblemWord::Reason(*reason)), 1, "{}", reason);
        }
        for condition in conditions {
            prop_assert_eq!(holders(ProblemWord::Condition(condition)), 1, "{}", condition);
        }
    }
}
