//! Reasons of faults: stable words. `catalog` has their texts, and `docs/faults.md` documents them.

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

string_enum! {
    /// A check of a store by the daemon, which has a state of its own.
    pub StoreCheck {
        /// The check that the directory is the right one and has plausible figures.
        Examine = "examine",
        /// The check that the directory can be written.
        Write = "write",
        /// The check that the login works, against the right host.
        Ssh = "ssh",
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident $text:literal $check:ident $pace:ident;)+) => {
        string_enum! {
            /// The reason of a failed check, in the order of the API contract.
            pub Reason { $($(#[$doc])* $variant = $text),+ }
        }

        impl Reason {
            /// Returns the check that fails with this reason.
            pub const fn failed_check(self) -> Check {
                match self { $(Reason::$variant => Check::$check),+ }
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
    NameNotFound "name_not_found" Ssh Soft;
    /// The name resolves to another machine.
    TargetNotAllowed "target_not_allowed" Ssh Hard;
    /// Nothing listens on the port.
    ConnectionRefused "connection_refused" Ssh Soft;
    /// No route leads to the host.
    Unreachable "unreachable" Ssh Soft;
    /// The TCP handshake did not end in time.
    ConnectTimeout "connect_timeout" Ssh Soft;
    /// TCP connected, but the server did not send its banner in time.
    BannerTimeout "banner_timeout" Ssh Soft;
    /// The key exchange did not end in time.
    HandshakeTimeout "handshake_timeout" Ssh Soft;
    /// The login did not end in time.
    AuthTimeout "auth_timeout" Ssh Soft;
    /// The peer closed or reset the connection.
    ConnectionLost "connection_lost" Ssh Soft;
    /// The peer does not speak SSH.
    NotSsh "not_ssh" Ssh Soft;
    /// The two sides have no common key exchange, cipher, MAC or host key algorithm.
    NoCommonAlgorithm "no_common_algorithm" Ssh Hard;
    /// The server's key is not the pinned one.
    HostKeyChanged "host_key_changed" Ssh Hard;
    /// No key of the server has a given fingerprint, or the strict policy knows no key.
    HostKeyUnknown "host_key_unknown" Ssh Hard;
    /// The server rejected the user with its password or key.
    CredentialsRefused "credentials_refused" Ssh Hard;
    /// The server does not offer the method that the store has credentials for.
    MethodNotOffered "method_not_offered" Ssh Hard;
    /// The first method was accepted, but the server requires a second one.
    SecondFactorMissing "second_factor_missing" Ssh Hard;
    /// The private key cannot be parsed.
    KeyUnusable "key_unusable" Ssh Hard;
    /// The stored secret cannot be unsealed.
    SecretUnreadable "secret_unreadable" Ssh Hard;
    /// The stored secrets were given for another address, and no pinned key identifies the server.
    CredentialsOutOfScope "credentials_out_of_scope" Ssh Hard;
    /// The server temporarily rejects connections.
    Throttled "throttled" Ssh Soft;
    /// The host behind the name is proven to be another one.
    DifferentHost "different_host" Ssh Hard;

    /// The directory does not exist.
    DirectoryMissing "directory_missing" Identity Hard;
    /// The path is a file.
    NotADirectory "not_a_directory" Identity Hard;
    /// The opened directory is outside the allowed roots.
    OutsideAllowedRoots "outside_allowed_roots" Identity Hard;
    /// No disk can resolve the path: its links form a loop, or it is too long.
    PathUnusable "path_unusable" Identity Hard;
    /// The daemon's user lacks the permission.
    PermissionDenied "permission_denied" Storage Hard;
    /// The disk that contained the directory is not mounted.
    NotMounted "not_mounted" Identity Hard;
    /// The directory of an add is on the root filesystem.
    OnRootDisk "on_root_disk" Identity Hard;
    /// The directory no longer has a marker.
    MarkerMissing "marker_missing" Identity Hard;
    /// The marker cannot be parsed.
    MarkerUnreadable "marker_unreadable" Identity Hard;
    /// The marker names another store.
    WrongStore "wrong_store" Identity Hard;
    /// The marker names another node.
    TakenOver "taken_over" Identity Hard;
    /// Neither `registry/` nor `export/` exists under a store that had them.
    RegistryMissing "registry_missing" Identity Hard;
    /// The superblock is read-only.
    ReadOnly "read_only" Storage Hard;
    /// Only the mount in this process's namespace is read-only.
    NamespaceReadOnly "namespace_read_only" Storage Hard;
    /// The disk returned an error.
    IoError "io_error" Storage Soft;
    /// The network filesystem no longer knows the directory.
    StaleHandle "stale_handle" Storage Soft;
    /// The process that serves the filesystem has ended.
    FilesystemServerGone "filesystem_server_gone" Storage Soft;
    /// The client of a network filesystem cannot reach the server.
    FilesystemServerUnreachable "filesystem_server_unreachable" Storage Soft;
    /// The block device is gone.
    DiskRemoved "disk_removed" Storage Soft;
    /// The filesystem is damaged.
    FilesystemCorrupt "filesystem_corrupt" Storage Hard;
    /// The encrypted directory is locked, or a ticket has expired.
    FilesystemKeyMissing "filesystem_key_missing" Storage Hard;
    /// Another object has the name of a file of the daemon.
    NameInUse "name_in_use" Storage Hard;
    /// The filesystem does not support an operation that a store needs.
    OperationUnsupported "operation_unsupported" Storage Soft;
    /// The probe did not end in time.
    ProbeTimeout "probe_timeout" Storage Soft;
    /// An earlier probe still hangs in the kernel.
    ProbeStuck "probe_stuck" Storage Soft;
    /// The figures cannot be true.
    CapacityImplausible "capacity_implausible" Storage Hard;

    /// The daemon was restarted while an attempt ran.
    InterruptedByRestart "interrupted_by_restart" Agent Soft;
    /// The daemon is stopping.
    AgentStopping "agent_stopping" Agent Soft;
    /// The store was removed while a request for it was waiting.
    StoreRemoved "store_removed" Agent Hard;
    /// The daemon has too much to do.
    AgentBusy "agent_busy" Agent Soft;
    /// The ledger could not be written or read.
    StateDiskTrouble "state_disk_trouble" Agent Soft;
    /// The management node did not say whether a session is valid.
    ManagementUnreachable "management_unreachable" Agent Soft;
    /// The daemon already serves the uuid.
    DuplicateUuid "duplicate_uuid" Agent Hard;
    /// The daemon already serves the directory.
    DuplicateDirectory "duplicate_directory" Agent Hard;
    /// The store is already attached to the zone.
    ZoneAttached "zone_attached" Agent Hard;
    /// The store is not attached to the zone.
    ZoneNotAttached "zone_not_attached" Agent Hard;
    /// The store is attached to as many zones as the daemon keeps for one.
    TooManyZones "too_many_zones" Agent Hard;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_reads_back_from_its_word() {
        for reason in Reason::ALL {
            assert_eq!(reason.as_str().parse::<Reason>().as_ref(), Ok(reason));
        }
    }

    #[test]
    fn rejected_credentials_and_a_changed_host_key_are_hard_faults() {
        assert!(!Reason::CredentialsRefused.is_soft());
        assert!(!Reason::HostKeyChanged.is_soft());
        assert!(Reason::ProbeTimeout.is_soft() && Reason::ConnectionRefused.is_soft());
    }
}
