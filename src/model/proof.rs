//! Whether the SSH server behind a login is this node, and how that was shown.

use crate::common::string_enum;

string_enum! {
    /// What showed that the server is this node, in the order in which it is looked for.
    pub HostEvidence {
        /// Its key is one of this node's own.
        HostKey = "host_key",
        /// Its kernel was booted when this one was.
        BootId = "boot_id",
        /// The store's marker lies in the image directory there too.
        Marker = "marker",
    }
}

string_enum! {
    /// What the server, which is this node, shows where the store's marker lies.
    pub RemoteMarker {
        /// The store's marker.
        Same = "same",
        /// Another one: another disk is mounted there.
        Different = "another",
        /// Nothing.
        Missing = "missing",
        /// Something that the user has no permission to read.
        Unreadable = "hidden",
        /// It was asked and gave no answer in time, as a disk that hangs does.
        TimedOut = "silent",
    }
}

string_enum! {
    /// What stood in the way of a proof.
    pub Obstacle {
        /// The server opens no session for the user.
        NoSession = "no_session",
        /// The server has no SFTP subsystem.
        NoSftp = "no_sftp",
        /// The user's shell lets nobody in: nologin(8).
        Nologin = "nologin",
        /// A forced command, or what a shell says, in the place of SFTP.
        OtherProgram = "other_program",
        /// What was started in its place ended without a word: a forced command, or sshd itself for a
        /// password that must be changed first.
        EndedSilently = "ended_silently",
        /// The connection, or the conversation over SFTP, broke off.
        BrokeOff = "broke_off",
        /// Nothing that tells hosts apart can be read: a chroot, no permission, another path.
        Unreadable = "unreadable",
        /// SFTP was promised, and nothing came of it in time.
        NoAnswer = "no_answer",
    }
}

impl Obstacle {
    /// Whether asking has started a program of the account's, which it may not be right to start each
    /// time that the monitor logs in.
    pub const fn started_a_program(self) -> bool {
        match self {
            Self::NoSession | Self::NoSftp | Self::BrokeOff | Self::Unreadable => false,
            Self::Nologin | Self::OtherProgram | Self::EndedSilently | Self::NoAnswer => true,
        }
    }
}

/// Why it could not be shown that the server is this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnverifiedHost {
    /// The kind.
    pub obstacle: Obstacle,
    /// What was seen, for a person.
    pub details: String,
}

/// What a login has shown of the host behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostIdentity {
    /// Nothing was asked: `ssh.prove_host` is off.
    NotAsked,
    /// It is this node.
    Shown {
        /// By what.
        by: HostEvidence,
        /// What is seen there of the store, where that was asked.
        marker: Option<RemoteMarker>,
    },
    /// It may be this node or another.
    Unavailable(UnverifiedHost),
}

impl HostIdentity {
    /// By this evidence, and nothing more was asked.
    pub const fn newly_shown(by: HostEvidence) -> Self {
        Self::Shown { by, marker: None }
    }
}
