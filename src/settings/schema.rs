//! Every key with its rule and default, in the order of `config/agent.toml`.
//!
//! Promises: this is the one place where keys, ranges and defaults stand; the list of known keys is
//! what a walk over nothing asks for.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::rules::numeric::{Count, Share, Size, Span};
use super::rules::rule::{Flag, Listed, OneOf};
use super::rules::text::{
    ALGORITHM, BASE_PATH, HOST_NAME, LISTEN, NETWORK, PATH, PREFIX, ROOT, SECRET_FILE, SOCKET,
    SOCKET_BYTES, URL,
};
use super::sections::{
    Api, Auth, Callback, CallbackFormat, HostKeyPolicy, Monitor, ReplyMode, Server, Settings, Ssh,
    State, Storage, Tls,
};
use super::source::reader::Reader;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const SECOND: Duration = secs(1);
const MINUTE: Duration = secs(60);
const HOUR: Duration = secs(3600);

/// Reads all sections, then judges the keys against each other.
pub(super) fn walk(read: &mut Reader<'_>) -> Settings {
    // `server.socket` comes first in the file but follows `state.dir`.
    let mut server = server(read);
    let api = Api {
        reply: read.key(
            "api.reply",
            &OneOf(&[("sync", ReplyMode::Sync), ("async", ReplyMode::Async)]),
            ReplyMode::Sync,
        ),
    };
    let auth = Auth { tokens_file: read.optional("auth.tokens_file", &SECRET_FILE) };
    let state = State {
        dir: read.key("state.dir", &PATH, PathBuf::from("/var/lib/imagestore-agent")),
        master_key_file: read.optional("state.master_key_file", &SECRET_FILE),
    };
    if !read.is_set("server.socket") {
        server.socket = state.dir.join("agent.sock");
        if server.socket.as_os_str().len() > SOCKET_BYTES {
            let what = "too long for the agent.sock in it: a socket's path has at most 107 bytes";
            read.clash(&["state.dir"], what, Some("a shorter path, or set server.socket"));
        }
    }
    Settings {
        server,
        api,
        auth,
        state,
        storage: storage(read),
        monitor: monitor(read),
        ssh: ssh(read),
        callback: callback(read),
    }
}

fn server(read: &mut Reader<'_>) -> Server {
    let loopback = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7811);
    let server = Server {
        listen: read.key("server.listen", &Listed { of: LISTEN, min: 1 }, vec![loopback]),
        base_path: read.key("server.base_path", &BASE_PATH, "/zstack".to_owned()),
        socket: read.key("server.socket", &SOCKET, PathBuf::new()),
        insecure_http: read.key("server.insecure_http", &Flag, false),
        host_names: read.key("server.host_names", &Listed { of: HOST_NAME, min: 0 }, vec![]),
        agent_prefixes: read.key(
            "server.agent_prefixes",
            &Listed { of: PREFIX, min: 1 },
            vec!["/imagestore".to_owned()],
        ),
        agent_allow: read.key("server.agent_allow", &Listed { of: NETWORK, min: 0 }, vec![]),
        open_metrics: read.key("server.open_metrics", &Flag, false),
        tls: tls(read),
    };
    let open = server.listen.iter().find(|address| !address.ip().to_canonical().is_loopback());
    if let (Some(open), None, false) = (open, &server.tls, server.insecure_http) {
        let what = format!("{open} is not a loopback address, and the port speaks plain HTTP");
        let allowed = "a loopback address, server.tls, or server.insecure_http = true";
        read.clash(&["server.listen", "server.insecure_http"], &what, Some(allowed));
    }
    server
}

fn tls(read: &mut Reader<'_>) -> Option<Tls> {
    let cert = read.optional("server.tls.cert", &PATH);
    let key = read.optional("server.tls.key", &SECRET_FILE);
    let client_ca = read.optional("server.tls.client_ca", &PATH);
    let clients_file = read.optional("server.tls.clients_file", &PATH);
    let keys =
        ["server.tls.cert", "server.tls.key", "server.tls.client_ca", "server.tls.clients_file"];
    if !keys.iter().any(|key| read.is_set(key)) {
        return None;
    }
    for key in ["server.tls.cert", "server.tls.key"] {
        if !read.is_set(key) {
            read.clash(&[key], "missing", Some("server.tls needs both cert and key"));
        }
    }
    if clients_file.is_some() && client_ca.is_none() {
        let told = "server.tls.client_ca, which the clients' certificates must come from";
        read.clash(&["server.tls.clients_file"], "useless by itself", Some(told));
    }
    Some(Tls { cert: cert?, key: key?, client_ca, clients_file })
}

fn storage(read: &mut Reader<'_>) -> Storage {
    let storage = Storage {
        allowed_roots: read.key(
            "storage.allowed_roots",
            &Listed { of: ROOT, min: 1 },
            vec!["/var/lib/imagestore".to_owned()],
        ),
        allow_root_disk: read.key("storage.allow_root_disk", &Flag, false),
        write_probe: read.key("storage.write_probe", &Flag, true),
        write_probe_interval: read.key(
            "storage.write_probe_interval",
            &Span { min: SECOND, max: HOUR },
            MINUTE,
        ),
        reserved: read.key("storage.reserved", &Size { max: 1 << 60 }, 1 << 30),
        near_full: read.key("storage.near_full", &Share, 0.85),
        full: read.key("storage.full", &Share, 0.95),
    };
    if storage.near_full >= storage.full {
        let what = format!("not below storage.full, which is {}", storage.full);
        let keys = ["storage.near_full", "storage.full"];
        read.clash(&keys, &what, Some("0 < near_full < full <= 1"));
    }
    storage
}

fn monitor(read: &mut Reader<'_>) -> Monitor {
    Monitor {
        interval: read.key("monitor.interval", &Span { min: SECOND, max: HOUR }, secs(10)),
        probe_deadline: read.key(
            "monitor.probe_deadline",
            &Span { min: ms(100), max: 10 * MINUTE },
            secs(5),
        ),
        attempt_deadline: read.key(
            "monitor.attempt_deadline",
            &Span { min: SECOND, max: 10 * MINUTE },
            secs(30),
        ),
        fail_after: read.key("monitor.fail_after", &Count { min: 1, max: 100 }, 3),
        recover_after: read.key("monitor.recover_after", &Count { min: 1, max: 100 }, 2),
        auto_reconnect: read.key("monitor.auto_reconnect", &Flag, true),
        ssh_interval: read.key(
            "monitor.ssh_interval",
            &Span { min: secs(10), max: 24 * HOUR },
            5 * MINUTE,
        ),
    }
}

fn ssh(read: &mut Reader<'_>) -> Ssh {
    Ssh {
        resolve_timeout: read.key(
            "ssh.resolve_timeout",
            &Span { min: ms(100), max: MINUTE },
            secs(5),
        ),
        connect_timeout: read.key(
            "ssh.connect_timeout",
            &Span { min: ms(100), max: MINUTE },
            secs(5),
        ),
        handshake_timeout: read.key(
            "ssh.handshake_timeout",
            &Span { min: ms(100), max: 2 * MINUTE },
            secs(10),
        ),
        auth_timeout: read.key(
            "ssh.auth_timeout",
            &Span { min: secs(4), max: 5 * MINUTE },
            secs(10),
        ),
        host_key_policy: read.key(
            "ssh.host_key_policy",
            &OneOf(&[
                ("pin-on-first-use", HostKeyPolicy::PinOnFirstUse),
                ("strict", HostKeyPolicy::Strict),
                ("accept-any", HostKeyPolicy::AcceptAny),
            ]),
            HostKeyPolicy::PinOnFirstUse,
        ),
        allowed_targets: read.key("ssh.allowed_targets", &Listed { of: NETWORK, min: 0 }, vec![]),
        prove_host: read.key("ssh.prove_host", &Flag, true),
        legacy: read.key("ssh.legacy", &Listed { of: ALGORITHM, min: 0 }, vec![]),
    }
}

fn callback(read: &mut Reader<'_>) -> Callback {
    let several = read.key("callback.urls", &Listed { of: URL, min: 0 }, vec![]);
    let single = read.optional("callback.url", &URL);
    if read.is_set("callback.urls") && read.is_set("callback.url") {
        let what = "set beside callback.urls, which means the same";
        read.clash(&["callback.url"], what, Some("one of the two"));
    }
    let callback = Callback {
        urls: single.map_or(several, |url| vec![url]),
        format: read.key(
            "callback.format",
            &OneOf(&[
                ("cloudevents", CallbackFormat::CloudEvents),
                ("zstack", CallbackFormat::ZStack),
            ]),
            CallbackFormat::CloudEvents,
        ),
        signing_secret_file: read.optional("callback.signing_secret_file", &SECRET_FILE),
        ca_file: read.optional("callback.ca_file", &PATH),
        client_cert: read.optional("callback.client_cert", &PATH),
        client_key: read.optional("callback.client_key", &SECRET_FILE),
        heartbeat: read.key("callback.heartbeat", &Span { min: SECOND, max: HOUR }, secs(10)),
        max_pending: read.key("callback.max_pending", &Count { min: 10, max: 1_000_000 }, 1000),
        start_spread: read.key(
            "callback.start_spread",
            &Span { min: Duration::ZERO, max: MINUTE },
            secs(2),
        ),
    };
    let pair = ["callback.client_cert", "callback.client_key"];
    for (missing, other) in [(pair[0], pair[1]), (pair[1], pair[0])] {
        if read.is_set(other) && !read.is_set(missing) {
            let what = format!("missing, while {other} is set");
            read.clash(&[missing], &what, Some("both or neither"));
        }
    }
    callback
}
