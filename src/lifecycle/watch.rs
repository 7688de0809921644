//! Debounce: how many probes in a row were good or bad since the last decision.

use super::Policy;
use crate::model::Fault;

/// Probes in a row. At most one of the two is above 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Watch {
    bad: u32,
    good: u32,
    trouble: bool,
}

impl Watch {
    /// Counts a bad probe; whether its fault is decided: at once when hard, else after `fail_after`
    /// in a row.
    pub(super) fn fails(&mut self, fault: &Fault, policy: &Policy) -> bool {
        self.good = 0;
        self.trouble = true;
        self.bad = self.bad.saturating_add(1);
        !fault.reason().is_soft() || self.bad >= policy.fail_after
    }

    /// Counts a good probe; whether a fault of the storage counts as gone.
    pub(super) fn succeeds(&mut self, policy: &Policy) -> bool {
        self.bad = 0;
        self.good = self.good.saturating_add(1);
        self.good >= policy.recover_after
    }

    /// Bad probes in a row.
    pub(super) fn bad(self) -> u32 {
        self.bad
    }

    /// Whether bad probes were seen since the last attempt, so that good ones after them mean that
    /// something was mended.
    pub(super) fn saw_trouble(self) -> bool {
        self.trouble
    }

    /// Begins anew: an attempt has ended and said all there is to say.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}
