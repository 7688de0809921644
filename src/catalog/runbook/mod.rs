//! The runbooks: what to do, step by step, in the situations that operators ask about,
//! and in those of the alerts.

mod daemon;
mod disk;
mod store;

use super::{Language, Text};
use crate::common::string_enum;

string_enum! {
    /// A situation with a runbook.
    pub Runbook {
        /// A store that stays Connecting.
        StuckConnecting = "stuck-connecting",
        /// A store that is Disconnected.
        Disconnected = "disconnected",
        /// A capacity that stays as it was after the filesystem has grown.
        CapacityUnchanged = "capacity-unchanged",
        /// A changed password or key of the SSH user.
        PasswordChanged = "password-changed",
        /// A replaced disk or a reinstalled node.
        DiskReplaced = "disk-replaced",
        /// A full disk.
        DiskFull = "disk-full",
        /// A management node that shows an outdated status.
        ManagementUninformed = "management-uninformed",
        /// A daemon that is down, or restarts often.
        AgentDown = "agent-down",
        /// A status that changes often.
        Flapping = "flapping",
        /// A host key other than the recorded one.
        NewHostKey = "new-host-key",
        /// A disk that hangs, or is slow.
        DiskHangs = "disk-hangs",
        /// A state directory that cannot be written.
        StateDisk = "state-disk",
        /// A certificate near its end.
        CertificateEnds = "certificate-ends",
        /// A check without a result.
        UnverifiedStore = "unverified-store",
    }
}

/// The texts of a runbook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunbookText {
    /// The situation in a few words.
    pub title: Text,
    /// The signs of the situation, and its usual causes.
    pub situation: Text,
    /// The steps, in order.
    pub steps: &'static [Text],
}

impl RunbookText {
    /// Returns the steps in one language, with their backticks.
    pub fn marked_steps(&self, language: Language) -> impl Iterator<Item = &'static str> {
        self.steps.iter().map(move |step| step.marked(language))
    }
}

impl Runbook {
    /// Returns the texts of the runbook.
    pub const fn text(self) -> RunbookText {
        match self {
            Self::StuckConnecting => store::STUCK_CONNECTING,
            Self::Disconnected => store::DISCONNECTED,
            Self::CapacityUnchanged => disk::CAPACITY_UNCHANGED,
            Self::PasswordChanged => store::PASSWORD_CHANGED,
            Self::DiskReplaced => disk::DISK_REPLACED,
            Self::DiskFull => disk::DISK_FULL,
            Self::ManagementUninformed => daemon::MANAGEMENT_UNINFORMED,
            Self::AgentDown => daemon::AGENT_DOWN,
            Self::Flapping => store::FLAPPING,
            Self::NewHostKey => store::NEW_HOST_KEY,
            Self::DiskHangs => disk::DISK_HANGS,
            Self::StateDisk => daemon::STATE_DISK,
            Self::CertificateEnds => daemon::CERTIFICATE_ENDS,
            Self::UnverifiedStore => store::UNVERIFIED_STORE,
        }
    }
}
