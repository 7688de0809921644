//! The remedies that are made for one case, each with its operands. `catalog` has their texts.

use crate::common::operand_enum;

operand_enum! {
    /// A remedy that is made for one case: a word, and the operands that its text names, such as a
    /// path. The words are stored in the ledger.
    pub Remedy {
        // Logins, and what comes before them.
        CheckServiceLimits "check_service_limits";
        PermitConnection "permit_connection";
        PermitAddressFamily "permit_address_family";
        CheckLocalAddresses "check_local_addresses";
        UpdateSshServer "update_ssh_server";
        UseUtf8Texts "use_utf8_texts";
        PermitThisHost "permit_this_host";
        UseSmallerRsaKey "use_smaller_rsa_key" { bits };
        UseSmallerRsaExponent "use_smaller_rsa_exponent" { bits };
        UseOtherGroups "use_other_groups" { min, max };
        RaiseLoginTime "raise_login_time" { given, setting, own, phase };
        CheckSlowServer "check_slow_server";
        CheckOtherLogins "check_other_logins";
        CheckAccountRules "check_account_rules";
        ChangeExpiredPassword "change_expired_password";
        CheckPasswordAge "check_password_age";
        CheckNewAddress "check_new_address";
        SendFingerprint "send_fingerprint";
        RetryWithForce "retry_with_force";
        ReconnectRepaired "reconnect_repaired";

        // Private keys.
        GivePassphrase "give_passphrase";
        CorrectPassphrase "correct_passphrase";
        GivePrivatePart "give_private_part";
        ConvertPuttyKey "convert_putty_key";
        ConvertSshComKey "convert_ssh_com_key";
        ConvertBinaryKey "convert_binary_key";
        KeepLineBreaks "keep_line_breaks";
        GiveWholeKey "give_whole_key";
        UseOtherKeyType "use_other_key_type";
        ReencryptKey "reencrypt_key";
        ReencryptPkcs8Key "reencrypt_pkcs8_key";
        UseFewerRounds "use_fewer_rounds";

        // The directory of a store: its way, its owner, its mount.
        ReturnDirectory "return_directory" { path, uid, gid };
        InitDirectory "init_directory" { dir, uid };
        ListAttributes "list_attributes" { path };
        ClearAttribute "clear_attribute" { flag, path, attribute };
        GrantWay "grant_way" { uid, rights, path };
        PermitWrites "permit_writes" { place };
        RenameToUtf8 "rename_to_utf8";
        CorrectLinks "correct_links" { path };
        ShortenPath "shorten_path" { path };
        FindOtherAdd "find_other_add";
        PassDataDisk "pass_data_disk" { device, file };
        PassMountPoint "pass_mount_point" { folder, device };
        FindRepeatedMounts "find_repeated_mounts";
        CheckProc "check_proc";

        // Errors of the filesystem and of its disk.
        FreeSpaceForMarker "free_space_for_marker";
        MountServedAgain "mount_served_again" { path };
        InsertMedium "insert_medium";
        CheckBlockSums "check_block_sums";
        RenewTicket "renew_ticket";
        GiveValidKey "give_valid_key";
        UnmountName "unmount_name" { path };
        MoveNameAway "move_name_away" { path };
        RemoveFolders "remove_folders";
        RaiseFileSize "raise_file_size";
        UseOtherFilesystem "use_other_filesystem" { operation, errno };
        RaiseOpenFiles "raise_open_files";
        RaiseMachineFiles "raise_machine_files";
        FreeMemory "free_memory";
        RestartLockService "restart_lock_service";
        CheckDeadlock "check_deadlock";
        FindInterruption "find_interruption" { path };
        ReleaseReservation "release_reservation";
        ReplaceDisk "replace_disk";
        ReplaceMemory "replace_memory";
        MakePrimary "make_primary";
        CheckDiskPath "check_disk_path" { errno };
        CheckFilesystemLog "check_filesystem_log" { operation };

        // The workers of the daemon.
        CheckHangingDisks "check_hanging_disks";
        CreateNullDevice "create_null_device";
        MountProc "mount_proc";
        PermitExecution "permit_execution";
        CheckMachineLoad "check_machine_load";
        CheckKilledProcess "check_killed_process";

        // The daemon itself, its state directory and its callers.
        RestoreStateFiles "restore_state_files";
        RepeatRequest "repeat_request";
        ReadStoreAgain "read_store_again";
        RepairStateDisk "repair_state_disk";
        ReportLog "report_log";
        CorrectSessionUrl "correct_session_url";
        ReadInterruptedStore "read_interrupted_store";
        RepeatWithJobUuid "repeat_with_job_uuid";
        CloseStream "close_stream";
        CheckReplyReceiver "check_reply_receiver";
    }
}

/// The remedy of one fault, which takes the place of that of its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnRemedy {
    /// A remedy with texts in the catalog.
    Typed(Remedy),
    /// The English text of a remedy that another version of the program has recorded.
    Recorded(String),
}

/// The remedies of one fault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FaultRemedies {
    /// The remedy in place of that of the reason.
    pub(super) own: Option<OwnRemedy>,
    /// A remedy after the own one, or after that of the reason.
    pub(super) further: Option<Remedy>,
}

impl FaultRemedies {
    /// Returns the remedies with all of their texts changed by `change`.
    pub(super) fn map_texts(self, change: impl Fn(&str) -> String) -> Self {
        let map = |remedy: Remedy| {
            let operands = remedy.operands();
            let find = |name: &str| operands.iter().find(|(known, _)| *known == name);
            let changed = |name: &str| find(name).map(|(_, operand)| change(operand));
            Remedy::from_parts(remedy.word(), changed).unwrap_or_else(|| remedy.clone())
        };
        Self {
            own: self.own.map(|own| match own {
                OwnRemedy::Typed(remedy) => OwnRemedy::Typed(map(remedy)),
                OwnRemedy::Recorded(text) => OwnRemedy::Recorded(change(&text)),
            }),
            further: self.further.map(map),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_remedy_and_its_parts_lead_to_each_other() {
        let words: BTreeSet<&str> = Remedy::WORDS.iter().copied().collect();
        assert_eq!(words.len(), Remedy::WORDS.len());
        for word in Remedy::WORDS {
            let remedy = Remedy::from_parts(word, |name| Some(format!("<{name}>"))).unwrap();
            assert_eq!(remedy.word(), *word);
            for (name, operand) in remedy.operands() {
                assert_eq!(operand, format!("<{name}>"));
            }
            let has_operands = !remedy.operands().is_empty();
            assert_eq!(Remedy::from_parts(word, |_| None).is_none(), has_operands, "{word}");
        }
        assert_eq!(Remedy::from_parts("nothing", |_| Some(String::new())), None);
    }

    #[test]
    fn a_change_of_the_texts_keeps_the_words() {
        let init = Remedy::InitDirectory { dir: "/a\u{7}".to_owned(), uid: "7".to_owned() };
        let remedies = FaultRemedies {
            own: Some(OwnRemedy::Typed(init)),
            further: Some(Remedy::ListAttributes { path: "\u{7}".to_owned() }),
        };
        let changed = remedies.map_texts(|text| text.replace('\u{7}', "?"));
        let init = Remedy::InitDirectory { dir: "/a?".to_owned(), uid: "7".to_owned() };
        assert_eq!(changed.own, Some(OwnRemedy::Typed(init)));
        assert_eq!(changed.further, Some(Remedy::ListAttributes { path: "?".to_owned() }));
    }
}
