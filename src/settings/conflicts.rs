//! Conflicts between settings that are valid in themselves, and that a start or a request would
//! fail on. The checks compare texts and access no disk.

use std::net::SocketAddr;
use std::path::Path;

use super::load::ListenUse;
use super::own_address::report_own_address;
use super::reader::SettingsReader;
use super::sections::{STATE_FILES, ServerSettings, Settings};

/// Paths of the daemon itself that no prefix may equal or begin, or lie below: the health checks,
/// the metrics, the description of the API and the pages.
const OWN_PATHS: [&str; 9] = [
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/stores",
    "/events",
    "/login",
    "/docs",
    "/assets",
];
/// The path below a `server.base_path` that the documented API begins with.
const API_PATH: &str = "/v1";
/// The paths that ZStack's clients use whatever `server.base_path` is. Nothing is served below them
/// but what the daemon serves there itself.
const ZSTACK_PATHS: &[&str] = &["/zstack/api", "/zstack/v1/api-jobs"];
/// Maximum length of `state.dir`, in bytes. SQLite opens no file with a path of more than 512 bytes
/// (`MAX_PATHNAME` in its `os_unix.c`), and the files of the ledger have names of up to 40 bytes.
const MAX_STATE_DIR_BYTES: usize = 470;

/// Reports every conflict between the settings.
pub(super) fn report_conflicts(
    reader: &mut SettingsReader<'_>,
    settings: &Settings,
    listen_use: ListenUse,
) {
    if listen_use == ListenUse::Opened {
        report_exposed_address(reader, &settings.server);
        report_equal_addresses(reader, &settings.server.listen);
        report_own_address(reader, settings);
    }
    report_prefixes(reader, &settings.server);
    report_state_dir(reader, settings);
    report_shared_files(reader, settings);
}

fn report_exposed_address(reader: &mut SettingsReader<'_>, server: &ServerSettings) {
    let exposed = server.listen.iter().find(|address| !address.ip().is_loopback());
    if let (Some(exposed), None, false) = (exposed, &server.tls, server.insecure_http) {
        let problem =
            format!("{exposed} is not a loopback address, and the listener uses plain HTTP");
        let allowed = "a loopback address, server.tls, or server.insecure_http = true";
        reader.report_conflict(&["server.listen", "server.insecure_http"], &problem, Some(allowed));
    }
}

fn report_equal_addresses(reader: &mut SettingsReader<'_>, listen: &[SocketAddr]) {
    for (at, first) in listen.iter().enumerate() {
        for second in listen.iter().skip(at + 1).filter(|second| is_shared(first, second)) {
            let problem =
                format!("{first} and {second} cannot both be opened: one contains the other");
            let allowed = "only one of the two, or another port";
            reader.report_conflict(&["server.listen"], &problem, Some(allowed));
        }
    }
}

/// Returns true if two listeners claim the same port of an address. The unspecified address claims
/// the port of every address of its family (`ip(7)`). Port 0 is a different port each time.
fn is_shared(first: &SocketAddr, second: &SocketAddr) -> bool {
    first.port() != 0
        && first.port() == second.port()
        && first.is_ipv4() == second.is_ipv4()
        && (first == second || first.ip().is_unspecified() || second.ip().is_unspecified())
}

fn report_prefixes(reader: &mut SettingsReader<'_>, server: &ServerSettings) {
    let bases = server.base_paths.iter().map(|base| if base.is_empty() { API_PATH } else { base });
    let bases: Vec<&str> = bases.collect();
    let allowed = "a prefix that neither equals nor begins another one or a path of the daemon";
    let prefixes = server.agent_prefixes.iter().map(|prefix| ("server.agent_prefixes", &**prefix));
    let base_paths = bases.iter().map(|base| ("server.base_path", *base));
    for (key, prefix) in base_paths.chain(prefixes) {
        for own in OWN_PATHS.iter().filter(|own| is_overlap(own, prefix)) {
            let problem = format!("{prefix} overlaps with {own}, a path of the daemon itself");
            reader.report_conflict(&[key], &problem, Some(allowed));
        }
        for own in ZSTACK_PATHS.iter().filter(|own| begins_with(prefix, own)) {
            let problem = format!("{prefix} begins with {own}, a path of ZStack's own clients");
            reader.report_conflict(&[key], &problem, Some(allowed));
        }
    }
    for prefix in &server.agent_prefixes {
        for base in bases.iter().filter(|base| is_overlap(prefix, base)) {
            let keys = ["server.agent_prefixes", "server.base_path"];
            let problem = format!("{prefix} overlaps with {base}, where the documented API begins");
            reader.report_conflict(&keys, &problem, Some(allowed));
        }
    }
    let agent_prefixes: Vec<&str> = server.agent_prefixes.iter().map(String::as_str).collect();
    for (key, list) in [("server.base_path", bases), ("server.agent_prefixes", agent_prefixes)] {
        for (at, prefix) in list.iter().enumerate() {
            let others = list.iter().skip(at + 1);
            for other in others.filter(|other| is_overlap(prefix, other)) {
                let problem = format!("{prefix} and {other} overlap");
                reader.report_conflict(&[key], &problem, Some(allowed));
            }
        }
    }
}

/// Returns true if the paths are equal, or if one begins the other, segment by segment.
fn is_overlap(first: &str, second: &str) -> bool {
    begins_with(first, second) || begins_with(second, first)
}

/// Returns true if the path begins with `start`, segment by segment.
fn begins_with(path: &str, start: &str) -> bool {
    path.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn report_state_dir(reader: &mut SettingsReader<'_>, settings: &Settings) {
    let dir = &settings.state.dir;
    if dir.as_os_str().len() > MAX_STATE_DIR_BYTES {
        let problem =
            format!("longer than {MAX_STATE_DIR_BYTES} bytes, which SQLite requires of its files");
        reader.report_conflict(&["state.dir"], &problem, Some("a shorter path"));
    }
    if dir == Path::new("/") {
        let allowed = "a directory of the daemon alone";
        reader.report_conflict(&["state.dir"], "the root directory", Some(allowed));
    }
    for (key, path) in [("state.dir", dir), ("server.socket", &settings.server.socket)] {
        if ["/proc", "/sys"].iter().any(|system| path.starts_with(system)) {
            let allowed = "a path outside of /proc and /sys";
            reader.report_conflict(&[key], "a path in which no file can be created", Some(allowed));
        }
    }
    for root in &settings.storage.allowed_roots {
        if dir.starts_with(root) {
            let problem = format!("lies in {root}, where the image directories are");
            let allowed = "a directory outside of storage.allowed_roots";
            reader.report_conflict(
                &["state.dir", "storage.allowed_roots"],
                &problem,
                Some(allowed),
            );
        }
    }
}

/// The form of the content of a file. Files of one form may be the same file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FileForm {
    Socket,
    Tokens,
    AccessKeys,
    Accounts,
    Clients,
    SigningSecrets,
    MasterKey,
    Pem,
}

/// Reports the keys that name one file for two purposes, and those that name a file of the state
/// directory.
fn report_shared_files(reader: &mut SettingsReader<'_>, settings: &Settings) {
    let files = named_files(settings);
    for (at, (key, path, form)) in files.iter().enumerate() {
        for (other_key, _, _) in files
            .iter()
            .take(at)
            .filter(|(_, other_path, other_form)| other_path == path && other_form != form)
        {
            let problem = format!("{other_key} names the same file");
            reader.report_conflict(&[key, other_key], &problem, Some("a file of its own"));
        }
        let is_own_key = *form == FileForm::MasterKey && path.ends_with("master-key");
        let is_own = STATE_FILES.iter().any(|name| settings.state.dir.join(name) == **path);
        if path == &settings.state.dir || (is_own && !is_own_key) {
            let problem = "names the state directory, or a file of the daemon in it";
            reader.report_conflict(&[key, "state.dir"], problem, Some("a file of its own"));
        }
    }
}

/// Returns each key that names a file, with the path and the form of the file.
fn named_files(settings: &Settings) -> Vec<(&'static str, &Path, FileForm)> {
    use FileForm::{AccessKeys, Accounts, Clients, MasterKey, Pem, SigningSecrets, Socket, Tokens};
    let Settings { server, auth, state, callback, .. } = settings;
    let tls = server.tls.as_ref();
    [
        ("server.socket", Some(&server.socket), Socket),
        ("server.tls.cert", tls.map(|tls| &tls.cert), Pem),
        ("server.tls.key", tls.map(|tls| &tls.key), Pem),
        ("server.tls.client_ca", tls.and_then(|tls| tls.client_ca.as_ref()), Pem),
        ("server.tls.clients_file", tls.and_then(|tls| tls.clients_file.as_ref()), Clients),
        ("auth.tokens_file", auth.tokens_file.as_ref(), Tokens),
        ("auth.access_keys_file", auth.access_keys_file.as_ref(), AccessKeys),
        ("auth.accounts_file", auth.accounts_file.as_ref(), Accounts),
        ("state.master_key_file", state.master_key_file.as_ref(), MasterKey),
        ("callback.signing_secret_file", callback.signing_secret_file.as_ref(), SigningSecrets),
        ("callback.ca_file", callback.ca_file.as_ref(), Pem),
        ("callback.client_cert", callback.client_cert.as_ref(), Pem),
        ("callback.client_key", callback.client_key.as_ref(), Pem),
    ]
    .into_iter()
    .filter_map(|(key, path, form)| Some((key, path?.as_path(), form)))
    .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn two_listeners_share_a_port_if_one_contains_the_address_of_the_other() {
        for (first, second, expected) in [
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("[::]:80", "[::1]:80", true),
            ("[::]:80", "0.0.0.0:80", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("127.0.0.1:80", "[::1]:80", false),
            ("0.0.0.0:80", "127.0.0.1:81", false),
            ("0.0.0.0:0", "127.0.0.1:0", false),
            ("[fe80::1%2]:80", "[fe80::1%3]:80", false),
        ] {
            let (first, second) = (first.parse().unwrap(), second.parse().unwrap());
            assert_eq!(is_shared(&first, &second), expected, "{first} {second}");
            assert_eq!(is_shared(&second, &first), expected, "{first} {second}");
        }
    }

    #[test]
    fn paths_overlap_by_whole_segments() {
        for (first, second, expected) in [
            ("/a", "/a", true),
            ("/a", "/a/b", true),
            ("/a", "/ab", false),
            ("/image", "/imagestore", false),
            ("/docs/x", "/docs", true),
            ("/a/b", "/a/c", false),
        ] {
            assert_eq!(is_overlap(first, second), expected, "{first} {second}");
        }
    }

    proptest! {
        #[test]
        fn overlap_and_sharing_are_symmetric(
            first in "(/[ab]){1,3}", second in "(/[ab]){1,3}",
            ports in (0_u16..2, 0_u16..2),
            ips in (0_usize..4, 0_usize..4),
        ) {
            prop_assert_eq!(is_overlap(&first, &second), is_overlap(&second, &first));
            prop_assert!(is_overlap(&first, &first));
            let ip = |at: usize| ["0.0.0.0", "127.0.0.1", "::", "::1"][at].parse().unwrap();
            let (first, second) =
                (SocketAddr::new(ip(ips.0), ports.0), SocketAddr::new(ip(ips.1), ports.1));
            prop_assert_eq!(is_shared(&first, &second), is_shared(&second, &first));
        }
    }
}
