//! The texts of the remedies that are made for one case, and the remedy of a fault.
//!
//! Each file has the remedies of one subject. The match names every remedy, so that one without
//! texts does not compile. An operand stands in a text as its name in braces.

mod action;
mod daemon;
mod directory;
mod filesystem;
mod login;
mod private_key;

pub use action::{fault_action, fault_commands, short_fault_action};

use super::Text;
use crate::model::Remedy;

/// Returns the text of a remedy, with the names of its operands in braces.
pub const fn remedy_text(remedy: &Remedy) -> Text {
    match remedy {
        Remedy::CheckServiceLimits => login::CHECK_SERVICE_LIMITS,
        Remedy::PermitConnection => login::PERMIT_CONNECTION,
        Remedy::PermitAddressFamily => login::PERMIT_ADDRESS_FAMILY,
        Remedy::CheckLocalAddresses => login::CHECK_LOCAL_ADDRESSES,
        Remedy::UpdateSshServer => login::UPDATE_SSH_SERVER,
        Remedy::UseUtf8Texts => login::USE_UTF8_TEXTS,
        Remedy::PermitThisHost => login::PERMIT_THIS_HOST,
        Remedy::UseSmallerRsaKey { .. } => login::USE_SMALLER_RSA_KEY,
        Remedy::UseSmallerRsaExponent { .. } => login::USE_SMALLER_RSA_EXPONENT,
        Remedy::UseOtherGroups { .. } => login::USE_OTHER_GROUPS,
        Remedy::RaiseLoginTime { .. } => login::RAISE_LOGIN_TIME,
        Remedy::CheckSlowServer => login::CHECK_SLOW_SERVER,
        Remedy::CheckOtherLogins => login::CHECK_OTHER_LOGINS,
        Remedy::CheckAccountRules => login::CHECK_ACCOUNT_RULES,
        Remedy::ChangeExpiredPassword => login::CHANGE_EXPIRED_PASSWORD,
        Remedy::CheckPasswordAge => login::CHECK_PASSWORD_AGE,
        Remedy::CheckNewAddress => login::CHECK_NEW_ADDRESS,
        Remedy::SendFingerprint => login::SEND_FINGERPRINT,
        Remedy::RetryWithForce => login::RETRY_WITH_FORCE,
        Remedy::ReconnectRepaired => login::RECONNECT_REPAIRED,
        Remedy::GivePassphrase => private_key::GIVE_PASSPHRASE,
        Remedy::CorrectPassphrase => private_key::CORRECT_PASSPHRASE,
        Remedy::GivePrivatePart => private_key::GIVE_PRIVATE_PART,
        Remedy::ConvertPuttyKey => private_key::CONVERT_PUTTY_KEY,
        Remedy::ConvertSshComKey => private_key::CONVERT_SSH_COM_KEY,
        Remedy::ConvertBinaryKey => private_key::CONVERT_BINARY_KEY,
        Remedy::KeepLineBreaks => private_key::KEEP_LINE_BREAKS,
        Remedy::GiveWholeKey => private_key::GIVE_WHOLE_KEY,
        Remedy::UseOtherKeyType => private_key::USE_OTHER_KEY_TYPE,
        Remedy::ReencryptKey => private_key::REENCRYPT_KEY,
        Remedy::ReencryptPkcs8Key => private_key::REENCRYPT_PKCS8_KEY,
        Remedy::UseFewerRounds => private_key::USE_FEWER_ROUNDS,
        Remedy::ReturnDirectory { .. } => directory::RETURN_DIRECTORY,
        Remedy::InitDirectory { .. } => directory::INIT_DIRECTORY,
        Remedy::ListAttributes { .. } => directory::LIST_ATTRIBUTES,
        Remedy::ClearAttribute { .. } => directory::CLEAR_ATTRIBUTE,
        Remedy::GrantWay { .. } => directory::GRANT_WAY,
        Remedy::PermitWrites { .. } => directory::PERMIT_WRITES,
        Remedy::RenameToUtf8 => directory::RENAME_TO_UTF8,
        Remedy::CorrectLinks { .. } => directory::CORRECT_LINKS,
        Remedy::ShortenPath { .. } => directory::SHORTEN_PATH,
        Remedy::FindOtherAdd => directory::FIND_OTHER_ADD,
        Remedy::PassDataDisk { .. } => directory::PASS_DATA_DISK,
        Remedy::PassMountPoint { .. } => directory::PASS_MOUNT_POINT,
        Remedy::FindRepeatedMounts => directory::FIND_REPEATED_MOUNTS,
        Remedy::CheckProc => directory::CHECK_PROC,
        Remedy::FreeSpaceForMarker => filesystem::FREE_SPACE_FOR_MARKER,
        Remedy::MountServedAgain { .. } => filesystem::MOUNT_SERVED_AGAIN,
        Remedy::InsertMedium => filesystem::INSERT_MEDIUM,
        Remedy::CheckBlockSums => filesystem::CHECK_BLOCK_SUMS,
        Remedy::RenewTicket => filesystem::RENEW_TICKET,
        Remedy::GiveValidKey => filesystem::GIVE_VALID_KEY,
        Remedy::UnmountName { .. } => filesystem::UNMOUNT_NAME,
        Remedy::MoveNameAway { .. } => filesystem::MOVE_NAME_AWAY,
        Remedy::RemoveFolders => filesystem::REMOVE_FOLDERS,
        Remedy::RaiseFileSize => filesystem::RAISE_FILE_SIZE,
        Remedy::UseOtherFilesystem { .. } => filesystem::USE_OTHER_FILESYSTEM,
        Remedy::RaiseOpenFiles => filesystem::RAISE_OPEN_FILES,
        Remedy::RaiseMachineFiles => filesystem::RAISE_MACHINE_FILES,
        Remedy::FreeMemory => filesystem::FREE_MEMORY,
        Remedy::RestartLockService => filesystem::RESTART_LOCK_SERVICE,
        Remedy::CheckDeadlock => filesystem::CHECK_DEADLOCK,
        Remedy::FindInterruption { .. } => filesystem::FIND_INTERRUPTION,
        Remedy::ReleaseReservation => filesystem::RELEASE_RESERVATION,
        Remedy::ReplaceDisk => filesystem::REPLACE_DISK,
        Remedy::ReplaceMemory => filesystem::REPLACE_MEMORY,
        Remedy::MakePrimary => filesystem::MAKE_PRIMARY,
        Remedy::CheckDiskPath { .. } => filesystem::CHECK_DISK_PATH,
        Remedy::CheckFilesystemLog { .. } => filesystem::CHECK_FILESYSTEM_LOG,
        Remedy::CheckHangingDisks => daemon::CHECK_HANGING_DISKS,
        Remedy::CreateNullDevice => daemon::CREATE_NULL_DEVICE,
        Remedy::MountProc => daemon::MOUNT_PROC,
        Remedy::PermitExecution => daemon::PERMIT_EXECUTION,
        Remedy::CheckMachineLoad => daemon::CHECK_MACHINE_LOAD,
        Remedy::CheckKilledProcess => daemon::CHECK_KILLED_PROCESS,
        Remedy::RestoreStateFiles => daemon::RESTORE_STATE_FILES,
        Remedy::RepeatRequest => daemon::REPEAT_REQUEST,
        Remedy::ReadStoreAgain => daemon::READ_STORE_AGAIN,
        Remedy::RepairStateDisk => daemon::REPAIR_STATE_DISK,
        Remedy::ReportLog => daemon::REPORT_LOG,
        Remedy::CorrectSessionUrl => daemon::CORRECT_SESSION_URL,
        Remedy::ReadInterruptedStore => daemon::READ_INTERRUPTED_STORE,
        Remedy::RepeatWithJobUuid => daemon::REPEAT_WITH_JOB_UUID,
        Remedy::CloseStream => daemon::CLOSE_STREAM,
        Remedy::CheckReplyReceiver => daemon::CHECK_REPLY_RECEIVER,
    }
}
