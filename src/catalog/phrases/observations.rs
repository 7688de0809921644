//! The observations of a diagnosis, as sentences.

use super::host_observations as host;
use super::state_observations as state;
use crate::catalog::{DoctorCheck, Language, Text};
use crate::common::operand_enum;

operand_enum! {
    /// An observation of a check: a sentence with the operands that it names, such as a number.
    pub Observation {
        LedgerWritable "ledger_writable";
        DaemonReady "daemon_ready";
        DaemonNotReady "daemon_not_ready" { problems };
        NoNoticeWaits "no_notice_waits" { destination };
        NoticesWait "notices_wait" { pending, destination };
        NoticesRejected "notices_rejected" { pending, destination, reply };
        NoticesDelivered "notices_delivered" { destination };
        AttemptRuns "attempt_runs";
        CheckOverdue "check_overdue";
        ProbeGood "probe_good";
        DirectoryGood "directory_good";
        FileWritten "file_written";
        QuotaKept "quota_kept";
        LoginGood "login_good";
        ServerIsNode "server_is_node" { evidence };
        BytesAvailable "bytes_available" { available, total };
        BytesWithoutInode "bytes_without_inode" { available, total };
        InodesAvailable "inodes_available" { available, total };
        InodesOnDemand "inodes_on_demand";
        StateWritable "state_writable";
        StateDirAbsent "state_dir_absent" { path };
        StateDirUnusable "state_dir_unusable" { problem };
        KeyReadable "key_readable";
        KeyOpens "key_opens" { count };
        KeyUncontested "key_uncontested";
        SecretsLocked "secrets_locked" { stores };
        CredentialFirst "credential_first";
        KeyFileMissing "key_file_missing";
        KeyNotNeeded "key_not_needed";
        KeyOfService "key_of_service";
        NoStoreYet "no_store_yet";
        NodeIdMissing "node_id_missing" { path, stores };
        LedgerLost "ledger_lost" { path };
        LedgerStores "ledger_stores" { count };
        LedgerInUse "ledger_in_use";
        SameVersion "same_version" { version };
        OtherVersion "other_version" { daemon, program };
        DaemonNotRunning "daemon_not_running" { problem };
        DaemonSilent "daemon_silent" { problem };
        NoAnswer "no_answer" { problem };
        ProbablyOtherVersion "probably_other_version" { version };
        ProcessSilent "process_silent" { pid, problem };
        UnitState "unit_state" { unit, state };
        UnitRestarts "unit_restarts" { unit, state, restarts };
        UnitResult "unit_result" { unit, state, result };
        SettingsValid "settings_valid";
        SettingsHang "settings_hang";
        NamedFileHangs "named_file_hangs";
        TlsEverywhere "tls_everywhere";
        OnLoopback "on_loopback";
        WithoutTls "without_tls" { addresses };
        ListensOn "listens_on" { addresses };
        ClientsOnLoopback "clients_on_loopback";
        CallersConfigured "callers_configured";
        CheckWaits "check_waits";
        CheckNotRun "check_not_run";
        CheckTook "check_took" { milliseconds };
        NotConcerned "not_concerned";
        NeedsCheck "needs_check" { check };
        NeedsSetting "needs_setting" { setting };
        NeedsDaemon "needs_daemon";
        NeedsFirstProbe "needs_first_probe";
        NeedsFirstWrite "needs_first_write";
        NeedsFirstLogin "needs_first_login";
        NeedsLook "needs_look";
        NeedsNodeId "needs_node_id";
        NeedsNewestRun "needs_newest_run";
        NeedsLedger "needs_ledger";
        NeedsAccount "needs_account";
        NeedsSystemd "needs_systemd";
        NeedsSystemctl "needs_systemctl" { problem };
        NeedsSystemctlAnswer "needs_systemctl_answer";
        NeedsUnit "needs_unit" { unit };
        NeedsProcess "needs_process" { problem };
        NeedsClient "needs_client";
        NeedsCallers "needs_callers";
        NeedsMore "needs_more" { problem };
        NoticesWaitSince "notices_wait_since" { pending, destination, seconds };
        LastFailure "last_failure" { reply };
        CertificateValid "certificate_valid" { end, days };
        CertificateEnded "certificate_ended" { end };
        CertificateEarly "certificate_early" { start };
        OtherCertificate "other_certificate" { end };
        CertificateKept "certificate_kept" { problem };
        CertificateUnused "certificate_unused" { setting };
        ClockGood "clock_good";
        ClockBeforeProgram "clock_before_program" { now };
        ClockBehindLedger "clock_behind_ledger" { seconds };
        ClockSetForward "clock_set_forward" { seconds };
        ClockSetBack "clock_set_back" { seconds };
        ReceiverReached "receiver_reached" { receiver };
        ReceiverUp "receiver_up" { receiver };
        ReceiverUnknown "receiver_unknown" { receiver };
        ReceiverDown "receiver_down" { receiver };
        ReceiverUnreached "receiver_unreached" { receiver, problem };
        ReceiverNameLate "receiver_name_late" { receiver, seconds };
        ReceiverNoAddress "receiver_no_address" { receiver };
        ReceiverNoPort "receiver_no_port" { receiver };
        ReceiverConnectLate "receiver_connect_late" { receiver, seconds };
        ReceiverTlsLate "receiver_tls_late" { receiver, seconds };
        LastReply "last_reply" { reply };
        NeedsReply "needs_reply";
        NoCallRefused "no_call_refused";
        CallsRefused "calls_refused" { calls };
        RootsWritable "roots_writable";
        RootsReadOnly "roots_read_only" { roots };
        RootsHidden "roots_hidden" { roots };
        NoCallerLine "no_caller_line" { files };
    }
}

impl Observation {
    /// Returns the sentence in a language, without its full stop.
    pub fn phrase(&self, language: Language) -> String {
        self.text().filled(language, &self.operands()).into_owned()
    }

    const fn text(&self) -> Text {
        match self {
            Self::LedgerWritable => {
                Text { en: "the ledger can be written", zh: "状态数据库可以写入" }
            }
            Self::DaemonReady => {
                Text { en: "the daemon answers and is ready", zh: "代理有应答，且已就绪" }
            }
            Self::DaemonNotReady { .. } => Text {
                en: "the daemon is not ready: {problems}",
                zh: "代理尚未就绪：{problems}",
            },
            Self::NoNoticeWaits { .. } => Text {
                en: "no notice waits for {destination}",
                zh: "没有等待送达 {destination} 的通知",
            },
            Self::NoticesWait { .. } => Text {
                en: "{pending} notices wait for {destination}",
                zh: "{pending} 条通知等待送达 {destination}",
            },
            Self::NoticesRejected { .. } => Text {
                en: "{pending} notices wait for {destination}; last reply: {reply}",
                zh: "{pending} 条通知等待送达 {destination}；最近一次应答：{reply}",
            },
            Self::NoticesDelivered { .. } => Text {
                en: "{destination} has every notice",
                zh: "{destination} 已收到全部通知",
            },
            Self::AttemptRuns => {
                Text { en: "an attempt to connect is running", zh: "连接尝试正在进行" }
            }
            Self::CheckOverdue => Text {
                en: "the check was due and has not ended",
                zh: "检查已到期，但尚未结束",
            },
            Self::ProbeGood => Text { en: "the probe is good", zh: "探测正常" },
            Self::DirectoryGood => {
                Text { en: "the directory is good now", zh: "目录现在正常" }
            }
            Self::FileWritten => Text {
                en: "a file was written, synced and removed",
                zh: "已成功写入、同步并删除一个文件",
            },
            Self::QuotaKept => {
                Text { en: "no write exceeds a quota", zh: "没有写入超出配额" }
            }
            Self::LoginGood => Text { en: "the login is good", zh: "登录正常" },
            Self::ServerIsNode { .. } => Text {
                en: "the server is this node ({evidence})",
                zh: "SSH 服务端就是本节点（{evidence}）",
            },
            Self::BytesAvailable { .. } => Text {
                en: "{available} of {total} bytes available",
                zh: "可用 {available} 字节，共 {total} 字节",
            },
            Self::BytesWithoutInode { .. } => Text {
                en: "{available} of {total} bytes available, and no inode",
                zh: "可用 {available} 字节，共 {total} 字节，但没有可用的 inode",
            },
            Self::InodesAvailable { .. } => Text {
                en: "{available} of {total} inodes available",
                zh: "可用 inode {available} 个，共 {total} 个",
            },
            Self::InodesOnDemand => Text {
                en: "the filesystem creates inodes as it needs them",
                zh: "文件系统按需创建 inode",
            },
            Self::StateWritable => state::STATE_WRITABLE,
            Self::StateDirAbsent { .. } => state::STATE_DIR_ABSENT,
            Self::StateDirUnusable { .. } => state::STATE_DIR_UNUSABLE,
            Self::KeyReadable => state::KEY_READABLE,
            Self::KeyOpens { .. } => state::KEY_OPENS,
            Self::KeyUncontested => state::KEY_UNCONTESTED,
            Self::SecretsLocked { .. } => state::SECRETS_LOCKED,
            Self::CredentialFirst => state::CREDENTIAL_FIRST,
            Self::LedgerLost { .. } => state::LEDGER_LOST,
            Self::KeyFileMissing => state::KEY_FILE_MISSING,
            Self::KeyNotNeeded => state::KEY_NOT_NEEDED,
            Self::KeyOfService => state::KEY_OF_SERVICE,
            Self::NoStoreYet => {
                Text { en: "no store was added yet", zh: "尚未添加镜像服务器" }
            }
            Self::NodeIdMissing { .. } => state::NODE_ID_MISSING,
            Self::LedgerStores { .. } => state::LEDGER_STORES,
            Self::LedgerInUse => {
                Text { en: "the daemon uses the ledger", zh: "代理正在使用状态数据库" }
            }
            Self::SameVersion { .. } => Text {
                en: "the daemon and this program are {version}",
                zh: "代理和本程序的版本均为 {version}",
            },
            Self::OtherVersion { .. } => Text {
                en: "the daemon is {daemon}, and this program is {program}",
                zh: "代理的版本为 {daemon}，本程序的版本为 {program}",
            },
            Self::DaemonNotRunning { .. } => Text {
                en: "the daemon does not run: {problem}",
                zh: "代理没有运行：{problem}",
            },
            Self::DaemonSilent { .. } => Text {
                en: "the daemon runs, and does not answer: {problem}",
                zh: "代理在运行，但没有应答：{problem}",
            },
            Self::NoAnswer { .. } => Text {
                en: "the daemon does not answer: {problem}",
                zh: "代理没有应答：{problem}",
            },
            Self::ProbablyOtherVersion { .. } => Text {
                en: "the daemon does not answer as {version}, the version of this program, does: it is probably of another version",
                zh: "代理的应答与本程序的版本 {version} 不符：代理可能是另一个版本",
            },
            Self::ProcessSilent { .. } => Text {
                en: "the daemon runs, and does not answer (process {pid}): {problem}",
                zh: "代理在运行，但没有应答（进程 {pid}）：{problem}",
            },
            Self::UnitState { .. } => {
                Text { en: "{unit} is {state}", zh: "{unit} 的状态为 {state}" }
            }
            Self::UnitRestarts { .. } => Text {
                en: "{unit} is {state}, after {restarts} automatic restarts",
                zh: "{unit} 的状态为 {state}，已自动重启 {restarts} 次",
            },
            Self::UnitResult { .. } => Text {
                en: "{unit} is {state}, with the result {result}",
                zh: "{unit} 的状态为 {state}，结果为 {result}",
            },
            Self::SettingsValid => Text {
                en: "the settings and their files are valid",
                zh: "配置及其引用的文件有效",
            },
            Self::SettingsHang => Text {
                en: "the settings file cannot be read: its disk does not respond",
                zh: "配置文件无法读取：其磁盘没有响应",
            },
            Self::NamedFileHangs => Text {
                en: "a file or folder that the settings name cannot be read: its disk does not respond",
                zh: "配置引用的文件或目录无法读取：其磁盘没有响应",
            },
            Self::TlsEverywhere => {
                Text { en: "every TCP address has TLS", zh: "每个 TCP 地址都启用了 TLS" }
            }
            Self::OnLoopback => {
                Text { en: "the TCP addresses are on loopback", zh: "TCP 地址都是回环地址" }
            }
            Self::WithoutTls { .. } => {
                Text { en: "{addresses} is served without TLS", zh: "{addresses} 没有启用 TLS" }
            }
            Self::ListensOn { .. } => {
                Text { en: "listens on {addresses}", zh: "监听 {addresses}" }
            }
            Self::ClientsOnLoopback => Text {
                en: "clients are configured, and every TCP address is on loopback",
                zh: "已配置客户端，但 TCP 地址都是回环地址",
            },
            Self::CallersConfigured => Text {
                en: "callers over TCP are configured",
                zh: "已配置通过 TCP 的调用方",
            },
            Self::CheckWaits => Text {
                en: "it is waiting for its turn, or running",
                zh: "正在等待执行，或正在执行",
            },
            Self::CheckNotRun => Text {
                en: "not run since the daemon started",
                zh: "代理启动后还没有执行过",
            },
            Self::CheckTook { .. } => {
                Text { en: "took {milliseconds} ms", zh: "用时 {milliseconds} 毫秒" }
            }
            Self::NotConcerned => Text {
                en: "does not concern what was asked for",
                zh: "与所查询的内容无关",
            },
            Self::NeedsCheck { .. } => Text { en: "needs {check}", zh: "需要 {check} 正常" },
            Self::NeedsSetting { .. } => {
                Text { en: "needs {setting}", zh: "需要设置 {setting}" }
            }
            Self::NeedsDaemon => Text { en: "needs the daemon", zh: "需要代理运行" },
            Self::NeedsFirstProbe => Text { en: "needs the first probe", zh: "需要首次探测" },
            Self::NeedsFirstWrite => {
                Text { en: "needs the first write probe", zh: "需要首次写入探测" }
            }
            Self::NeedsFirstLogin => Text { en: "needs the first login", zh: "需要首次登录" },
            Self::NeedsLook => Text { en: "needs a look at it", zh: "需要查看该目录" },
            Self::NeedsNodeId => {
                Text { en: "needs the node id", zh: "需要节点标识（node-id）" }
            }
            Self::NeedsNewestRun => Text {
                en: "needs the newest run, which has not ended",
                zh: "需要最近一次检查的结果，但它尚未结束",
            },
            Self::NeedsLedger => Text { en: "needs the ledger", zh: "需要状态数据库" },
            Self::NeedsAccount => Text {
                en: "needs root, or the daemon's user",
                zh: "需要 root 或代理的运行用户",
            },
            Self::NeedsSystemd => Text {
                en: "needs systemd, which does not manage this system",
                zh: "需要 systemd，但本系统不由它管理",
            },
            Self::NeedsSystemctl { .. } => {
                Text { en: "needs systemctl: {problem}", zh: "需要 systemctl：{problem}" }
            }
            Self::NeedsSystemctlAnswer => {
                Text { en: "needs an answer of systemctl", zh: "需要 systemctl 的应答" }
            }
            Self::NeedsUnit { .. } => Text {
                en: "needs the unit {unit}, which is not installed",
                zh: "需要服务单元 {unit}，但它没有安装",
            },
            Self::NeedsProcess { .. } => Text {
                en: "needs a process of its own: {problem}",
                zh: "需要一个独立的进程：{problem}",
            },
            Self::NeedsClient => Text {
                en: "needs a client in the settings",
                zh: "需要在配置中设置客户端",
            },
            Self::NeedsCallers => Text {
                en: "needs `auth.tokens_file` or another source of callers",
                zh: "需要 `auth.tokens_file` 或其他调用方来源",
            },
            Self::NeedsMore { .. } => Text { en: "needs {problem}", zh: "需要 {problem}" },
            Self::NoticesWaitSince { .. } => host::NOTICES_WAIT_SINCE,
            Self::LastFailure { .. } => host::LAST_FAILURE,
            Self::CertificateValid { .. } => host::CERTIFICATE_VALID,
            Self::CertificateEnded { .. } => host::CERTIFICATE_ENDED,
            Self::CertificateEarly { .. } => host::CERTIFICATE_EARLY,
            Self::OtherCertificate { .. } => host::OTHER_CERTIFICATE,
            Self::CertificateKept { .. } => host::CERTIFICATE_KEPT,
            Self::CertificateUnused { .. } => host::CERTIFICATE_UNUSED,
            Self::ClockGood => host::CLOCK_GOOD,
            Self::ClockBeforeProgram { .. } => host::CLOCK_BEFORE_PROGRAM,
            Self::ClockBehindLedger { .. } => host::CLOCK_BEHIND_LEDGER,
            Self::ClockSetForward { .. } => host::CLOCK_SET_FORWARD,
            Self::ClockSetBack { .. } => host::CLOCK_SET_BACK,
            Self::ReceiverReached { .. } => host::RECEIVER_REACHED,
            Self::ReceiverUp { .. } => host::RECEIVER_UP,
            Self::ReceiverUnknown { .. } => host::RECEIVER_UNKNOWN,
            Self::ReceiverDown { .. } => host::RECEIVER_DOWN,
            Self::ReceiverUnreached { .. } => host::RECEIVER_UNREACHED,
            Self::ReceiverNameLate { .. } => host::RECEIVER_NAME_LATE,
            Self::ReceiverNoAddress { .. } => host::RECEIVER_NO_ADDRESS,
            Self::ReceiverNoPort { .. } => host::RECEIVER_NO_PORT,
            Self::ReceiverConnectLate { .. } => host::RECEIVER_CONNECT_LATE,
            Self::ReceiverTlsLate { .. } => host::RECEIVER_TLS_LATE,
            Self::LastReply { .. } => host::LAST_REPLY,
            Self::NeedsReply => host::NEEDS_REPLY,
            Self::NoCallRefused => host::NO_CALL_REFUSED,
            Self::CallsRefused { .. } => host::CALLS_REFUSED,
            Self::RootsWritable => host::ROOTS_WRITABLE,
            Self::RootsReadOnly { .. } => host::ROOTS_READ_ONLY,
            Self::RootsHidden { .. } => host::ROOTS_HIDDEN,
            Self::NoCallerLine { .. } => host::NO_CALLER_LINE,
        }
    }
}

impl From<DoctorCheck> for Observation {
    /// Returns the need of a check that is good.
    fn from(check: DoctorCheck) -> Self {
        Self::NeedsCheck { check: check.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::text::tests::{assert_text, names_in_braces};

    #[test]
    fn every_observation_has_its_sentence_and_its_operands_in_both_languages() {
        for word in Observation::WORDS {
            let operand = |name: &str| Some(format!("<{name}>"));
            let observation = Observation::from_parts(word, operand).unwrap();
            let text = observation.text();
            assert_text(word, text);
            assert!(!text.en.ends_with('.') && !text.zh.ends_with('。'), "{word}");
            let operands = observation.operands();
            let names = operands.iter().map(|(name, _)| *name).collect();
            assert_eq!(names_in_braces(text.en), names, "{word}");
            assert_eq!(names_in_braces(text.zh), names, "{word}");
            for language in [Language::English, Language::Chinese] {
                let phrase = observation.phrase(language);
                assert!(operands.iter().all(|(_, operand)| phrase.contains(operand)), "{phrase}");
                assert!(!phrase.contains(['`', '{', '}']), "{phrase}");
            }
        }
    }
}
