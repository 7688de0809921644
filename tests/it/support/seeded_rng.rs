//! Random numbers that can be repeated.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Random numbers from a seed (SplitMix64, Steele and others 2014).
pub(crate) struct SeededRng(u64);

impl SeededRng {
    /// Takes the seed from this environment variable, or a new one without it. Prints the seed, so
    /// that a failing test can be repeated.
    pub(crate) fn from_env(variable: &str) -> Self {
        let given = std::env::var(variable).ok().map(|text| text.parse().expect("a number"));
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let seed = given.unwrap_or_else(|| u64::try_from(since.as_micros()).unwrap());
        println!("{variable}={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns another series from the same seed.
    pub(crate) fn another(&mut self) -> Self {
        Self(self.next())
    }

    /// Returns true in one of this number of cases.
    pub(crate) fn one_in(&mut self, cases: u64) -> bool {
        self.next().is_multiple_of(cases)
    }

    /// Returns a number below this one.
    pub(crate) fn number_below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Returns a duration below this one.
    pub(crate) fn below(&mut self, limit: Duration) -> Duration {
        let micros = u64::try_from(limit.as_micros()).unwrap();
        Duration::from_micros(self.next() % micros)
    }
}
