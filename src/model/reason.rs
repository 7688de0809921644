//! Reasons of faults: stable words, each with one remedy. `docs/faults.md` documents them.

use crate::common::string_enum;

string_enum! {
    /// The subject of a fault. Root causes are reported in this order.
    pub Check {
        /// The check that this is the right directory on the right disk.
        Identity = "identity",
        /// The check that the directory can be read, written and measured.
        Storage = "storage",
        /// The check that the login works, against the right host.
        Ssh = "ssh",
        /// The daemon itself.
        Agent = "agent",
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident $text:literal $check:ident $pace:ident $remedy:literal;)+) => {
        string_enum! {
            /// The reason of a failed check, in the order of the API contract.
            pub Reason { $($(#[$doc])* $variant = $text),+ }
        }

        impl Reason {
            /// Returns the check that fails with this reason.
            pub const fn failed_check(self) -> Check {
                match self { $(Reason::$variant => Check::$check),+ }
            }

            /// Returns the general remedy.
            pub const fn remedy(self) -> &'static str {
                match self { $(Reason::$variant => $remedy),+ }
            }

            const fn severity(self) -> FaultSeverity {
                match self { $(Reason::$variant => FaultSeverity::$pace),+ }
            }
        }
    };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FaultSeverity {
    Soft,
    Hard,
}

impl Reason {
    /// Returns true if one such fault between attempts may be temporary. Then `monitor.fail_after`
    /// in a row disconnect a store. Any other fault disconnects it at once.
    pub const fn is_soft(self) -> bool {
        matches!(self.severity(), FaultSeverity::Soft)
    }
}

reasons! {
    /// The name has no address, or `ssh.resolve_timeout` expired.
    NameNotFound "name_not_found" Ssh Soft
        "correct the store's hostname, or the name service of this node";
    /// The name resolves to another machine.
    TargetNotAllowed "target_not_allowed" Ssh Hard
        "use an address of this node, or list the address in ssh.allowed_targets";
    /// Nothing listens on the port.
    ConnectionRefused "connection_refused" Ssh Soft
        "start sshd on this port, or correct the store's sshPort";
    /// No route leads to the host.
    Unreachable "unreachable" Ssh Soft
        "check the route and the firewall between this node and the address";
    /// The TCP handshake did not end in time.
    ConnectTimeout "connect_timeout" Ssh Soft
        "a firewall drops the packets or the host is down: check both";
    /// TCP connected, but the server did not send its banner in time.
    BannerTimeout "banner_timeout" Ssh Soft
        "sshd accepts but does not answer: check its load, or restart it";
    /// The key exchange did not end in time.
    HandshakeTimeout "handshake_timeout" Ssh Soft
        "sshd stopped answering during key exchange: check its load and its log";
    /// The login did not end in time.
    AuthTimeout "auth_timeout" Ssh Soft
        "sshd or its PAM stack is slow to decide: check its log, or raise ssh.auth_timeout";
    /// The peer closed or reset the connection.
    ConnectionLost "connection_lost" Ssh Soft
        "look into sshd's log for why it closed the connection";
    /// The peer does not speak SSH.
    NotSsh "not_ssh" Ssh Soft
        "another service listens on this port: correct the store's sshPort";
    /// The two sides have no common key exchange, cipher, MAC or host key algorithm.
    NoCommonAlgorithm "no_common_algorithm" Ssh Hard
        "update the SSH server, or re-enable the algorithm under ssh.legacy";
    /// The server's key is not the pinned one.
    HostKeyChanged "host_key_changed" Ssh Hard
        "compare the fingerprint on the server itself (ssh-keygen -lf): if it is right, imagestore-agent accept-host-key; if not, find out who answers";
    /// No key of the server has a given fingerprint, or the strict policy knows no key.
    HostKeyUnknown "host_key_unknown" Ssh Hard
        "add the store with hostKeyFingerprint as ssh-keygen -l shows it on the server; one that is served already: imagestore-agent accept-host-key";
    /// The server rejected the user with its password or key.
    CredentialsRefused "credentials_refused" Ssh Hard
        "correct the store's username, password or key: imagestore-agent update";
    /// The server does not offer the method that the store has credentials for.
    MethodNotOffered "method_not_offered" Ssh Hard
        "give the store credentials for a method the server offers, or enable the method in sshd_config";
    /// The first method was accepted, but the server requires a second one.
    SecondFactorMissing "second_factor_missing" Ssh Hard
        "give the store both password and private key, or relax AuthenticationMethods for this user";
    /// The private key cannot be parsed.
    KeyUnusable "key_unusable" Ssh Hard
        "give an OpenSSH or PEM private key (ed25519, ecdsa or rsa) and its passphrase";
    /// The stored secret cannot be unsealed.
    SecretUnreadable "secret_unreadable" Ssh Hard
        "restore the master key that sealed it, or give the store its credentials again";
    /// The server temporarily rejects connections.
    Throttled "throttled" Ssh Soft
        "sshd limits connections (MaxStartups, PerSourcePenalties): find who floods it, or raise the limit";
    /// The host behind the name is proven to be another one.
    DifferentHost "different_host" Ssh Hard
        "the login works, but on another machine: correct the store's hostname";

    /// The directory does not exist.
    DirectoryMissing "directory_missing" Identity Hard
        "create the directory or mount the disk that holds it";
    /// The path is a file.
    NotADirectory "not_a_directory" Identity Hard
        "give a directory as url";
    /// The opened directory is outside the allowed roots.
    OutsideAllowedRoots "outside_allowed_roots" Identity Hard
        "a symbolic link leads out of the allowed roots: use the real path, or add its root to storage.allowed_roots";
    /// The daemon's user lacks the permission.
    PermissionDenied "permission_denied" Storage Hard
        "give the daemon's user access to the directory: run imagestore-agent init on it as root";
    /// The disk that contained the directory is not mounted.
    NotMounted "not_mounted" Identity Hard
        "mount the disk that holds the image directory";
    /// The directory of an add is on the root filesystem.
    OnRootDisk "on_root_disk" Identity Hard
        "mount a data disk there first, or set storage.allow_root_disk = true to mean the root disk";
    /// The directory no longer has a marker.
    MarkerMissing "marker_missing" Identity Hard
        "check that the right disk is mounted; restore .imagestore-agent/identity.json from a backup if it was deleted";
    /// The marker cannot be parsed.
    MarkerUnreadable "marker_unreadable" Identity Hard
        "restore .imagestore-agent/identity.json from a backup; the daemon never rewrites it";
    /// The marker names another store.
    WrongStore "wrong_store" Identity Hard
        "another store's disk is mounted here: mount the right one";
    /// The marker names another node.
    TakenOver "taken_over" Identity Hard
        "another daemon owns this directory; to move it here, add it with takeOver";
    /// Neither `registry/` nor `export/` exists under a store that had them.
    RegistryMissing "registry_missing" Identity Hard
        "image metadata may be lost: check the directory before anything is written to it";
    /// The superblock is read-only.
    ReadOnly "read_only" Storage Hard
        "the filesystem went read-only: look into the kernel log, check the disk, remount it read-write";
    /// Only the mount in this process's namespace is read-only.
    NamespaceReadOnly "namespace_read_only" Storage Hard
        "the filesystem is writable, this sandbox's view of it is not: add the directory to ReadWritePaths, or mount the volume :rw";
    /// The disk returned an error.
    IoError "io_error" Storage Soft
        "look into the kernel log and check the disk";
    /// The network filesystem no longer knows the directory.
    StaleHandle "stale_handle" Storage Soft
        "remount the network filesystem";
    /// The probe did not end in time.
    ProbeTimeout "probe_timeout" Storage Soft
        "the disk or its server does not answer: check it, or raise monitor.probe_deadline";
    /// An earlier probe still hangs in the kernel.
    ProbeStuck "probe_stuck" Storage Soft
        "the disk or its server does not answer and holds a probe in the kernel: bring it back, or umount -f the mount";
    /// The figures cannot be true.
    CapacityImplausible "capacity_implausible" Storage Hard
        "the filesystem reports impossible figures: check it, and report its type to us";

    /// The daemon was restarted while an attempt ran.
    InterruptedByRestart "interrupted_by_restart" Agent Soft
        "nothing to do: a new attempt starts by itself";
    /// The daemon is stopping.
    AgentStopping "agent_stopping" Agent Soft
        "repeat the request when the daemon is back";
    /// The daemon has too much to do.
    AgentBusy "agent_busy" Agent Soft
        "repeat the request after the time in Retry-After";
    /// The ledger could not be written or read.
    StateDiskTrouble "state_disk_trouble" Agent Soft
        "make room on, or repair, the disk of state.dir; the change was not made";
    /// The daemon already serves the uuid.
    DuplicateUuid "duplicate_uuid" Agent Hard
        "choose another resourceUuid, or reconnect the existing store";
    /// The daemon already serves the directory.
    DuplicateDirectory "duplicate_directory" Agent Hard
        "choose another url, or remove the store that has it";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_reads_back_from_its_word_and_has_a_remedy() {
        for reason in Reason::ALL {
            assert_eq!(reason.as_str().parse::<Reason>().as_ref(), Ok(reason));
            assert!(!reason.remedy().is_empty());
        }
    }

    #[test]
    fn refused_credentials_and_a_changed_host_key_act_at_once() {
        assert!(!Reason::CredentialsRefused.is_soft());
        assert!(!Reason::HostKeyChanged.is_soft());
        assert!(Reason::ProbeTimeout.is_soft() && Reason::ConnectionRefused.is_soft());
    }
}
