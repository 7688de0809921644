//! The failure of an attempt: all of its faults.

use std::fmt;

use super::{Check, Fault, HostKey};

/// The failed checks of one attempt, never empty. The root cause comes first, in the order
/// identity, storage, SSH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptFailure {
    root: Fault,
    others: Vec<Fault>,
}

impl AttemptFailure {
    /// Creates a failure from the fault of one check.
    pub fn from_fault(fault: Fault) -> Self {
        Self { root: fault, others: Vec::new() }
    }

    /// Creates a failure from faults, and orders them. Returns `None` if there are no faults.
    pub fn from_faults(faults: impl IntoIterator<Item = Fault>) -> Option<Self> {
        let mut faults: Vec<Fault> = faults.into_iter().collect();
        faults.sort_by_key(|fault| fault.reason().failed_check());
        let mut faults = faults.into_iter();
        let root = faults.next()?;
        Some(Self { root, others: faults.collect() })
    }

    /// Returns the root cause.
    pub fn root_fault(&self) -> &Fault {
        &self.root
    }

    /// Returns every failed check, the root cause first.
    pub fn all_faults(&self) -> impl Iterator<Item = &Fault> {
        std::iter::once(&self.root).chain(&self.others)
    }

    /// Returns the host key that was rejected, or `None` if no check failed because of one.
    pub fn offered_host_key(&self) -> Option<&HostKey> {
        self.all_faults().find_map(Fault::offered_host_key)
    }

    /// Returns true if a check of this kind failed.
    pub fn has_check(&self, check: Check) -> bool {
        self.all_faults().any(|fault| fault.reason().failed_check() == check)
    }
}

impl From<Fault> for AttemptFailure {
    /// Creates a failure from the fault of one check.
    fn from(fault: Fault) -> Self {
        Self::from_fault(fault)
    }
}

impl fmt::Display for AttemptFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.root)?;
        for fault in &self.others {
            write!(f, "; {fault}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Reason;

    #[test]
    fn the_root_cause_is_identity_before_storage_before_ssh() {
        let fault = |reason| Fault::new(reason, "x");
        let failure = AttemptFailure::from_faults([
            fault(Reason::CredentialsRefused),
            fault(Reason::IoError),
            fault(Reason::NotMounted),
        ])
        .unwrap();
        let order: Vec<_> = failure.all_faults().map(Fault::reason).collect();
        assert_eq!(order, [Reason::NotMounted, Reason::IoError, Reason::CredentialsRefused]);
        assert!(AttemptFailure::from_faults([]).is_none());
    }
}
