//! The check that a reason or a condition belongs to.

use crate::catalog::DoctorCheck;
use crate::model::{Condition, Reason};

/// Returns the check that fails with this reason, or `None` if the reason belongs to a request and
/// not to the state of a store.
pub const fn check_of_reason(reason: Reason) -> Option<DoctorCheck> {
    use Reason as R;
    let check = match reason {
        R::NameNotFound | R::TargetNotAllowed => DoctorCheck::SshResolve,
        R::ConnectionRefused
        | R::Unreachable
        | R::ConnectTimeout
        | R::BannerTimeout
        | R::HandshakeTimeout
        | R::ConnectionLost
        | R::NotSsh
        | R::NoCommonAlgorithm
        | R::Throttled => DoctorCheck::SshConnect,
        R::HostKeyChanged | R::HostKeyUnknown => DoctorCheck::SshHostKey,
        R::AuthTimeout
        | R::CredentialsRefused
        | R::MethodNotOffered
        | R::SecondFactorMissing
        | R::KeyUnusable
        | R::CredentialsOutOfScope
        | R::SecretUnreadable => DoctorCheck::SshLogin,
        R::DifferentHost => DoctorCheck::SshProof,
        R::DirectoryMissing
        | R::NotADirectory
        | R::OutsideAllowedRoots
        | R::PathUnusable
        | R::IoError
        | R::StaleHandle
        | R::FilesystemServerGone
        | R::FilesystemServerUnreachable
        | R::FilesystemCorrupt
        | R::FilesystemKeyMissing
        | R::ProbeTimeout
        | R::ProbeStuck => DoctorCheck::Directory,
        R::NotMounted | R::OnRootDisk | R::DiskRemoved => DoctorCheck::Mount,
        R::MarkerMissing
        | R::MarkerUnreadable
        | R::WrongStore
        | R::TakenOver
        | R::RegistryMissing => DoctorCheck::Identity,
        R::PermissionDenied => DoctorCheck::Permission,
        R::ReadOnly | R::NamespaceReadOnly | R::NameInUse | R::OperationUnsupported => {
            DoctorCheck::Write
        }
        R::CapacityImplausible => DoctorCheck::Space,
        R::StateDiskTrouble => DoctorCheck::StateWritable,
        R::InterruptedByRestart | R::AgentStopping | R::AgentBusy => DoctorCheck::ServiceAnswers,
        R::StoreRemoved
        | R::ManagementUnreachable
        | R::DuplicateUuid
        | R::DuplicateDirectory
        | R::ZoneAttached
        | R::ZoneNotAttached
        | R::TooManyZones => return None,
    };
    Some(check)
}

/// Returns the check that a condition belongs to.
pub const fn check_of_condition(condition: Condition) -> DoctorCheck {
    use Condition as C;
    match condition {
        C::Unverified | C::NotProbed | C::SlowProbe => DoctorCheck::Directory,
        C::NearFull | C::FillingUp | C::Full | C::SharedFilesystem => DoctorCheck::Space,
        C::QuotaExceeded => DoctorCheck::Quota,
        C::InodesFull => DoctorCheck::Inodes,
        C::SyncUnsupported => DoctorCheck::Write,
        C::ProofUnavailable => DoctorCheck::SshProof,
        C::StaleNamespace => DoctorCheck::Mount,
        C::LegacyAlgorithms => DoctorCheck::SshConnect,
        C::AcceptsAnyHostKey => DoctorCheck::SshHostKey,
        C::DeliveryRefused | C::DeliveryBehind => DoctorCheck::Reported,
        C::StateDiskTrouble => DoctorCheck::StateWritable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Check;

    #[test]
    fn every_reason_of_a_check_of_a_store_has_a_check() {
        for reason in Reason::ALL {
            let found = check_of_reason(*reason);
            let group = found.map(|check| check.as_str().starts_with("ssh."));
            match reason.failed_check() {
                Check::Ssh => assert_eq!(group, Some(true), "{reason}"),
                Check::Identity | Check::Storage => assert_eq!(group, Some(false), "{reason}"),
                Check::Agent => assert_ne!(group, Some(true), "{reason}"),
            }
        }
    }
}
