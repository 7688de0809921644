//! Where wall time and randomness enter, so that everything else can be driven by a test.

use std::fmt;

/// Wall time in milliseconds since the Unix epoch, UTC. For payloads and records only: no decision
/// is taken on it, because it can jump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The same as an unsigned number; times before 1970 count as 0.
    pub fn unix_ms(self) -> u64 {
        u64::try_from(self.0).unwrap_or(0)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => write!(f, "{time:.3}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

/// The wall clock.
pub trait Clock: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// The source of random numbers.
pub trait Entropy: Send + Sync + 'static {
    /// Sixteen random bytes, fit for identifiers.
    fn bytes16(&self) -> [u8; 16];

    /// A random number, fit for jitter.
    fn roll(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.bytes16();
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
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
}
