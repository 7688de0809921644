//! Schema of the settings: every key with its rule and default, in the order of
//! `config/agent.toml`.
//!
//! # Guarantees
//! - Keys, ranges and defaults are defined only in this module. The list of known keys is the list
//!   of keys that these functions read.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::conflicts::report_conflicts;
use super::load::ListenUse;
use super::reader::SettingsReader;
use super::rules::numeric::{DaysRule, DurationRule, IntegerRule, RatioRule, SizeRule};
use super::rules::text::{
    ALGORITHM_RULE, BASE_PATH_RULE, HOST_NAME_RULE, LISTEN_RULE, MAX_SOCKET_BYTES, NETWORK_RULE,
    PATH_RULE, PREFIX_RULE, ROOT_RULE, SECRET_FILE_RULE, SESSION_CHECK_RULE, SOCKET_RULE,
    TIME_ZONE_RULE, URL_RULE,
};
use super::rules::{BooleanRule, ListRule, OneOfRule};
use super::sections::{
    ApiSettings, AuthSettings, CallbackFormat, CallbackSettings, DateForm, HostKeyPolicy,
    MonitorSettings, ReplyMode, ServerSettings, Settings, SshSettings, StateSettings,
    StorageSettings, TlsSettings,
};
use crate::catalog::Language;
use crate::model::Role;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const SECOND: Duration = secs(1);
const MINUTE: Duration = secs(60);
const HOUR: Duration = secs(3600);

/// Reads all sections, then checks the keys against each other.
pub(super) fn read_settings(reader: &mut SettingsReader<'_>, listen_use: ListenUse) -> Settings {
    // `server.socket` comes first in the file, but its default depends on `state.dir`.
    let mut server = read_server(reader);
    let api = ApiSettings {
        reply: reader.read_key(
            "api.reply",
            &OneOfRule(&[("sync", ReplyMode::Sync), ("async", ReplyMode::Async)]),
            ReplyMode::Sync,
        ),
        answer_within: reader.read_key(
            "api.answer_within",
            &DurationRule { min: SECOND, max: secs(9) },
            secs(8),
        ),
        dates: reader.read_key(
            "api.dates",
            &OneOfRule(&[("zstack", DateForm::ZStack), ("iso8601", DateForm::Iso8601)]),
            DateForm::ZStack,
        ),
        time_zone: reader.read_key("api.time_zone", &TIME_ZONE_RULE, TimeZone::UTC),
        language: reader.read_key(
            "api.language",
            &OneOfRule(&[("en", Language::English), ("zh", Language::Chinese)]),
            Language::English,
        ),
    };
    let auth = read_auth(reader);
    let state = StateSettings {
        dir: reader.read_key("state.dir", &PATH_RULE, PathBuf::from("/var/lib/imagestore-agent")),
        master_key_file: reader.read_optional("state.master_key_file", &SECRET_FILE_RULE),
        core_dumps: reader.read_key("state.core_dumps", &BooleanRule, false),
        trust_file_modes: reader.read_key("state.trust_file_modes", &BooleanRule, false),
    };
    if !reader.is_set("server.socket") {
        server.socket = state.dir.join("agent.sock");
        if server.socket.as_os_str().len() > MAX_SOCKET_BYTES {
            let problem =
                "too long: the path of the socket agent.sock in it would exceed 107 bytes";
            reader.report_conflict(
                &["state.dir"],
                problem,
                Some("a shorter path, or a path for server.socket"),
            );
        }
    }
    let settings = Settings {
        server,
        api,
        auth,
        state,
        storage: read_storage(reader),
        monitor: read_monitor(reader),
        ssh: read_ssh(reader),
        callback: read_callback(reader),
    };
    report_conflicts(reader, &settings, listen_use);
    settings
}

fn read_base_paths(reader: &mut SettingsReader<'_>) -> Vec<String> {
    let rule = ListRule { item_rule: BASE_PATH_RULE, min: 0 };
    let paths = reader.read_key("server.base_path", &rule, vec!["/zstack".to_owned()]);
    // An empty variable is an empty list, and stands for one empty prefix.
    if paths.is_empty() { vec![String::new()] } else { paths }
}

fn read_server(reader: &mut SettingsReader<'_>) -> ServerSettings {
    let loopback = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7811);
    ServerSettings {
        listen: reader.read_key(
            "server.listen",
            &ListRule { item_rule: LISTEN_RULE, min: 1 },
            vec![loopback],
        ),
        base_paths: read_base_paths(reader),
        socket: reader.read_key("server.socket", &SOCKET_RULE, PathBuf::new()),
        insecure_http: reader.read_key("server.insecure_http", &BooleanRule, false),
        host_names: reader.read_key(
            "server.host_names",
            &ListRule { item_rule: HOST_NAME_RULE, min: 0 },
            vec![],
        ),
        agent_prefixes: reader.read_key(
            "server.agent_prefixes",
            &ListRule { item_rule: PREFIX_RULE, min: 1 },
            vec!["/imagestore".to_owned()],
        ),
        agent_allow: reader.read_key(
            "server.agent_allow",
            &ListRule { item_rule: NETWORK_RULE, min: 0 },
            vec![],
        ),
        trusted_proxies: reader.read_key(
            "server.trusted_proxies",
            &ListRule { item_rule: NETWORK_RULE, min: 0 },
            vec![],
        ),
        open_metrics: reader.read_key("server.open_metrics", &BooleanRule, false),
        tls: read_tls(reader),
    }
}

fn read_auth(reader: &mut SettingsReader<'_>) -> AuthSettings {
    AuthSettings {
        tokens_file: reader.read_optional("auth.tokens_file", &SECRET_FILE_RULE),
        access_keys_file: reader.read_optional("auth.access_keys_file", &SECRET_FILE_RULE),
        accounts_file: reader.read_optional("auth.accounts_file", &SECRET_FILE_RULE),
        session_ttl: reader.read_key(
            "auth.session_ttl",
            &DurationRule { min: MINUTE, max: 168 * HOUR },
            2 * HOUR,
        ),
        session_check_url: reader.read_optional("auth.session_check_url", &SESSION_CHECK_RULE),
        session_check_role: reader.read_key(
            "auth.session_check_role",
            &OneOfRule(&[("read", Role::Read), ("operate", Role::Operate), ("admin", Role::Admin)]),
            Role::Read,
        ),
    }
}

fn read_tls(reader: &mut SettingsReader<'_>) -> Option<TlsSettings> {
    let cert = reader.read_optional("server.tls.cert", &PATH_RULE);
    let key = reader.read_optional("server.tls.key", &SECRET_FILE_RULE);
    let client_ca = reader.read_optional("server.tls.client_ca", &PATH_RULE);
    let clients_file = reader.read_optional("server.tls.clients_file", &PATH_RULE);
    let keys =
        ["server.tls.cert", "server.tls.key", "server.tls.client_ca", "server.tls.clients_file"];
    if !keys.iter().any(|key| reader.is_set(key)) {
        return None;
    }
    for key in ["server.tls.cert", "server.tls.key"] {
        if !reader.is_set(key) {
            reader.report_conflict(&[key], "missing", Some("both cert and key in server.tls"));
        }
    }
    if clients_file.is_some() && client_ca.is_none() {
        let allowed = "with server.tls.client_ca, the CAs that issue the client certificates";
        reader.report_conflict(
            &["server.tls.clients_file"],
            "has no effect without server.tls.client_ca",
            Some(allowed),
        );
    }
    Some(TlsSettings { cert: cert?, key: key?, client_ca, clients_file })
}

fn read_storage(reader: &mut SettingsReader<'_>) -> StorageSettings {
    let storage = StorageSettings {
        allowed_roots: reader.read_key(
            "storage.allowed_roots",
            &ListRule { item_rule: ROOT_RULE, min: 1 },
            vec!["/var/lib/imagestore".to_owned()],
        ),
        allow_root_disk: reader.read_key("storage.allow_root_disk", &BooleanRule, false),
        write_probe: reader.read_key("storage.write_probe", &BooleanRule, true),
        write_probe_interval: reader.read_key(
            "storage.write_probe_interval",
            &DurationRule { min: SECOND, max: HOUR },
            MINUTE,
        ),
        reserved: reader.read_key("storage.reserved", &SizeRule { max: 1 << 60 }, 1 << 30),
        near_full: reader.read_key("storage.near_full", &RatioRule, 0.85),
        full: reader.read_key("storage.full", &RatioRule, 0.95),
        filling_up: reader.read_key(
            "storage.filling_up",
            &DaysRule { max: 365 * 24 * HOUR },
            7 * 24 * HOUR,
        ),
    };
    if storage.near_full >= storage.full {
        let problem = format!("not below storage.full, which is {}", storage.full);
        let keys = ["storage.near_full", "storage.full"];
        reader.report_conflict(&keys, &problem, Some("0 < near_full < full <= 1"));
    }
    storage
}

fn read_monitor(reader: &mut SettingsReader<'_>) -> MonitorSettings {
    MonitorSettings {
        interval: reader.read_key(
            "monitor.interval",
            &DurationRule { min: SECOND, max: HOUR },
            secs(10),
        ),
        probe_deadline: reader.read_key(
            "monitor.probe_deadline",
            &DurationRule { min: ms(100), max: 10 * MINUTE },
            secs(5),
        ),
        attempt_deadline: reader.read_key(
            "monitor.attempt_deadline",
            &DurationRule { min: SECOND, max: 10 * MINUTE },
            secs(30),
        ),
        fail_after: reader.read_key("monitor.fail_after", &IntegerRule { min: 1, max: 100 }, 3),
        recover_after: reader.read_key(
            "monitor.recover_after",
            &IntegerRule { min: 1, max: 100 },
            2,
        ),
        auto_reconnect: reader.read_key("monitor.auto_reconnect", &BooleanRule, true),
        ssh_interval: reader.read_key(
            "monitor.ssh_interval",
            &DurationRule { min: secs(10), max: 24 * HOUR },
            5 * MINUTE,
        ),
    }
}

fn read_ssh(reader: &mut SettingsReader<'_>) -> SshSettings {
    SshSettings {
        resolve_timeout: reader.read_key(
            "ssh.resolve_timeout",
            &DurationRule { min: ms(100), max: MINUTE },
            secs(5),
        ),
        connect_timeout: reader.read_key(
            "ssh.connect_timeout",
            &DurationRule { min: ms(100), max: MINUTE },
            secs(5),
        ),
        handshake_timeout: reader.read_key(
            "ssh.handshake_timeout",
            &DurationRule { min: ms(100), max: 2 * MINUTE },
            secs(10),
        ),
        auth_timeout: reader.read_key(
            "ssh.auth_timeout",
            &DurationRule { min: secs(4), max: 5 * MINUTE },
            secs(10),
        ),
        host_key_policy: reader.read_key(
            "ssh.host_key_policy",
            &OneOfRule(&[
                ("pin-on-first-use", HostKeyPolicy::PinOnFirstUse),
                ("strict", HostKeyPolicy::Strict),
                ("accept-any", HostKeyPolicy::AcceptAny),
            ]),
            HostKeyPolicy::PinOnFirstUse,
        ),
        allowed_targets: reader.read_key(
            "ssh.allowed_targets",
            &ListRule { item_rule: NETWORK_RULE, min: 0 },
            vec![],
        ),
        prove_host: reader.read_key("ssh.prove_host", &BooleanRule, true),
        legacy: reader.read_key(
            "ssh.legacy",
            &ListRule { item_rule: ALGORITHM_RULE, min: 0 },
            vec![],
        ),
    }
}

fn read_callback(reader: &mut SettingsReader<'_>) -> CallbackSettings {
    let urls = reader.read_key("callback.urls", &ListRule { item_rule: URL_RULE, min: 0 }, vec![]);
    let url = reader.read_optional("callback.url", &URL_RULE);
    if reader.is_set("callback.urls") && reader.is_set("callback.url") {
        let problem = "callback.urls is set too, and has the same meaning";
        reader.report_conflict(&["callback.url"], problem, Some("only one of the two keys"));
    }
    let callback = CallbackSettings {
        urls: url.map_or(urls, |url| vec![url]),
        format: reader.read_key(
            "callback.format",
            &OneOfRule(&[
                ("cloudevents", CallbackFormat::CloudEvents),
                ("zstack", CallbackFormat::ZStack),
            ]),
            CallbackFormat::CloudEvents,
        ),
        signing_secret_file: reader
            .read_optional("callback.signing_secret_file", &SECRET_FILE_RULE),
        ca_file: reader.read_optional("callback.ca_file", &PATH_RULE),
        client_cert: reader.read_optional("callback.client_cert", &PATH_RULE),
        client_key: reader.read_optional("callback.client_key", &SECRET_FILE_RULE),
        heartbeat: reader.read_key(
            "callback.heartbeat",
            &DurationRule { min: SECOND, max: HOUR },
            secs(10),
        ),
        max_pending: reader.read_key(
            "callback.max_pending",
            &IntegerRule { min: 10, max: 1_000_000 },
            1000,
        ),
        start_spread: reader.read_key(
            "callback.start_spread",
            &DurationRule { min: Duration::ZERO, max: MINUTE },
            secs(2),
        ),
    };
    let pair = ["callback.client_cert", "callback.client_key"];
    for (missing, other) in [(pair[0], pair[1]), (pair[1], pair[0])] {
        if reader.is_set(other) && !reader.is_set(missing) {
            let problem = format!("missing, but {other} is set");
            reader.report_conflict(&[missing], &problem, Some("both keys or neither"));
        }
    }
    callback
}
