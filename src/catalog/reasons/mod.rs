//! The texts of the reasons of faults.
//!
//! Each file has the reasons of one subject. The match names every reason, so that one without
//! texts does not compile.

mod daemon;
mod identity;
mod impact;
mod login;
mod network;
mod storage;

use super::Guidance;
use crate::model::Reason;

/// Returns the texts of a reason.
pub const fn reason_guidance(reason: Reason) -> Guidance {
    match reason {
        Reason::NameNotFound => network::NAME_NOT_FOUND,
        Reason::TargetNotAllowed => network::TARGET_NOT_ALLOWED,
        Reason::ConnectionRefused => network::CONNECTION_REFUSED,
        Reason::Unreachable => network::UNREACHABLE,
        Reason::ConnectTimeout => network::CONNECT_TIMEOUT,
        Reason::BannerTimeout => network::BANNER_TIMEOUT,
        Reason::HandshakeTimeout => network::HANDSHAKE_TIMEOUT,
        Reason::AuthTimeout => login::AUTH_TIMEOUT,
        Reason::ConnectionLost => network::CONNECTION_LOST,
        Reason::NotSsh => network::NOT_SSH,
        Reason::NoCommonAlgorithm => network::NO_COMMON_ALGORITHM,
        Reason::HostKeyChanged => login::HOST_KEY_CHANGED,
        Reason::HostKeyUnknown => login::HOST_KEY_UNKNOWN,
        Reason::CredentialsRefused => login::CREDENTIALS_REFUSED,
        Reason::MethodNotOffered => login::METHOD_NOT_OFFERED,
        Reason::SecondFactorMissing => login::SECOND_FACTOR_MISSING,
        Reason::KeyUnusable => login::KEY_UNUSABLE,
        Reason::SecretUnreadable => login::SECRET_UNREADABLE,
        Reason::CredentialsOutOfScope => login::CREDENTIALS_OUT_OF_SCOPE,
        Reason::Throttled => network::THROTTLED,
        Reason::DifferentHost => network::DIFFERENT_HOST,
        Reason::DirectoryMissing => identity::DIRECTORY_MISSING,
        Reason::NotADirectory => identity::NOT_A_DIRECTORY,
        Reason::OutsideAllowedRoots => identity::OUTSIDE_ALLOWED_ROOTS,
        Reason::PathUnusable => identity::PATH_UNUSABLE,
        Reason::PermissionDenied => storage::PERMISSION_DENIED,
        Reason::NotMounted => identity::NOT_MOUNTED,
        Reason::OnRootDisk => identity::ON_ROOT_DISK,
        Reason::MarkerMissing => identity::MARKER_MISSING,
        Reason::MarkerUnreadable => identity::MARKER_UNREADABLE,
        Reason::WrongStore => identity::WRONG_STORE,
        Reason::TakenOver => identity::TAKEN_OVER,
        Reason::RegistryMissing => identity::REGISTRY_MISSING,
        Reason::ReadOnly => storage::READ_ONLY,
        Reason::NamespaceReadOnly => storage::NAMESPACE_READ_ONLY,
        Reason::IoError => storage::IO_ERROR,
        Reason::StaleHandle => storage::STALE_HANDLE,
        Reason::FilesystemServerGone => storage::FILESYSTEM_SERVER_GONE,
        Reason::FilesystemServerUnreachable => storage::FILESYSTEM_SERVER_UNREACHABLE,
        Reason::DiskRemoved => storage::DISK_REMOVED,
        Reason::FilesystemCorrupt => storage::FILESYSTEM_CORRUPT,
        Reason::FilesystemKeyMissing => storage::FILESYSTEM_KEY_MISSING,
        Reason::NameInUse => storage::NAME_IN_USE,
        Reason::OperationUnsupported => storage::OPERATION_UNSUPPORTED,
        Reason::ProbeTimeout => storage::PROBE_TIMEOUT,
        Reason::ProbeStuck => storage::PROBE_STUCK,
        Reason::CapacityImplausible => storage::CAPACITY_IMPLAUSIBLE,
        Reason::InterruptedByRestart => daemon::INTERRUPTED_BY_RESTART,
        Reason::AgentStopping => daemon::AGENT_STOPPING,
        Reason::StoreRemoved => daemon::STORE_REMOVED,
        Reason::AgentBusy => daemon::AGENT_BUSY,
        Reason::StateDiskTrouble => daemon::STATE_DISK_TROUBLE,
        Reason::ManagementUnreachable => daemon::MANAGEMENT_UNREACHABLE,
        Reason::DuplicateUuid => daemon::DUPLICATE_UUID,
        Reason::DuplicateDirectory => daemon::DUPLICATE_DIRECTORY,
        Reason::ZoneAttached => daemon::ZONE_ATTACHED,
        Reason::ZoneNotAttached => daemon::ZONE_NOT_ATTACHED,
        Reason::TooManyZones => daemon::TOO_MANY_ZONES,
    }
}
