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

            /// Returns the general remedy: an action, which an explanation may follow after `: `.
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

    /// Returns the general remedy without its explanation.
    pub fn short_remedy(self) -> &'static str {
        let remedy = self.remedy();
        remedy.split_once(": ").map_or(remedy, |(action, _)| action)
    }
}

reasons! {
    /// The name has no address, or `ssh.resolve_timeout` expired.
    NameNotFound "name_not_found" Ssh Soft
        "correct the store's hostname, or repair the name resolution of this node";
    /// The name resolves to another machine.
    TargetNotAllowed "target_not_allowed" Ssh Hard
        "give an address of this node as hostname, or add the address to ssh.allowed_targets";
    /// Nothing listens on the port.
    ConnectionRefused "connection_refused" Ssh Soft
        "start sshd on this port, or correct the store's sshPort";
    /// No route leads to the host.
    Unreachable "unreachable" Ssh Soft
        "check the route (ip route get ADDRESS) and the firewall between this node and the address";
    /// The TCP handshake did not end in time.
    ConnectTimeout "connect_timeout" Ssh Soft
        "check that the host is up, and that no firewall drops the packets";
    /// TCP connected, but the server did not send its banner in time.
    BannerTimeout "banner_timeout" Ssh Soft
        "check the load of the SSH server, or restart sshd: it accepts connections but does not answer";
    /// The key exchange did not end in time.
    HandshakeTimeout "handshake_timeout" Ssh Soft
        "check the load and the log of the SSH server: it stopped answering during the key exchange";
    /// The login did not end in time.
    AuthTimeout "auth_timeout" Ssh Soft
        "check the log of sshd and its PAM modules, which decide slowly, or raise ssh.auth_timeout";
    /// The peer closed or reset the connection.
    ConnectionLost "connection_lost" Ssh Soft
        "check the log of sshd for the reason why it closed the connection";
    /// The peer does not speak SSH.
    NotSsh "not_ssh" Ssh Soft
        "correct the store's sshPort: another service listens on this port";
    /// The two sides have no common key exchange, cipher, MAC or host key algorithm.
    NoCommonAlgorithm "no_common_algorithm" Ssh Hard
        "update the SSH server, or enable the algorithm again under ssh.legacy";
    /// The server's key is not the pinned one.
    HostKeyChanged "host_key_changed" Ssh Hard
        "compare the fingerprint on the server itself (ssh-keygen -lf): if it is the same, run imagestore-agent accept-host-key; if not, identify the host that answers at this address";
    /// No key of the server has a given fingerprint, or the strict policy knows no key.
    HostKeyUnknown "host_key_unknown" Ssh Hard
        "add the store with hostKeyFingerprint, as ssh-keygen -l prints it on the server; for an existing store, run imagestore-agent accept-host-key";
    /// The server rejected the user with its password or key.
    CredentialsRefused "credentials_refused" Ssh Hard
        "correct the store's username, password or key with imagestore-agent update";
    /// The server does not offer the method that the store has credentials for.
    MethodNotOffered "method_not_offered" Ssh Hard
        "give the store credentials for a method that the server offers, or enable the method in sshd_config";
    /// The first method was accepted, but the server requires a second one.
    SecondFactorMissing "second_factor_missing" Ssh Hard
        "give the store both a password and a private key, or relax AuthenticationMethods for this user in sshd_config";
    /// The private key cannot be parsed.
    KeyUnusable "key_unusable" Ssh Hard
        "give the store an OpenSSH or PEM private key (ed25519, ecdsa or rsa) and its passphrase";
    /// The stored secret cannot be unsealed.
    SecretUnreadable "secret_unreadable" Ssh Hard
        "restore the master key that sealed the secret, or give the store its credentials again with imagestore-agent update";
    /// The stored secrets were given for another address, and no pinned key identifies the server.
    CredentialsOutOfScope "credentials_out_of_scope" Ssh Hard
        "give the store its password or private key again with imagestore-agent update: without a pinned key, a stored secret is sent only to the hostname and port that it was given for";
    /// The server temporarily rejects connections.
    Throttled "throttled" Ssh Soft
        "find the client that opens too many connections to sshd, or relax its limits (MaxStartups, PerSourcePenalties)";
    /// The host behind the name is proven to be another one.
    DifferentHost "different_host" Ssh Hard
        "correct the store's hostname: the login works, but on another machine";

    /// The directory does not exist.
    DirectoryMissing "directory_missing" Identity Hard
        "create the directory, or mount the disk that contains it";
    /// The path is a file.
    NotADirectory "not_a_directory" Identity Hard
        "give the path of a directory as url";
    /// The opened directory is outside the allowed roots.
    OutsideAllowedRoots "outside_allowed_roots" Identity Hard
        "give the path without symbolic links, or add its root to storage.allowed_roots: a symbolic link leads out of the allowed roots";
    /// No disk can resolve the path: its links form a loop, or it is too long.
    PathUnusable "path_unusable" Identity Hard
        "correct the path: its symbolic links form a loop, or it is too long, or its text cannot be stored";
    /// The daemon's user lacks the permission.
    PermissionDenied "permission_denied" Storage Hard
        "run imagestore-agent init on the directory as root, to give the daemon's user access to it";
    /// The disk that contained the directory is not mounted.
    NotMounted "not_mounted" Identity Hard
        "mount the disk that contains the image directory";
    /// The directory of an add is on the root filesystem.
    OnRootDisk "on_root_disk" Identity Hard
        "mount a data disk at the directory first, or set storage.allow_root_disk = true to permit the root disk";
    /// The directory no longer has a marker.
    MarkerMissing "marker_missing" Identity Hard
        "check that the right disk is mounted; if the marker was deleted, restore .imagestore-agent/identity.json from a backup";
    /// The marker cannot be parsed.
    MarkerUnreadable "marker_unreadable" Identity Hard
        "restore .imagestore-agent/identity.json from a backup; the daemon never rewrites it";
    /// The marker names another store.
    WrongStore "wrong_store" Identity Hard
        "mount the right disk: the mounted one belongs to another store";
    /// The marker names another node.
    TakenOver "taken_over" Identity Hard
        "add the directory with takeOver to move it to this node; another daemon owns it";
    /// Neither `registry/` nor `export/` exists under a store that had them.
    RegistryMissing "registry_missing" Identity Hard
        "check the directory before anything is written to it: image metadata may be lost";
    /// The superblock is read-only.
    ReadOnly "read_only" Storage Hard
        "check the kernel log (dmesg) and the disk, then remount the filesystem read-write";
    /// Only the mount in this process's namespace is read-only.
    NamespaceReadOnly "namespace_read_only" Storage Hard
        "add the directory to ReadWritePaths, or mount the volume :rw: the filesystem is writable, but this sandbox sees it read-only";
    /// The disk returned an error.
    IoError "io_error" Storage Soft
        "check the kernel log (dmesg) and the disk";
    /// The network filesystem no longer knows the directory.
    StaleHandle "stale_handle" Storage Soft
        "unmount the network filesystem and mount it again";
    /// The process that serves the filesystem has ended.
    FilesystemServerGone "filesystem_server_gone" Storage Soft
        "unmount the filesystem and mount it again: the process that serves it (FUSE) or its session has ended";
    /// The client of a network filesystem cannot reach the server.
    FilesystemServerUnreachable "filesystem_server_unreachable" Storage Soft
        "check the server of the network filesystem, and the network and the firewall on the way to it";
    /// The block device is gone.
    DiskRemoved "disk_removed" Storage Soft
        "connect the disk again or replace it, then unmount the filesystem and mount it again";
    /// The filesystem is damaged.
    FilesystemCorrupt "filesystem_corrupt" Storage Hard
        "unmount the filesystem and repair it (fsck, xfs_repair, btrfs check): its structures are damaged; check the disk too";
    /// The encrypted directory is locked, or a ticket has expired.
    FilesystemKeyMissing "filesystem_key_missing" Storage Hard
        "unlock the encrypted directory (fscrypt unlock), or add its key to the kernel again";
    /// Another object has the name of a file of the daemon.
    NameInUse "name_in_use" Storage Hard
        "move the object at this path away: the daemon needs the name for its own file";
    /// The filesystem does not support an operation that a store needs.
    OperationUnsupported "operation_unsupported" Storage Soft
        "use another filesystem, or update its driver or server: it does not support an operation that a store needs";
    /// The probe did not end in time.
    ProbeTimeout "probe_timeout" Storage Soft
        "check the disk or its server, which does not answer, or raise monitor.probe_deadline";
    /// An earlier probe still hangs in the kernel.
    ProbeStuck "probe_stuck" Storage Soft
        "restore the disk or its server, or run umount -f on the mount: a probe hangs in the kernel";
    /// The figures cannot be true.
    CapacityImplausible "capacity_implausible" Storage Hard
        "check the filesystem, and report its type to the developers: it reports impossible figures";

    /// The daemon was restarted while an attempt ran.
    InterruptedByRestart "interrupted_by_restart" Agent Soft
        "do nothing: a new attempt starts automatically";
    /// The daemon is stopping.
    AgentStopping "agent_stopping" Agent Soft
        "repeat the request when the daemon runs again";
    /// The store was removed while a request for it was waiting.
    StoreRemoved "store_removed" Agent Hard
        "do nothing, or add the store again: the daemon no longer serves it";
    /// The daemon has too much to do.
    AgentBusy "agent_busy" Agent Soft
        "repeat the request after the time in Retry-After";
    /// The ledger could not be written or read.
    StateDiskTrouble "state_disk_trouble" Agent Soft
        "free space on the disk of state.dir, or repair the disk; the change was not made";
    /// The management node did not say whether a session is valid.
    ManagementUnreachable "management_unreachable" Agent Soft
        "check that the management node answers at auth.session_check_url, then repeat the request";
    /// The daemon already serves the uuid.
    DuplicateUuid "duplicate_uuid" Agent Hard
        "choose another resourceUuid, or reconnect the existing store";
    /// The daemon already serves the directory.
    DuplicateDirectory "duplicate_directory" Agent Hard
        "choose another url, or remove the store that has this directory";
    /// The store is already attached to the zone.
    ZoneAttached "zone_attached" Agent Hard
        "do nothing: the store is in this zone already";
    /// The store is not attached to the zone.
    ZoneNotAttached "zone_not_attached" Agent Hard
        "do nothing, or compare the uuid of the zone with attachedZoneUuids of the store";
    /// The store is attached to as many zones as the daemon keeps for one.
    TooManyZones "too_many_zones" Agent Hard
        "detach the store from the zones that it does not need";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_reads_back_from_its_word_and_has_a_remedy() {
        for reason in Reason::ALL {
            assert_eq!(reason.as_str().parse::<Reason>().as_ref(), Ok(reason));
            let short = reason.short_remedy();
            assert!(reason.remedy().starts_with(short) && short.len() >= 10, "{reason}: {short}");
            assert!(!short.ends_with([':', ',', ';']), "{reason}: {short}");
        }
        assert_eq!(Reason::WrongStore.short_remedy(), "mount the right disk");
        assert_eq!(Reason::IoError.short_remedy(), Reason::IoError.remedy());
    }

    #[test]
    fn rejected_credentials_and_a_changed_host_key_are_hard_faults() {
        assert!(!Reason::CredentialsRefused.is_soft());
        assert!(!Reason::HostKeyChanged.is_soft());
        assert!(Reason::ProbeTimeout.is_soft() && Reason::ConnectionRefused.is_soft());
    }
}
