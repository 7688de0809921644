//! The real clock and the real dice; everything else is given them.
#![expect(clippy::disallowed_methods, reason = "the one place where wall time enters")]

use std::time::{SystemTime, UNIX_EPOCH};

use ring::rand::{SecureRandom as _, SystemRandom};

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
        // It fails on kernels without the call alone, on which nothing of TLS or SSH would work.
        let filled = self.0.fill(&mut bytes);
        debug_assert!(filled.is_ok(), "no system randomness");
        bytes
    }
}
