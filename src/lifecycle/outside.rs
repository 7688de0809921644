//! Whether the host outside a container sees another disk in the store's place than this daemon does.
//!
//! A container has mounts of its own. What the host unmounts or mounts later reaches it only where the
//! image directory was given to it as `rslave` (`mount_namespaces(7)`); else the daemon goes on with a disk
//! that the host has let go. Its own mounts show nothing of that: the login does, which leads outside.

use super::{Probe, Record};
use crate::model::{Condition, MarkerThere, Proof, Reason};

/// Whether it is so, as far as a good login tells; none when it tells nothing new.
///
/// A path where the host has never shown anything may be another one there, and proves nothing.
pub(super) fn is_stale(r: &Record, proof: &Proof) -> Option<bool> {
    let seen = match proof {
        Proof::NotAsked => return Some(false),
        Proof::Unavailable(_) => return None,
        Proof::Shown { marker, .. } => (*marker)?,
    };
    let ours = r.checks.examine.fault.as_ref();
    match seen {
        MarkerThere::Another => Some(ours.is_none()),
        MarkerThere::Missing => {
            let held = r.standing.conditions.contains_key(&Condition::StaleNamespace);
            Some(ours.is_none() && (r.host_had_it || held))
        }
        // A disk that came back under another name is well out there, and dead in here.
        MarkerThere::Same => {
            Some(ours.is_some_and(|fault| {
                matches!(fault.reason(), Reason::IoError | Reason::StaleHandle)
            }))
        }
        MarkerThere::Hidden => Some(false),
        MarkerThere::Silent => None,
    }
}

/// Whether a probe ends it: what is wrong out there is wrong in here too, and has a reason of its own.
pub(super) fn is_over(r: &Record, probe: &Probe) -> bool {
    let held = r.standing.conditions.contains_key(&Condition::StaleNamespace);
    held && probe.examined.as_ref().is_err_and(|fault| !fault.reason().is_soft())
}

/// Whether the host shows that there is something.
pub(super) fn shows_something(proof: &Proof) -> bool {
    let Proof::Shown { marker: Some(seen), .. } = proof else { return false };
    matches!(seen, MarkerThere::Same | MarkerThere::Another | MarkerThere::Hidden)
}

#[cfg(test)]
mod tests {
    use super::super::table::{POLICY, at, login, probe, record};
    use super::super::{Input, Login, step};
    use super::*;
    use crate::model::{Evidence, Obstacle, Status, Unproven};

    fn shown(marker: Option<MarkerThere>) -> Input {
        proven(Proof::Shown { by: Evidence::BootId, marker })
    }

    fn proven(proof: Proof) -> Input {
        Input::LoggedIn(Login { outcome: Ok(proof), ..login(None) })
    }

    /// Whether the condition holds after each of these.
    fn held(inputs: impl IntoIterator<Item = Input>) -> Vec<bool> {
        let mut r = record(Status::Connected);
        let held = inputs.into_iter().map(|input| {
            r = step(r.clone(), input, &POLICY, at(20)).0;
            assert_eq!(r.standing.status, Status::Connected, "it disconnects nothing");
            r.standing.conditions.contains_key(&Condition::StaleNamespace)
        });
        held.collect()
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
            assert_eq!(held(seen.iter().map(|&seen| shown(Some(seen)))), expected, "{seen:?}");
        }
    }

    #[test]
    fn a_login_that_shows_nothing_of_it_changes_nothing() {
        let stale = || shown(Some(MarkerThere::Another));
        let unproven = Unproven { obstacle: Obstacle::NoSftp, details: "no SFTP".to_owned() };
        let (unproven, not_asked) = (proven(Proof::Unavailable(unproven)), proven(Proof::NotAsked));
        let inputs = [stale(), shown(None), unproven, not_asked];
        assert_eq!(held(inputs), [true, true, true, false]);
        assert_eq!(held([stale(), Input::Started]), [true, false], "another namespace");
    }

    #[test]
    fn a_disk_that_fails_in_here_and_is_well_out_there_is_stale() {
        let bad = |reason| Input::Probed(probe(Some(reason), None));
        let same = || shown(Some(MarkerThere::Same));
        let inputs = [bad(Reason::IoError), same(), Input::Probed(probe(None, None)), same()];
        assert_eq!(held(inputs), [false, true, true, false]);
        assert_eq!(held([bad(Reason::ProbeTimeout), same()]), [false, false]);
        // What is wrong on both sides is no matter of namespaces.
        let another = shown(Some(MarkerThere::Another));
        assert_eq!(held([bad(Reason::IoError), another]), [false, false]);
    }

    #[test]
    fn a_marker_that_is_gone_in_here_too_ends_it() {
        let after = |r: Record, input| step(r, input, &POLICY, at(20)).0;
        let bad = |reason| Input::Probed(probe(Some(reason), None));
        let is_held = |r: &Record| r.standing.conditions.contains_key(&Condition::StaleNamespace);
        let r = after(record(Status::Connected), shown(Some(MarkerThere::Another)));
        let r = after(r, bad(Reason::ProbeTimeout));
        assert!(is_held(&r), "a probe that shows nothing");
        let r = after(r, bad(Reason::MarkerMissing));
        assert_eq!((is_held(&r), r.standing.status), (false, Status::Disconnected));
    }
}
