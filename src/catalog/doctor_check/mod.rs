//! The checks of `doctor`: the id of each, the fact that it verifies, the effect if this is not so,
//! and the action that helps then.

mod case;
mod daemon;
mod store;

use super::Guidance;
use crate::common::string_enum;

pub use case::CheckCase;

string_enum! {
    /// A check of `doctor`. Its id is stable.
    pub DoctorCheck {
        /// `program.version`
        ProgramVersion = "program.version",
        /// `settings.valid`
        SettingsValid = "settings.valid",
        /// `settings.sandbox`
        SettingsSandbox = "settings.sandbox",
        /// `state.writable`
        StateWritable = "state.writable",
        /// `state.space`
        StateSpace = "state.space",
        /// `state.key`
        StateKey = "state.key",
        /// `state.ledger`
        StateLedger = "state.ledger",
        /// `service.running`
        ServiceRunning = "service.running",
        /// `service.answers`
        ServiceAnswers = "service.answers",
        /// `service.clock`
        ServiceClock = "service.clock",
        /// `listen.tls`
        ListenTls = "listen.tls",
        /// `listen.reachable`
        ListenReachable = "listen.reachable",
        /// `auth.sessions`
        AuthSessions = "auth.sessions",
        /// `management.callback`
        ManagementCallback = "management.callback",
        /// `management.delivered`
        ManagementDelivered = "management.delivered",
        /// `management.agent_allow`
        ManagementAgentAllow = "management.agent_allow",
        /// `certificate.server`
        CertificateServer = "certificate.server",
        /// `certificate.client`
        CertificateClient = "certificate.client",
        /// `directory`
        Directory = "directory",
        /// `mount`
        Mount = "mount",
        /// `identity`
        Identity = "identity",
        /// `permission`
        Permission = "permission",
        /// `write`
        Write = "write",
        /// `space`
        Space = "space",
        /// `inodes`
        Inodes = "inodes",
        /// `quota`
        Quota = "quota",
        /// `ssh.resolve`
        SshResolve = "ssh.resolve",
        /// `ssh.connect`
        SshConnect = "ssh.connect",
        /// `ssh.host_key`
        SshHostKey = "ssh.host_key",
        /// `ssh.login`
        SshLogin = "ssh.login",
        /// `ssh.proof`
        SshProof = "ssh.proof",
        /// `reported`
        Reported = "reported",
    }
}

impl DoctorCheck {
    /// Returns true if the check is made for each store.
    pub fn is_of_store(self) -> bool {
        let id = self.as_str();
        !id.contains('.') || id.starts_with("ssh.")
    }

    /// Returns the fact that the check verifies, the effect if this is not so, and the action that
    /// helps then.
    pub const fn guidance(self) -> Guidance {
        match self {
            Self::ProgramVersion => daemon::PROGRAM_VERSION,
            Self::SettingsValid => daemon::SETTINGS_VALID,
            Self::SettingsSandbox => daemon::SETTINGS_SANDBOX,
            Self::StateWritable => daemon::STATE_WRITABLE,
            Self::StateSpace => daemon::STATE_SPACE,
            Self::StateKey => daemon::STATE_KEY,
            Self::StateLedger => daemon::STATE_LEDGER,
            Self::ServiceRunning => daemon::SERVICE_RUNNING,
            Self::ServiceAnswers => daemon::SERVICE_ANSWERS,
            Self::ServiceClock => daemon::SERVICE_CLOCK,
            Self::ListenTls => daemon::LISTEN_TLS,
            Self::ListenReachable => daemon::LISTEN_REACHABLE,
            Self::AuthSessions => daemon::AUTH_SESSIONS,
            Self::ManagementCallback => daemon::MANAGEMENT_CALLBACK,
            Self::ManagementDelivered => daemon::MANAGEMENT_DELIVERED,
            Self::ManagementAgentAllow => daemon::MANAGEMENT_AGENT_ALLOW,
            Self::CertificateServer => daemon::CERTIFICATE_SERVER,
            Self::CertificateClient => daemon::CERTIFICATE_CLIENT,
            Self::Directory => store::DIRECTORY,
            Self::Mount => store::MOUNT,
            Self::Identity => store::IDENTITY,
            Self::Permission => store::PERMISSION,
            Self::Write => store::WRITE,
            Self::Space => store::SPACE,
            Self::Inodes => store::INODES,
            Self::Quota => store::QUOTA,
            Self::SshResolve => store::SSH_RESOLVE,
            Self::SshConnect => store::SSH_CONNECT,
            Self::SshHostKey => store::SSH_HOST_KEY,
            Self::SshLogin => store::SSH_LOGIN,
            Self::SshProof => store::SSH_PROOF,
            Self::Reported => store::REPORTED,
        }
    }
}
