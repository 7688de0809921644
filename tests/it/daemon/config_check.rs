//! `check-config` and a start agree: the daemon starts with the settings that the command accepts,
//! and does not start with those that it rejects.

use std::cell::Cell;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::socket::{getsockopt, sockopt};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::agent::Agent;
use crate::support::requirements::needs_root;
use crate::support::secret_files::{set_mode, write_secret};

const SETTINGS: i32 = 64;

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Number of ports of a test process. It is larger than the number of installations that its tests
/// have at once.
const PROCESS_PORTS: u32 = 64;

/// Returns a port that no process uses, below those that the system gives away by itself. Each call
/// returns the next one of the process, because the daemon opens it later, and another test must
/// not get it meanwhile.
fn fixed_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = 10_000 + std::process::id() % 310 * PROCESS_PORTS;
    let next = || NEXT.fetch_add(1, Ordering::Relaxed) % PROCESS_PORTS;
    (0..PROCESS_PORTS)
        .map(|_| u16::try_from(first + next()).unwrap())
        .find(|port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok())
        .expect("a free port")
}

/// Makes an installation whose settings replace the usual ones. `DIR` and `PORT` stand for its
/// directory and a port.
fn installed(settings: &str) -> Agent {
    let agent = Agent::installed(Path::new("/var/lib/imagestore"), "");
    let dir = agent.path("");
    let dir = dir.to_str().unwrap().trim_end_matches('/');
    let settings = settings.replace("DIR", dir).replace("PORT", &fixed_port().to_string());
    agent.configure(&settings);
    agent
}

fn check(agent: &Agent) -> Output {
    agent.cli(&["check-config"], "")
}

/// Requires that `check-config` and `serve` refuse the settings, and that the report of the former
/// names the key, its origin, and the remedy.
fn expect_refused(agent: &Agent, key: &str, problem: &str) {
    let checked = check(agent);
    let report = stderr(&checked);
    assert_eq!(checked.status.code(), Some(SETTINGS), "{report}");
    let block: Vec<&str> =
        report.lines().skip_while(|line| !line.starts_with(key)).take(4).collect();
    assert!(block.iter().any(|line| line.contains(problem)), "{key} {problem}: {report}");
    assert!(block.iter().any(|line| line.starts_with("    allowed: ")), "{report}");
    let origin = block.iter().find(|line| line.starts_with("    found in: "));
    assert!(origin.is_some_and(|origin| origin.contains("line ")), "{report}");
    let served = agent.run_serve_to_end();
    assert!(!served.status.success(), "{key} {problem}");
}

fn expect_started(agent: &mut Agent) {
    let checked = check(agent);
    assert!(checked.status.success(), "{}{}", stderr(&checked), agent.settings());
    agent.start();
    assert!(agent.terminate().0.success());
}

#[test]
fn the_wildcards_of_both_families_share_a_port() {
    let head = "[server]\ninsecure_http = true\n[state]\ndir = \"DIR/state\"\n";
    let listen = "listen = [\"127.0.0.1:0\", \"0.0.0.0:PORT\", \"[::]:PORT\"]";
    let mut agent = installed(&head.replace("[server]", &format!("[server]\n{listen}")));
    expect_started(&mut agent);
    // Other clashes of addresses are faults of the settings.
    for (listen, problem) in [
        ("[\"0.0.0.0:PORT\", \"127.0.0.1:PORT\"]", "one contains the other"),
        ("[\"[::1]:PORT\", \"[::]:PORT\"]", "one contains the other"),
        ("[\"127.0.0.1:PORT\", \"[::ffff:127.0.0.1]:PORT\"]", "listed twice"),
        ("[\"224.0.0.1:PORT\"]", "several hosts"),
        ("[\"[ff02::1]:PORT\"]", "several hosts"),
        ("[\"[fe80::1]:PORT\"]", "without its zone"),
    ] {
        let settings = head.replace("[server]", &format!("[server]\nlisten = {listen}"));
        expect_refused(&installed(&settings), "server.listen", problem);
    }
}

#[test]
fn a_listener_of_ipv6_serves_ipv6_only() {
    use imagestore_agent::http::{HttpServer, InheritedSockets};
    use imagestore_agent::settings::Settings;
    let dir = tempfile::tempdir().unwrap();
    let mut settings = Settings::built_in();
    settings.server.socket = dir.path().join("agent.sock");
    settings.server.listen = vec!["[::1]:0".parse().unwrap()];
    let server = HttpServer::bind(&settings.server, InheritedSockets::default()).unwrap();
    let [SocketAddr::V6(address)] = server.addresses()[..] else { panic!("no IPv6 listener") };
    // The IPv4 address has the port, and another socket may use it.
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, address.port()));
    assert!(other.is_ok(), "{other:?}");
    assert!(getsockopt(&other.unwrap(), sockopt::ReuseAddr).unwrap());
}

#[test]
fn prefixes_that_overlap_with_other_paths_are_refused() {
    let with_bases = |bases: &str, prefixes: &str| {
        format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nbase_path = {bases}\nagent_prefixes = {prefixes}\n\
             [state]\ndir = \"DIR/state\"\n"
        )
    };
    let settings = |base: &str, prefixes: &str| with_bases(&format!("{base:?}"), prefixes);
    for own in [
        "/stores",
        "/events",
        "/login",
        "/docs",
        "/assets",
        "/metrics",
        "/openapi.json",
        "/healthz",
        "/readyz",
    ] {
        let prefixes = format!("[{own:?}]");
        expect_refused(&installed(&settings("/zstack", &prefixes)), "server.agent_prefixes", own);
        expect_refused(&installed(&settings(own, "[\"/a\"]")), "server.base_path", own);
        let second = format!("[\"/zstack\", {own:?}]");
        expect_refused(&installed(&with_bases(&second, "[\"/a\"]")), "server.base_path", own);
    }
    for (bases, prefixes, key, problem) in [
        (r#"["/a", "/a/b"]"#, r#"["/c"]"#, "server.base_path", "overlap"),
        (r#"["/a/b", "/x", "/a"]"#, r#"["/c"]"#, "server.base_path", "overlap"),
        (r#"["", "/v1"]"#, r#"["/c"]"#, "server.base_path", "overlap"),
        (r#"["/a", "/a"]"#, r#"["/c"]"#, "server.base_path", "listed twice"),
        (r#"["", ""]"#, r#"["/c"]"#, "server.base_path", "listed twice"),
        (r#"["/zstack", "x"]"#, r#"["/c"]"#, "server.base_path", "/zstack"),
        (r#"["/zstack", 1]"#, r#"["/c"]"#, "server.base_path", "not a string"),
        (r#"["", "/zstack/api"]"#, r#"["/c"]"#, "server.base_path", "ZStack's own clients"),
        (r#"["/zstack", ""]"#, r#"["/v1"]"#, "server.agent_prefixes", "documented API"),
        (r#"["/x", "/c/d"]"#, r#"["/c"]"#, "server.agent_prefixes", "documented API"),
    ] {
        expect_refused(&installed(&with_bases(bases, prefixes)), key, problem);
    }
    expect_started(&mut installed(&with_bases(r#"["/zstack", ""]"#, r#"["/imagestore"]"#)));
    for (base, prefixes, key, problem) in [
        ("/zstack", "[\"/zstack\"]", "server.agent_prefixes", "documented API"),
        ("/a/b", "[\"/a\"]", "server.agent_prefixes", "documented API"),
        ("", "[\"/v1/backup-storage\"]", "server.agent_prefixes", "documented API"),
        ("/zstack", "[\"/a\", \"/a/b\"]", "server.agent_prefixes", "overlap"),
        ("/zstack", "[\"/healthz/x\"]", "server.agent_prefixes", "/healthz"),
        ("/docs/x", "[\"/a\"]", "server.base_path", "/docs"),
        ("/zstack/api", "[\"/a\"]", "server.base_path", "ZStack's own clients"),
        ("/x", "[\"/zstack/api/x\"]", "server.agent_prefixes", "ZStack's own clients"),
        ("/x", "[\"/zstack/v1/api-jobs\"]", "server.agent_prefixes", "ZStack's own clients"),
        ("/zstack", "[\"/\"]", "server.agent_prefixes", "ends with /"),
    ] {
        expect_refused(&installed(&settings(base, prefixes)), key, problem);
    }
    for (base, prefixes) in
        [("", "[\"/imagestore\"]"), ("/store", "[\"/event\", \"/doc\", \"/log/in\"]")]
    {
        expect_started(&mut installed(&settings(base, prefixes)));
    }
}

#[test]
fn locations_that_a_start_cannot_use_are_found_before_it() {
    let deep = "d".repeat(200);
    let cases: [(String, &str, &str); 12] = [
        ("[state]\ndir = \"DIR/none/state\"\n".into(), "state.dir", "does not exist"),
        ("[state]\ndir = \"DIR/file\"\n".into(), "state.dir", "not a directory"),
        ("[state]\ndir = \"DIR/file/state\"\n".into(), "state.dir", "cannot be used"),
        ("[state]\ndir = \"DIR/nowhere\"\n".into(), "state.dir", "cannot be used"),
        ("[state]\ndir = \"/proc/state\"\n".into(), "state.dir", "no file can be created"),
        ("[state]\ndir = \"DIR/open\"\n".into(), "state.dir", "writable by every user"),
        (
            format!("[state]\ndir = \"DIR/{deep}/{deep}/{deep}\"\n"),
            "state.dir",
            "longer than 470 bytes",
        ),
        (format!("[state]\ndir = \"DIR/{}\"\n", "n".repeat(256)), "state.dir", "ENAMETOOLONG"),
        (
            "[state]\ndir = \"DIR/state\"\n[server]\nsocket = \"DIR/none/s\"\n".into(),
            "server.socket",
            "does not exist",
        ),
        (
            "[state]\ndir = \"DIR/state\"\n[server]\nsocket = \"DIR/file\"\n".into(),
            "server.socket",
            "not a socket",
        ),
        (
            "[state]\ndir = \"DIR/state\"\n[server]\nsocket = \"DIR/open/s\"\n".into(),
            "server.socket",
            "writable by every user",
        ),
        (
            "[state]\ndir = \"DIR/state\"\n[server]\nsocket = \"DIR/state\"\n".into(),
            "server.socket",
            "state directory",
        ),
    ];
    for (settings, key, problem) in cases {
        let settings = match settings.contains("[server]\n") {
            true => settings.replace("[server]\n", "[server]\nlisten = \"127.0.0.1:0\"\n"),
            false => format!("[server]\nlisten = \"127.0.0.1:0\"\nsocket = \"DIR/s\"\n{settings}"),
        };
        let agent = installed(&settings);
        fs::write(agent.path("file"), "").unwrap();
        fs::create_dir(agent.path("open")).unwrap();
        set_mode(agent.path("open"), 0o777);
        symlink("absent", agent.path("nowhere")).unwrap();
        expect_refused(&agent, key, problem);
    }
}

#[test]
fn one_file_for_two_purposes_is_refused() {
    let head = "[server]\nlisten = \"127.0.0.1:0\"\nSERVER[state]\ndir = \"DIR/state\"\nSTATE";
    for (server, state, rest, key, problem) in [
        ("", "master_key_file = \"DIR/tokens\"\n", "", "state.master_key_file", "same file"),
        ("socket = \"DIR/tokens\"\n", "", "", "auth.tokens_file", "same file"),
        ("socket = \"DIR/state/ledger.sqlite\"\n", "", "", "server.socket", "file of the daemon"),
        ("socket = \"DIR/state/node-id\"\n", "", "", "server.socket", "file of the daemon"),
        (
            "",
            "master_key_file = \"DIR/state/lock\"\n",
            "",
            "state.master_key_file",
            "file of the daemon",
        ),
        (
            "",
            "",
            "[callback]\nsigning_secret_file = \"DIR/tokens\"\n",
            "callback.signing_secret_file",
            "same file",
        ),
        (
            "",
            "",
            "[storage]\nallowed_roots = [\"DIR/state\"]\n",
            "state.dir",
            "where the image directories are",
        ),
    ] {
        let settings = head.replace("SERVER", server).replace("STATE", state);
        let auth = "[auth]\ntokens_file = \"DIR/tokens\"\n";
        let agent = installed(&format!("{settings}{auth}{rest}"));
        expect_refused(&agent, key, problem);
    }
}

#[test]
fn inherited_sockets_replace_the_addresses_in_both() {
    let exposed = "[server]\nlisten = \"0.0.0.0:PORT\"\n[state]\ndir = \"DIR/state\"\n";
    let mut agent = installed(exposed);
    expect_refused(&agent, "server.listen", "not a loopback address");
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let unix = UnixListener::bind(agent.path("inherited.sock")).unwrap();
    agent.inherited = Some((tcp, unix));
    let checked = agent.check_inheriting();
    assert!(checked.status.success(), "{}", stderr(&checked));
    // The addresses that no socket has are not doubtful either.
    let keys = agent.path("access-keys");
    write_secret(&keys, format!("mn:AKID:{}\n", "s".repeat(40)));
    agent.configure(&format!("{}[auth]\naccess_keys_file = {keys:?}\n", agent.settings()));
    let checked = agent.check_inheriting();
    let output = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success() && !output.contains("plain HTTP"), "{output}");
    agent.start();
    assert!(!agent.log().contains("setting is doubtful"), "{}", agent.log());
    // A command opens no address.
    let listed = agent.cli(&["list"], "");
    assert!(!stderr(&listed).contains("not a loopback address"), "{}", stderr(&listed));
    assert!(agent.terminate().0.success());
}

#[test]
fn a_check_changes_nothing_and_does_not_mind_a_daemon_that_runs() {
    let mut agent = installed("[server]\nlisten = \"127.0.0.1:0\"\n[state]\ndir = \"DIR/state\"\n");
    assert!(check(&agent).status.success());
    assert!(!agent.path("state").exists());
    agent.start();
    assert!(check(&agent).status.success(), "{}", stderr(&check(&agent)));
    assert!(agent.terminate().0.success());
}

#[test]
fn a_daemon_of_another_user_is_judged_by_its_own_rights() {
    needs_root!();
    let agent = Agent::installed(Path::new("/var/lib/imagestore"), "").running_as_nobody();
    set_mode(agent.path("state"), 0o500);
    let checked = check(&agent);
    let output = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(output.contains("warning: state.dir") && output.contains("mode 0500"), "{output}");
    assert!(!agent.run_serve_to_end().status.success());
}

#[test]
fn an_attempt_deadline_that_cuts_logins_short_is_warned_of() {
    let more = "[monitor]\nattempt_deadline = \"20s\"\n";
    let mut agent = Agent::installed(Path::new("/var/lib/imagestore"), more);
    let checked = check(&agent);
    let output = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success() && output.contains("monitor.attempt_deadline"), "{output}");
    agent.start();
    assert!(agent.log().contains("monitor.attempt_deadline"), "{}", agent.log());
}

/// Generates settings: most values are good, and each of the others clashes with something.
fn generated() -> impl Strategy<Value = String> {
    let pick = |values: &'static [&'static str]| prop_oneof![3 => Just(values[0]), 2 => prop::sample::select(values)];
    let listen = pick(&[
        "",
        "0.0.0.0:PORT",
        "[::]:PORT",
        "[::]:PORT\", \"0.0.0.0:PORT",
        "[::1]:PORT",
        "127.0.0.1:PORT\", \"0.0.0.0:PORT",
        "[fe80::1]:0",
        "239.0.0.1:PORT",
        "127.0.0.1:PORT",
    ]);
    let insecure = prop_oneof![4 => Just(true), 1 => Just(false)];
    let base = pick(&["/zstack", "", "/imagestore", "/login", "/zstack/v1", "/a"]);
    let prefixes = pick(&["/imagestore", "/a\", \"/a/b", "/v1", "/metrics/x", "/b\", \"/c"]);
    let socket = pick(&[
        "",
        "DIR/s",
        "DIR/none/s",
        "DIR/state/s",
        "DIR/tokens",
        "DIR/state/ledger.sqlite-wal",
        "DIR/folder",
    ]);
    let dir =
        pick(&["DIR/state", "DIR/none/state", "DIR/tokens", "DIR/folder", "DIR/folder/state"]);
    let key = pick(&["", "DIR/key", "DIR/tokens", "DIR/state/master-key", "DIR/state/node-id"]);
    let roots = pick(&["/var/lib/imagestore", "DIR/folder", "DIR/images", "/srv\", \"/srv/a"]);
    let deadline = pick(&["30s", "1s", "10m", "999ms"]);
    let near = pick(&["0.85", "0.0001", "0.95", "1"]);
    (listen, insecure, base, prefixes, socket, dir, key, roots, deadline, near).prop_map(
        |(listen, insecure, base, prefixes, socket, dir, key, roots, deadline, near)| {
            let optional = |key: &str, value: &str| match value {
                "" => String::new(),
                value => format!("{key} = \"{value}\"\n"),
            };
            let listen = match listen {
                "" => String::new(),
                more => format!(", \"{more}\""),
            };
            format!(
                "[server]\nlisten = [\"127.0.0.1:0\"{listen}]\ninsecure_http = {insecure}\n\
                 base_path = \"{base}\"\nagent_prefixes = [\"{prefixes}\"]\n{}[state]\n\
                 dir = \"{dir}\"\n{}[auth]\ntokens_file = \"DIR/tokens\"\n[storage]\n\
                 allowed_roots = [\"{roots}\"]\nnear_full = {near}\n[monitor]\n\
                 attempt_deadline = \"{deadline}\"\n",
                optional("socket", socket),
                optional("master_key_file", key),
            )
        },
    )
}

#[test]
fn the_daemon_starts_with_generated_settings_if_and_only_if_they_are_accepted() {
    let (accepted, refused) = (Cell::new(0), Cell::new(0));
    let config =
        Config { cases: 48, max_shrink_iters: 32, failure_persistence: None, ..Config::default() };
    let run = TestRunner::new(config).run(&generated(), |settings| {
        let mut agent = installed(&settings);
        fs::create_dir(agent.path("folder")).unwrap();
        set_mode(agent.path("folder"), 0o755);
        write_secret(agent.path("key"), [7; 32]);
        let checked = check(&agent);
        let report = stderr(&checked);
        match checked.status.code() {
            Some(0) => {
                let begun = agent.start_under(&["env"]);
                prop_assert!(begun, "accepted, and does not start: {}\n{}", settings, agent.log());
                prop_assert!(agent.terminate().0.success());
                accepted.set(accepted.get() + 1);
            }
            // A start does without a master key, which it cannot create elsewhere.
            Some(SETTINGS) if report.starts_with("state.master_key_file") => {}
            Some(SETTINGS) => {
                let begun = agent.start_under(&["env"]);
                prop_assert!(!begun, "refused, and starts: {}\n{}", settings, report);
                prop_assert!(report.contains("allowed: "), "{report}");
                prop_assert!(report.contains("line "), "{report}");
                refused.set(refused.get() + 1);
            }
            other => prop_assert!(false, "{other:?}: {report}"),
        }
        Ok(())
    });
    run.unwrap_or_else(|failure| panic!("{failure}"));
    let (accepted, refused) = (accepted.get(), refused.get());
    assert!(accepted > 3 && refused > 3, "{accepted} accepted, {refused} refused");
}
