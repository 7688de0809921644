//! What is worth a person's attention and disconnects nothing: stable words, each with one remedy.

use crate::common::string_enum;

string_enum! {
    /// A condition. A store with any of them stays Connected: images must still be read.
    pub Condition {
        /// The store has not been probed since the daemon started.
        Unverified = "unverified",
        /// Little room is left: `storage.near_full`.
        NearFull = "near_full",
        /// No room is left: `storage.full`, `storage.reserved`, or a write met `ENOSPC`.
        Full = "full",
        /// A write met `EDQUOT`.
        QuotaExceeded = "quota_exceeded",
        /// No inode is left, whatever room there is.
        InodesFull = "inodes_full",
        /// Probes succeed, but slowly.
        SlowProbe = "slow_probe",
        /// Another store lies on the same filesystem, so that both report the same room.
        SharedFilesystem = "shared_filesystem",
        /// Whether the SSH server is this node could not be shown: `ssh.prove_host`.
        ProofUnavailable = "proof_unavailable",
        /// The host has another disk, or none, where this daemon still sees the store's: a container whose
        /// mounts are its own.
        StaleNamespace = "stale_namespace",
        /// `ssh.legacy` re-enables weak algorithms.
        LegacyAlgorithms = "legacy_algorithms",
        /// `ssh.host_key_policy` takes any key.
        AcceptsAnyHostKey = "accepts_any_host_key",
        /// The management node refuses a notice, or has no handler for it.
        DeliveryRefused = "delivery_refused",
        /// Notices wait for a management node that does not answer.
        DeliveryBehind = "delivery_behind",
        /// The ledger cannot be written, so that no change can be made.
        StateDiskTrouble = "state_disk_trouble",
    }
}

impl Condition {
    /// What to do about it.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Unverified => "nothing to do: the first probe follows within seconds",
            Self::NearFull => "remove images or grow the filesystem before it is full",
            Self::Full => "remove images or grow the filesystem; nothing can be stored until then",
            Self::QuotaExceeded => {
                "raise the quota of the daemon's user or project, or remove images"
            }
            Self::InodesFull => {
                "remove files: there is room, but no file can be made; mkfs decides the number of inodes"
            }
            Self::SlowProbe => "look at the disk's load, its health and, if remote, its network",
            Self::SharedFilesystem => {
                "count the room once, or give each store a filesystem of its own"
            }
            Self::ProofUnavailable => {
                "let the user read /proc/sys/kernel/random/boot_id over SFTP, or set ssh.prove_host = false"
            }
            Self::StaleNamespace => {
                "restart the daemon's container, and give it image directories with rslave"
            }
            Self::LegacyAlgorithms => "update the SSH servers, then empty ssh.legacy",
            Self::AcceptsAnyHostKey => {
                "set ssh.host_key_policy to pin-on-first-use: whoever answers is trusted now"
            }
            Self::DeliveryRefused => {
                "look at what the management node answers, at callback.urls and callback.format"
            }
            Self::DeliveryBehind => {
                "bring the management node back; what waits is delivered in order by itself"
            }
            Self::StateDiskTrouble => "make room on, or repair, the disk of state.dir",
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
