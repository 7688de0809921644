//! Wall time and randomness. Both enter the daemon here only, so that a test can replace them.
#![expect(
    clippy::disallowed_methods,
    reason = "wall time enters here, and the process ends here if the system has no randomness"
)]

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use ring::error::Unspecified;
use ring::rand::SecureRandom as _;

use super::display::console::report_line;

/// The exit status of a process that has no randomness: `EX_SOFTWARE` of `sysexits.h`, which
/// `app::ExitStatus::Internal` has as well.
const NO_RANDOMNESS_STATUS: i32 = 70;

/// Wall time in milliseconds since the Unix epoch, UTC. It is for payloads and records. No decision
/// depends on it, because it can jump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Returns the milliseconds as an unsigned number. A time before 1970 counts as 0.
    pub fn unix_ms(self) -> u64 {
        u64::try_from(self.0).unwrap_or(0)
    }
}

impl fmt::Display for Timestamp {
    /// Formats the time as RFC 3339 in UTC with milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => write!(f, "{time:.3}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = jiff::Error;

    /// Reads a time in RFC 3339 format.
    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        Ok(Self(text.parse::<jiff::Timestamp>()?.as_millisecond()))
    }
}

/// The wall clock.
pub trait Clock: Send + Sync + 'static {
    /// Returns the current time.
    fn now(&self) -> Timestamp;
}

/// The source of random numbers.
pub trait Random: Send + Sync + 'static {
    /// Returns sixteen random bytes, fit for identifiers.
    fn bytes16(&self) -> [u8; 16];

    /// Returns a random number, fit for jitter.
    fn next_u64(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.bytes16();
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

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
pub struct SystemRandom(ring::rand::SystemRandom);

impl Default for SystemRandom {
    fn default() -> Self {
        Self(ring::rand::SystemRandom::new())
    }
}

impl Random for SystemRandom {
    fn bytes16(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        exit_if_failed(self.0.fill(&mut bytes));
        bytes
    }
}

/// Ends the process if the system has no randomness, because ids would collide and tokens could be
/// guessed. The call fails in a sandbox without `getrandom(2)` and without `/dev/urandom`, in which
/// TLS and SSH do not work either. An orderly stop would send requests, which need randomness too.
/// Committed changes are safe.
fn exit_if_failed(filled: Result<(), Unspecified>) {
    if filled.is_err() {
        // Not through tracing, which is silent before its start and in a client command.
        report_line("the system has no randomness: getrandom(2) fails");
        std::process::exit(NO_RANDOMNESS_STATUS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_prints_as_rfc_3339_with_milliseconds() {
        assert_eq!(Timestamp(1_482_426_606_007).to_string(), "2016-12-22T17:10:06.007Z");
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_random_source_that_fails_ends_the_process() {
        const CHILD: &str = "RANDOM_SOURCE_FAILS";
        if std::env::var_os(CHILD).is_some() {
            exit_if_failed(Err(Unspecified));
            return;
        }
        let name = "common::time::tests::a_random_source_that_fails_ends_the_process";
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(70), "{stderr}");
        assert!(stderr.contains("no randomness"), "{stderr}");
    }

    #[test]
    fn two_draws_are_not_the_same() {
        let random = SystemRandom::default();
        assert_ne!(random.bytes16(), random.bytes16());
    }
}
