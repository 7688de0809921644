//! The settings that are shown. A new setting does not compile until this list decides about it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::redactor::Redactor;
use crate::settings::{
    ApiSettings, AuthSettings, CallbackFormat, CallbackSettings, DateForm, HostKeyPolicy,
    MonitorSettings, ServerSettings, Settings, SshSettings, StateSettings, StorageSettings,
    TlsSettings,
};

/// Returns the settings by section and key. Files of secrets are shown as a path or null, and URLs
/// without user information and query.
pub fn settings_values(settings: &Settings, redactor: &Redactor) -> Value {
    let Settings { server, api, auth, state, storage, monitor, ssh, callback } = settings;
    json!({
        "server": server_values(server, redactor),
        "api": api_values(api),
        "auth": auth_values(auth, redactor),
        "state": state_values(state),
        "storage": storage_values(storage),
        "monitor": monitor_values(monitor),
        "ssh": ssh_values(ssh, redactor),
        "callback": callback_values(callback, redactor),
    })
}

fn server_values(server: &ServerSettings, redactor: &Redactor) -> Value {
    let ServerSettings {
        listen,
        base_paths,
        socket,
        insecure_http,
        host_names,
        agent_prefixes,
        agent_allow,
        trusted_proxies,
        open_metrics,
        tls,
    } = server;
    let prefixes = |list: &[String]| list.iter().map(|it| redactor.path(it)).collect::<Vec<_>>();
    let tls = tls.as_ref().map(|TlsSettings { cert, key, client_ca, clients_file }| {
        json!({
            "cert": path(cert),
            "key": path(key),
            "client_ca": optional_path(client_ca.as_deref()),
            "clients_file": optional_path(clients_file.as_deref()),
        })
    });
    json!({
        "listen": listen.iter().map(SocketAddr::to_string).collect::<Vec<_>>(),
        "base_path": prefixes(base_paths),
        "socket": path(socket),
        "insecure_http": insecure_http,
        "host_names": host_names,
        "agent_prefixes": prefixes(agent_prefixes),
        "agent_allow": networks(agent_allow),
        "trusted_proxies": networks(trusted_proxies),
        "open_metrics": open_metrics,
        "tls": tls,
    })
}

fn api_values(api: &ApiSettings) -> Value {
    let ApiSettings { reply, answer_within, dates, time_zone, language } = api;
    json!({
        "reply": reply.as_str(),
        "answer_within": duration(*answer_within),
        "dates": match dates {
            DateForm::ZStack => "zstack",
            DateForm::Iso8601 => "iso8601",
        },
        "time_zone": time_zone.iana_name(),
        "language": language.to_string(),
    })
}

fn auth_values(auth: &AuthSettings, redactor: &Redactor) -> Value {
    let AuthSettings {
        tokens_file,
        accounts_file,
        session_ttl,
        session_check_url,
        session_check_role,
        access_keys_file,
    } = auth;
    json!({
        "tokens_file": optional_path(tokens_file.as_deref()),
        "access_keys_file": optional_path(access_keys_file.as_deref()),
        "accounts_file": optional_path(accounts_file.as_deref()),
        "session_ttl": duration(*session_ttl),
        "session_check_url": session_check_url.as_ref().map(|url| redactor.url(url)),
        "session_check_role": session_check_role.as_str(),
    })
}

fn state_values(state: &StateSettings) -> Value {
    let StateSettings { dir, master_key_file, core_dumps, trust_file_modes } = state;
    json!({
        "dir": path(dir),
        "master_key_file": optional_path(master_key_file.as_deref()),
        "core_dumps": core_dumps,
        "trust_file_modes": trust_file_modes,
    })
}

fn storage_values(storage: &StorageSettings) -> Value {
    let StorageSettings {
        allowed_roots,
        allow_root_disk,
        write_probe,
        write_probe_interval,
        reserved,
        near_full,
        full,
        filling_up,
    } = storage;
    json!({
        "allowed_roots": allowed_roots,
        "allow_root_disk": allow_root_disk,
        "write_probe": write_probe,
        "write_probe_interval": duration(*write_probe_interval),
        "reserved": reserved,
        "near_full": near_full,
        "full": full,
        "filling_up": duration(*filling_up),
    })
}

fn monitor_values(monitor: &MonitorSettings) -> Value {
    let MonitorSettings {
        interval,
        probe_deadline,
        attempt_deadline,
        fail_after,
        recover_after,
        auto_reconnect,
        ssh_interval,
    } = monitor;
    json!({
        "interval": duration(*interval),
        "probe_deadline": duration(*probe_deadline),
        "attempt_deadline": duration(*attempt_deadline),
        "fail_after": fail_after,
        "recover_after": recover_after,
        "auto_reconnect": auto_reconnect,
        "ssh_interval": duration(*ssh_interval),
    })
}

fn ssh_values(ssh: &SshSettings, redactor: &Redactor) -> Value {
    let SshSettings {
        resolve_timeout,
        connect_timeout,
        handshake_timeout,
        auth_timeout,
        host_key_policy,
        allowed_targets,
        prove_host,
        legacy,
    } = ssh;
    json!({
        "resolve_timeout": duration(*resolve_timeout),
        "connect_timeout": duration(*connect_timeout),
        "handshake_timeout": duration(*handshake_timeout),
        "auth_timeout": duration(*auth_timeout),
        "host_key_policy": match host_key_policy {
            HostKeyPolicy::PinOnFirstUse => "pin-on-first-use",
            HostKeyPolicy::Strict => "strict",
            HostKeyPolicy::AcceptAny => "accept-any",
        },
        "allowed_targets": networks(allowed_targets),
        "prove_host": prove_host,
        "legacy": legacy.iter().map(|name| redactor.text(name)).collect::<Vec<_>>(),
    })
}

fn callback_values(callback: &CallbackSettings, redactor: &Redactor) -> Value {
    let CallbackSettings {
        urls,
        format,
        signing_secret_file,
        ca_file,
        client_cert,
        client_key,
        heartbeat,
        max_pending,
        start_spread,
    } = callback;
    json!({
        "urls": urls.iter().map(|url| redactor.url(url)).collect::<Vec<_>>(),
        "format": match format {
            CallbackFormat::CloudEvents => "cloudevents",
            CallbackFormat::ZStack => "zstack",
        },
        "signing_secret_file": optional_path(signing_secret_file.as_deref()),
        "ca_file": optional_path(ca_file.as_deref()),
        "client_cert": optional_path(client_cert.as_deref()),
        "client_key": optional_path(client_key.as_deref()),
        "heartbeat": duration(*heartbeat),
        "max_pending": max_pending,
        "start_spread": duration(*start_spread),
    })
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

fn optional_path(found: Option<&Path>) -> Option<String> {
    found.map(path)
}

fn duration(time: Duration) -> String {
    format!("{time:?}")
}

fn networks(list: &[IpNet]) -> Vec<String> {
    list.iter().map(IpNet::to_string).collect()
}
