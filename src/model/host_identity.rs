//! Identity of the host behind an SSH login: evidence that it is this node, or the obstacle to it.

use crate::common::string_enum;

string_enum! {
    /// The evidence that the server is this node, in the order in which it is sought.
    pub HostEvidence {
        /// The server's host key is one of this node's keys.
        HostKey = "host_key",
        /// The server's kernel has the same boot id as this node's.
        BootId = "boot_id",
        /// The server also has the store's marker in the image directory.
        Marker = "marker",
    }
}

string_enum! {
    /// The content of the marker's path as seen through the login, on a server that is this node.
    pub RemoteMarker {
        /// The store's marker.
        Same = "same",
        /// A different marker, because another disk is mounted there.
        Different = "another",
        /// No marker.
        Missing = "missing",
        /// A path that the user has no permission to read.
        Unreadable = "hidden",
        /// No answer in time, as with a disk that hangs.
        TimedOut = "silent",
    }
}

string_enum! {
    /// The obstacle to the evidence.
    pub Obstacle {
        /// The server opens no session for the user.
        NoSession = "no_session",
        /// The server has no SFTP subsystem.
        NoSftp = "no_sftp",
        /// The user's shell permits no login: nologin(8).
        Nologin = "nologin",
        /// Another program answered instead of SFTP: a forced command, or a shell that prints text.
        OtherProgram = "other_program",
        /// The program that started instead of SFTP ended without output. It was a forced command,
        /// or sshd requires a password change first.
        NoOutput = "ended_silently",
        /// The connection or the SFTP session was lost.
        ConnectionLost = "broke_off",
        /// Nothing that distinguishes hosts can be read, because of a chroot, a missing permission
        /// or a different path.
        Unreadable = "unreadable",
        /// The server accepted SFTP but did not answer in time.
        NoAnswer = "no_answer",
    }
}

impl Obstacle {
    /// Returns true if the request started a program of the account. The monitor should not start
    /// such a program at each login.
    pub const fn started_a_program(self) -> bool {
        match self {
            Self::NoSession | Self::NoSftp | Self::ConnectionLost | Self::Unreadable => false,
            Self::Nologin | Self::OtherProgram | Self::NoOutput | Self::NoAnswer => true,
        }
    }
}

/// The reason why the login could not show that the server is this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnverifiedHost {
    /// The kind of obstacle.
    pub obstacle: Obstacle,
    /// A description of the observation, for the operator.
    pub details: String,
}

/// The identity of the host, as far as a login has shown it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostIdentity {
    /// No check was made, because `ssh.prove_host` is off.
    NotChecked,
    /// The host is this node.
    Verified {
        /// The evidence.
        evidence: HostEvidence,
        /// The store's marker as seen through the login, if that was checked.
        marker: Option<RemoteMarker>,
    },
    /// The host may be this node or another.
    Unverified(UnverifiedHost),
}

impl HostIdentity {
    /// Creates the identity from this evidence, without a check of the marker.
    pub const fn verified_by(evidence: HostEvidence) -> Self {
        Self::Verified { evidence, marker: None }
    }
}
