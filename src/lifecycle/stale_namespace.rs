//! Detection of a stale mount namespace: the host sees another disk at the store's path than the
//! daemon does.
//!
//! A container has its own mounts. A mount or unmount on the host reaches it only if the image
//! directory was passed to it as `rslave` (`mount_namespaces(7)`). Otherwise the daemon continues
//! with a disk that the host has unmounted. The daemon's own mounts do not show this, but a login
//! does, because it leads out of the container.

use super::ProbeOutcome;
use crate::model::{Check, Fault, HostIdentity, Reason, RemoteMarker};

/// Evidence about the namespace that is kept between checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NamespaceEvidence {
    /// True if the host has shown anything at the marker's path. Otherwise the path may be a
    /// different one there, so it proves nothing.
    marker_seen_on_host: bool,
    /// True if a login has seen another disk on the host. The next probe decides.
    suspect: bool,
}

/// The decision that follows from one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NamespaceDecision {
    /// The new evidence.
    pub(super) evidence: NamespaceEvidence,
    /// True if the namespace is stale; `None` if the check adds no information.
    pub(super) stale: Option<bool>,
}

impl NamespaceEvidence {
    /// Returns the decision after a successful login. `local` is the fault of the newest
    /// examination of the directory. `same_attempt` is true if that examination belongs to the same
    /// attempt.
    ///
    /// A login of the monitor may be newer than the last probe, and an `umount` that both sides see
    /// can lie between them. Such a login therefore only marks the namespace as suspect.
    pub(super) fn after_login(
        self,
        proof: &HostIdentity,
        local: Option<&Fault>,
        same_attempt: bool,
    ) -> NamespaceDecision {
        let mut evidence = Self { suspect: false, ..self };
        let seen = match proof {
            HostIdentity::NotChecked => return evidence.with_stale(Some(false)),
            HostIdentity::Unverified(_) | HostIdentity::Verified { marker: None, .. } => {
                return evidence.with_stale(None);
            }
            HostIdentity::Verified { marker: Some(seen), .. } => seen,
        };
        evidence.marker_seen_on_host |=
            matches!(seen, RemoteMarker::Same | RemoteMarker::Different | RemoteMarker::Unreadable);
        let gone_on_host = match seen {
            RemoteMarker::Different => true,
            RemoteMarker::Missing => self.marker_seen_on_host,
            RemoteMarker::Unreadable => false,
            // A disk that came back under another name is healthy on the host, and dead in the
            // container.
            RemoteMarker::Same => return evidence.with_stale(Some(local.is_some_and(is_dead))),
            RemoteMarker::TimedOut => return evidence.with_stale(None),
        };
        let stale = gone_on_host && !local.is_some_and(is_gone);
        evidence.suspect = stale && !same_attempt;
        evidence.with_stale((!evidence.suspect).then_some(stale))
    }

    /// Returns the decision after a probe. `stale` is false if the daemon also sees the disk gone.
    /// It is true if the probe confirms a suspicion, and `None` otherwise.
    pub(super) fn after_probe(self, probe: &ProbeOutcome) -> NamespaceDecision {
        let cleared = Self { suspect: false, ..self };
        match &probe.examined {
            Err(fault) if is_gone(fault) => cleared.with_stale(Some(false)),
            Err(fault) if !is_dead(fault) => self.with_stale(None),
            _ => cleared.with_stale(self.suspect.then_some(true)),
        }
    }

    fn with_stale(self, stale: Option<bool>) -> NamespaceDecision {
        NamespaceDecision { evidence: self, stale }
    }
}

/// Returns true if the daemon also sees another disk, or none.
fn is_gone(fault: &Fault) -> bool {
    fault.reason().failed_check() == Check::Identity
}

/// Returns true if the fault is that of a disk that is no longer present.
fn is_dead(fault: &Fault) -> bool {
    matches!(
        fault.reason(),
        Reason::IoError
            | Reason::StaleHandle
            | Reason::DiskRemoved
            | Reason::FilesystemServerGone
            | Reason::FilesystemServerUnreachable
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::transition_table::{
        POLICY, at, login, probe, record, step_prepared as step,
    };
    use super::super::{AttemptOutcome, Cause, LoginOutcome, StepInput, StoreRecord};
    use super::*;
    use crate::model::{Condition, HostEvidence, Obstacle, Status, Tags, UnverifiedHost};

    fn shown(marker: Option<RemoteMarker>) -> HostIdentity {
        HostIdentity::Verified { evidence: HostEvidence::BootId, marker }
    }

    fn login_with(proof: HostIdentity) -> LoginOutcome {
        LoginOutcome { outcome: Ok(proof), ..login(None) }
    }

    fn is_held(r: &StoreRecord) -> bool {
        r.durable.conditions.contains_key(&Condition::StaleNamespace)
    }

    fn after(r: StoreRecord, input: StepInput) -> StoreRecord {
        step(r, input, &POLICY, at(20)).0
    }

    /// A login of the monitor, and a probe after it.
    fn by_monitor(r: StoreRecord, proof: HostIdentity, reason: Option<Reason>) -> StoreRecord {
        let r = after(r, StepInput::LoggedIn(login_with(proof)));
        after(r, StepInput::Probed(probe(reason, None)))
    }

    /// An attempt with this login and such a probe.
    fn by_attempt(r: StoreRecord, proof: HostIdentity, reason: Option<Reason>) -> StoreRecord {
        let request = StepInput::ReconnectRequested { cause: Cause::User, tags: Tags::default() };
        let r = after(r, request);
        let outcome = Ok(AttemptOutcome { probe: probe(reason, None), login: login_with(proof) });
        let attempt = r.durable.attempt;
        after(r, StepInput::AttemptEnded { attempt, outcome })
    }

    #[test]
    fn another_disk_on_the_host_is_stale_and_a_missing_one_after_a_marker_was_seen() {
        use RemoteMarker::{Different, Missing, Same, TimedOut, Unreadable};
        for (seen, expected) in [
            (vec![Same, Different, TimedOut, Same], vec![false, true, true, false]),
            (vec![Unreadable, Missing, Missing, Unreadable], vec![false, true, true, false]),
            (vec![Different], vec![true]),
            // A path that is another one out there.
            (vec![Missing, TimedOut, Missing], vec![false, false, false]),
        ] {
            for by in [by_monitor, by_attempt] {
                let mut r = record(Status::Connected);
                let held = seen.iter().map(|&seen| {
                    r = by(r.clone(), shown(Some(seen)), None);
                    assert_eq!(r.durable.status, Status::Connected, "it disconnects nothing");
                    is_held(&r)
                });
                assert_eq!(held.collect::<Vec<_>>(), expected, "{seen:?}");
            }
        }
    }

    #[test]
    fn a_login_without_evidence_changes_nothing() {
        let stale =
            || by_attempt(record(Status::Connected), shown(Some(RemoteMarker::Different)), None);
        let unproven = UnverifiedHost { obstacle: Obstacle::NoSftp, details: "no SFTP".to_owned() };
        for (proof, expected) in [
            (shown(None), true),
            (HostIdentity::Unverified(unproven), true),
            (HostIdentity::NotChecked, false),
        ] {
            assert_eq!(is_held(&by_monitor(stale(), proof.clone(), None)), expected, "{proof:?}");
        }
        assert!(!is_held(&after(stale(), StepInput::Started)), "another namespace");
    }

    #[test]
    fn a_disk_that_the_daemon_also_misses_is_not_stale() {
        use Reason::{IoError, MarkerMissing, NotMounted, ProbeTimeout, ReadOnly};
        for (reason, expected) in [
            (NotMounted, false),
            (MarkerMissing, false),
            // The disk that was let go fails, as one that is pulled out does.
            (IoError, true),
            (ReadOnly, true),
            (ProbeTimeout, true),
        ] {
            let another = || shown(Some(RemoteMarker::Different));
            let r = by_attempt(record(Status::Connected), another(), Some(reason));
            assert_eq!(is_held(&r), expected, "{reason}");
            let r = by_monitor(by_attempt(r, another(), None), another(), Some(reason));
            assert_eq!(is_held(&r), expected, "{reason}, later");
        }
    }

    #[test]
    fn a_login_between_two_probes_only_raises_a_suspicion() {
        let another = || StepInput::LoggedIn(login_with(shown(Some(RemoteMarker::Different))));
        let bad = |reason| StepInput::Probed(probe(Some(reason), None));
        let r = after(record(Status::Connected), another());
        assert!(!is_held(&r));
        let r = after(r, bad(Reason::ProbeTimeout));
        assert!(!is_held(&r), "a probe that shows nothing");
        assert!(is_held(&after(r.clone(), StepInput::Probed(probe(None, None)))));
        // An umount that both sides see, seen out there first.
        let r = after(after(r, bad(Reason::NotMounted)), StepInput::Probed(probe(None, None)));
        assert!(!is_held(&r));
    }

    #[test]
    fn a_disk_that_fails_here_and_is_healthy_on_the_host_is_stale() {
        let same = || shown(Some(RemoteMarker::Same));
        for reason in [
            Reason::IoError,
            Reason::StaleHandle,
            Reason::DiskRemoved,
            Reason::FilesystemServerGone,
            Reason::FilesystemServerUnreachable,
        ] {
            let r = by_attempt(record(Status::Connected), same(), Some(reason));
            assert!(is_held(&r), "{reason}");
            assert!(!is_held(&by_attempt(r, same(), None)), "{reason}");
        }
        let r = by_attempt(record(Status::Connected), same(), Some(Reason::ProbeTimeout));
        assert!(!is_held(&r));
    }

    #[test]
    fn evidence_of_one_server_does_not_count_for_another() {
        let mut r = by_attempt(record(Status::Connected), shown(Some(RemoteMarker::Same)), None);
        r.reset_host_evidence();
        assert!(!is_held(&by_attempt(r, shown(Some(RemoteMarker::Missing)), None)));
    }
}
