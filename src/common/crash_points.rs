//! Labelled points at which a test kills the process, as by `kill -9`. The code before a point has
//! run, and the code after it has not. Without the feature `crash-points`, a point does nothing. No
//! build that is installed has the feature.

/// Kills the process here if a test requests it.
///
/// With the feature, the environment variable `IMAGESTORE_AGENT_CRASH_POINTS` names a file, which
/// each point reads. The text `LABEL N` kills the process when it passes the point with this label
/// for the Nth time since the text was first read. Without the file, the process is not killed.
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

    /// The newest text of the file, and the number of times that its point was passed since.
    static PASSED_POINTS: Mutex<(String, u32)> = Mutex::new((String::new(), 0));

    pub(super) fn pass_point(label: &str) {
        let Some(path) = std::env::var_os("IMAGESTORE_AGENT_CRASH_POINTS") else { return };
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        let Ok(command) = std::fs::read_to_string(path) else { return };
        let Some((at, nth)) = command.trim().split_once(' ') else { return };
        let mut passed = lock_unpoisoned(&PASSED_POINTS);
        if passed.0 != command {
            *passed = (command.clone(), 0);
        }
        if at != label {
            return;
        }
        passed.1 += 1;
        if nth.parse() == Ok(passed.1) {
            let _ = kill(Pid::this(), Signal::SIGKILL);
            // The signal may arrive with a delay.
            loop {
                pause();
            }
        }
    }
}
