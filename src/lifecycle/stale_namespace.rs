//! Whether the host outside a container sees another disk in the store's place than this daemon does.
//!
//! A container has mounts of its own. What the host unmounts or mounts later reaches it only where the
//! image directory was given to it as `rslave` (`mount_namespaces(7)`); else the daemon goes on with a disk
//! that the host has let go. Its own mounts show nothing of that: the login does, which leads outside.

use super::{Probe, Record};
use crate::model::{Check, Fault, MarkerThere, Proof, Reason};

/// Whether it is so, as far as a good login tells; none when it tells nothing new. `fresh` tells that the
/// newest look at the directory belongs to the same attempt: the one before a login of the monitor may be from
/// before an `umount` that both sides see, so that such a login only raises a suspicion.
///
/// A path where the host has never shown anything may be another one there, and proves nothing.
pub(super) fn is_stale(r: &mut Record, proof: &Proof, fresh: bool) -> Option<bool> {
    r.suspected = false;
    let seen = match proof {
        Proof::NotAsked => return Some(false),
        Proof::Unavailable(_) => return None,
        Proof::Shown { marker, .. } => (*marker)?,
    };
    let had_it = r.host_had_it;
    r.host_had_it |= matches!(seen, MarkerThere::Same | MarkerThere::Another | MarkerThere::Hidden);
    let ours = r.checks.examine.fault.as_ref();
    let gone_out_there = match seen {
        MarkerThere::Another => true,
        MarkerThere::Missing => had_it,
        MarkerThere::Hidden => false,
        // A disk that came back under another name is well out there, and dead in here.
        MarkerThere::Same => return Some(ours.is_some_and(is_dead)),
        MarkerThere::Silent => return None,
    };
    let stale = gone_out_there && !ours.is_some_and(is_gone);
    if stale && !fresh {
        r.suspected = true;
        return None;
    }
    Some(stale)
}

/// Whether a probe decides it: by what is gone in here too, or by showing that a suspicion holds.
pub(super) fn is_decided(r: &mut Record, probe: &Probe) -> Option<bool> {
    match &probe.examined {
        Err(fault) if is_gone(fault) => {
            r.suspected = false;
            Some(false)
        }
        Err(fault) if !is_dead(fault) => None,
        _ => std::mem::take(&mut r.suspected).then_some(true),
    }
}

/// Whether another disk, or none, is what this daemon sees as well.
fn is_gone(fault: &Fault) -> bool {
    fault.reason().check() == Check::Identity
}

/// Whether the disk does not answer as one does that is there.
fn is_dead(fault: &Fault) -> bool {
    matches!(fault.reason(), Reason::IoError | Reason::StaleHandle)
}

#[cfg(test)]
mod tests {
    use super::super::tests::transition_table::{POLICY, at, login, probe, record};
    use super::super::{Cause, Input, Login, Outcome, step};
    use super::*;
    use crate::model::{Condition, Evidence, Obstacle, Status, Tags, Unproven};

    fn shown(marker: Option<MarkerThere>) -> Proof {
        Proof::Shown { by: Evidence::BootId, marker }
    }

    fn logged_in(proof: Proof) -> Login {
        Login { outcome: Ok(proof), ..login(None) }
    }

    fn is_held(r: &Record) -> bool {
        r.standing.conditions.contains_key(&Condition::StaleNamespace)
    }

    fn after(r: Record, input: Input) -> Record {
        step(r, input, &POLICY, at(20)).0
    }

    /// A login of the monitor, and a probe after it.
    fn by_monitor(r: Record, proof: Proof, reason: Option<Reason>) -> Record {
        let r = after(r, Input::LoggedIn(logged_in(proof)));
        after(r, Input::Probed(probe(reason, None)))
    }

    /// An attempt with this login and such a probe.
    fn by_attempt(r: Record, proof: Proof, reason: Option<Reason>) -> Record {
        let asked = Input::ReconnectAsked { cause: Cause::Person, tags: Tags::default() };
        let r = after(r, asked);
        let outcome = Ok(Outcome { probe: probe(reason, None), login: logged_in(proof) });
        let attempt = r.standing.attempt;
        after(r, Input::AttemptEnded { attempt, outcome })
    }

    #[test]
    fn another_disk_outside_is_one_at_once_and_none_once_something_was_there() {
        use MarkerThere::{Another, Hidden, Missing, Same, Silent};
        for (seen, expected) in [
            (vec![Same, Another, Silent, Same], vec![false, true, true, false]),
            (vec![Hidden, Missing, Missing, Hidden], vec![false, true, true, false]),
            (vec![Another], vec![true]),
            // A path that is another one out there.
            (vec![Missing, Silent, Missing], vec![false, false, false]),
        ] {
            for by in [by_monitor, by_attempt] {
                let mut r = record(Status::Connected);
                let held = seen.iter().map(|&seen| {
                    r = by(r.clone(), shown(Some(seen)), None);
                    assert_eq!(r.standing.status, Status::Connected, "it disconnects nothing");
                    is_held(&r)
                });
                assert_eq!(held.collect::<Vec<_>>(), expected, "{seen:?}");
            }
        }
    }

    #[test]
    fn a_login_that_shows_nothing_of_it_changes_nothing() {
        let stale =
            || by_attempt(record(Status::Connected), shown(Some(MarkerThere::Another)), None);
        let unproven = Unproven { obstacle: Obstacle::NoSftp, details: "no SFTP".to_owned() };
        for (proof, expected) in
            [(shown(None), true), (Proof::Unavailable(unproven), true), (Proof::NotAsked, false)]
        {
            assert_eq!(is_held(&by_monitor(stale(), proof.clone(), None)), expected, "{proof:?}");
        }
        assert!(!is_held(&after(stale(), Input::Started)), "another namespace");
    }

    #[test]
    fn what_is_gone_in_here_too_is_no_matter_of_namespaces() {
        use Reason::{IoError, MarkerMissing, NotMounted, ProbeTimeout, ReadOnly};
        for (reason, expected) in [
            (NotMounted, false),
            (MarkerMissing, false),
            // The disk that was let go fails, as one that is pulled out does.
            (IoError, true),
            (ReadOnly, true),
            (ProbeTimeout, true),
        ] {
            let another = || shown(Some(MarkerThere::Another));
            let r = by_attempt(record(Status::Connected), another(), Some(reason));
            assert_eq!(is_held(&r), expected, "{reason}");
            let r = by_monitor(by_attempt(r, another(), None), another(), Some(reason));
            assert_eq!(is_held(&r), expected, "{reason}, later");
        }
    }

    #[test]
    fn a_login_between_two_probes_only_raises_a_suspicion() {
        let another = || Input::LoggedIn(logged_in(shown(Some(MarkerThere::Another))));
        let bad = |reason| Input::Probed(probe(Some(reason), None));
        let r = after(record(Status::Connected), another());
        assert!(!is_held(&r));
        let r = after(r, bad(Reason::ProbeTimeout));
        assert!(!is_held(&r), "a probe that shows nothing");
        assert!(is_held(&after(r.clone(), Input::Probed(probe(None, None)))));
        // An umount that both sides see, seen out there first.
        let r = after(after(r, bad(Reason::NotMounted)), Input::Probed(probe(None, None)));
        assert!(!is_held(&r));
    }

    #[test]
    fn a_disk_that_fails_in_here_and_is_well_out_there_is_stale() {
        let same = || shown(Some(MarkerThere::Same));
        let r = by_attempt(record(Status::Connected), same(), Some(Reason::IoError));
        assert!(is_held(&r));
        assert!(!is_held(&by_attempt(r, same(), None)));
        let r = by_attempt(record(Status::Connected), same(), Some(Reason::ProbeTimeout));
        assert!(!is_held(&r));
    }

    #[test]
    fn what_one_server_has_shown_is_nothing_that_another_one_had() {
        let mut r = by_attempt(record(Status::Connected), shown(Some(MarkerThere::Same)), None);
        r.logs_in_elsewhere();
        assert!(!is_held(&by_attempt(r, shown(Some(MarkerThere::Missing)), None)));
    }
}
