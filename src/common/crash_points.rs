//! Labelled points at which a test has the process killed, as by `kill -9`. What precedes a point is done,
//! and what follows it is not. Without the feature `crash-points`, a point does nothing; no build that is
//! installed has the feature.

/// Ends the process here, if a test has asked for that.
///
/// With the feature, the environment variable `IMAGESTORE_AGENT_CRASH_POINTS` names a file, which is
/// looked into at each point: `LABEL N` kills at the Nth time that the point with this label is passed
/// since that was first read there. Without the file nothing is killed.
#[inline]
pub fn crash_point(label: &str) {
    #[cfg(feature = "crash-points")]
    armed::pass_point(label);
    #[cfg(not(feature = "crash-points"))]
    let _ = label;
}

#[cfg(feature = "crash-points")]
mod armed {
    use std::sync::Mutex;

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::{Pid, pause};

    use crate::common::lock_unpoisoned;

    /// What was asked for last, and how often its point was passed since.
    static PASSED_POINTS: Mutex<(String, u32)> = Mutex::new((String::new(), 0));

    pub(super) fn pass_point(label: &str) {
        let Some(path) = std::env::var_os("IMAGESTORE_AGENT_CRASH_POINTS") else { return };
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        let Ok(asked) = std::fs::read_to_string(path) else { return };
        let Some((at, nth)) = asked.trim().split_once(' ') else { return };
        let mut passed = lock_unpoisoned(&PASSED_POINTS);
        if passed.0 != asked {
            *passed = (asked.clone(), 0);
        }
        if at != label {
            return;
        }
        passed.1 += 1;
        if nth.parse() == Ok(passed.1) {
            let _ = kill(Pid::this(), Signal::SIGKILL);
            // It may take a moment.
            loop {
                pause();
            }
        }
    }
}
