//! Conditions: problems that need an operator but do not disconnect the store. Each has a stable
//! name, and its texts are in `catalog`.

use crate::common::string_enum;

string_enum! {
    /// A condition. It never disconnects a store, because the images must still be readable.
    pub Condition {
        /// The store has not been probed since the daemon started.
        Unverified = "unverified",
        /// A check that was due has not ended for `monitor.fail_after` of its intervals.
        NotProbed = "not_probed",
        /// Little space is left: `storage.near_full`.
        NearFull = "near_full",
        /// The forecast reaches the end of the space within `storage.filling_up`.
        FillingUp = "filling_up",
        /// No space is left: `storage.full`, `storage.reserved`, or a write failed with `ENOSPC`.
        Full = "full",
        /// A write failed with `EDQUOT`.
        QuotaExceeded = "quota_exceeded",
        /// No inode is left, although space may be.
        InodesFull = "inodes_full",
        /// The filesystem cannot sync a file (`fsync(2)`).
        SyncUnsupported = "sync_unsupported",
        /// Probes succeed, but slowly.
        SlowProbe = "slow_probe",
        /// Another store is on the same filesystem, so that both report the same space.
        SharedFilesystem = "shared_filesystem",
        /// The login could not show if the SSH server is this node: `ssh.prove_host`.
        ProofUnavailable = "proof_unavailable",
        /// The host has another disk, or none, where the daemon still sees the store's disk. The
        /// daemon runs in a container with its own mounts.
        StaleNamespace = "stale_namespace",
        /// `ssh.legacy` re-enables weak algorithms.
        LegacyAlgorithms = "legacy_algorithms",
        /// `ssh.host_key_policy` accepts any key.
        AcceptsAnyHostKey = "accepts_any_host_key",
        /// The management node rejects a notice, or has no handler for it.
        DeliveryRefused = "delivery_refused",
        /// Notices are waiting for a management node that does not answer.
        DeliveryBehind = "delivery_behind",
        /// The ledger cannot be written, so no change can be made.
        StateDiskTrouble = "state_disk_trouble",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_condition_reads_back_from_its_word() {
        for condition in Condition::ALL {
            assert_eq!(condition.as_str().parse().as_ref(), Ok(condition));
        }
    }
}
