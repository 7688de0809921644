//! Conditions: problems that need an operator but do not disconnect the store. Each has a stable
//! name and a remedy.

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

impl Condition {
    /// Returns the remedy for the operator.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Unverified => "do nothing: the first probe follows within seconds",
            Self::NotProbed => {
                "remove the obstacle in the message: the state of the store is unknown until the check ends"
            }
            Self::NearFull => "remove images, or grow the filesystem before it is full",
            Self::Full => "remove images, or grow the filesystem; nothing can be stored until then",
            Self::QuotaExceeded => {
                "raise the quota of the daemon's user or project, or remove images"
            }
            Self::InodesFull => {
                "remove files: space is left, but no inode for a new file; mkfs sets the number of inodes"
            }
            Self::SyncUnsupported => {
                "use a filesystem, or a version or option of its server, that supports fsync: a crash may lose images that are reported as stored"
            }
            Self::SlowProbe => {
                "check the load and the health of the disk and, if it is remote, its network"
            }
            Self::SharedFilesystem => "count the space once, or give each store its own filesystem",
            Self::ProofUnavailable => {
                "let the user read /proc/sys/kernel/random/boot_id over SFTP, or set ssh.prove_host = false"
            }
            Self::StaleNamespace => {
                "restart the daemon's container, and pass the image directories to it with rslave"
            }
            Self::LegacyAlgorithms => "update the SSH servers, then empty ssh.legacy",
            Self::AcceptsAnyHostKey => {
                "set ssh.host_key_policy to pin-on-first-use: the daemon now trusts any server that answers"
            }
            Self::DeliveryRefused => {
                "check the responses of the management node, callback.urls and callback.format"
            }
            Self::DeliveryBehind => {
                "make the management node reachable; the daemon then delivers the waiting notices in order"
            }
            Self::StateDiskTrouble => "free space on the disk of state.dir, or repair the disk",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_condition_reads_back_from_its_word_and_has_a_remedy() {
        for condition in Condition::ALL {
            assert_eq!(condition.as_str().parse().as_ref(), Ok(condition));
            assert!(!condition.remedy().is_empty());
        }
    }
}
