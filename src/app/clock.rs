//! The real clock and the real dice; everything else is given them.
#![expect(clippy::disallowed_methods, reason = "wall time enters here, and dice that fail end all")]

use std::time::{SystemTime, UNIX_EPOCH};

use ring::error::Unspecified;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::exit::Exit;
use crate::model::{Clock, Entropy, Timestamp};

/// The system's wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let ms = since.map_or(0, |since| since.as_millis());
        Timestamp(i64::try_from(ms).unwrap_or(i64::MAX))
    }
}

/// The system's random source, `getrandom(2)`.
#[derive(Debug)]
pub struct SystemEntropy(SystemRandom);

impl Default for SystemEntropy {
    fn default() -> Self {
        Self(SystemRandom::new())
    }
}

impl Entropy for SystemEntropy {
    fn bytes16(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        or_end(self.0.fill(&mut bytes));
        bytes
    }
}

/// Ends the process where the system has no randomness: ids would collide and tokens be guessed. It
/// fails in a sandbox without the call and without `/dev/urandom`, in which TLS and SSH do not work
/// either; what a stop in order would send needs it too. What is committed is safe.
fn or_end(filled: Result<(), Unspecified>) {
    if filled.is_err() {
        // Not through tracing, which is silent before its start and in a client command.
        eprintln!("the system has no randomness: getrandom(2) fails");
        std::process::exit(i32::from(Exit::Internal as u8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dice_that_fail_end_the_process() {
        const CHILD: &str = "DICE_THAT_FAIL";
        if std::env::var_os(CHILD).is_some() {
            or_end(Err(Unspecified));
            return;
        }
        let name = "app::clock::tests::dice_that_fail_end_the_process";
        let ended = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(70), "{told}");
        assert!(told.contains("no randomness"), "{told}");
    }

    #[test]
    fn no_two_throws_are_the_same() {
        let dice = SystemEntropy::default();
        assert_ne!(dice.bytes16(), dice.bytes16());
    }
}
