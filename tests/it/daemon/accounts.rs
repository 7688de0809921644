//! Accounts: login, sessions and logout as the SDKs of ZStack do them, and what a stranger can do
//! with these calls.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::agent::{Agent, TOKEN};
use crate::support::golden_request::GoldenRequest;
use crate::support::http_server::{HttpRequest, HttpResponse, exchange};
use crate::support::loopback::connect_from;
use crate::support::secret_files::{set_mode, write_secret};
use crate::support::secret_scan::SecretScan;

const LOGIN: &str = "PUT /zstack/v1/accounts/login";
const STORES: &str = "GET /zstack/v1/backup-storage/image-store";
/// The SHA-512 of `password`, the password of the recorded logins.
const DIGEST: &str = "b109f3bbbc244eb82441917ed06d618b9008dd09b3befd1b5e07394c706a8bb980b1d7785e5976\
                      ec049b46df5f1326af5a2ea6d103fd07c95385ffab0cacbc86";

/// Returns an installation with an accounts file, which has a line of `account add` for each name
/// and role. All accounts have the recorded password.
fn installed(accounts: &[(&str, &str)]) -> Agent {
    let agent = Agent::installed(Path::new("/srv/images"), "");
    let lines: String = accounts.iter().map(|(name, role)| line(&agent, name, role)).collect();
    write_secret(agent.path("accounts"), lines);
    let named = format!("[auth]\naccounts_file = {:?}\n", agent.path("accounts"));
    agent.configure(&agent.settings().replace("[auth]\n", &named));
    agent
}

fn line(agent: &Agent, name: &str, role: &str) -> String {
    let output = agent.cli(&["account", "add", name, "--role", role], "password\n");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn login_body(name: &str, digest: &str) -> String {
    json!({"logInByAccount": {"accountName": name, "password": digest}}).to_string()
}

fn wrong_digest() -> String {
    "0".repeat(128)
}

fn source(host: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, host).into()
}

/// Sends one request from an address of the loopback network.
async fn ask_from(
    host: u8,
    agent: &Agent,
    line: &str,
    token: Option<&str>,
    body: &str,
) -> HttpResponse {
    let stream = connect_from(source(host), agent.address()).await.unwrap();
    exchange(stream, &HttpRequest { token, ..HttpRequest::new(line, body) }.bytes()).await
}

async fn log_in_from(host: u8, agent: &Agent, name: &str, digest: &str) -> HttpResponse {
    ask_from(host, agent, LOGIN, None, &login_body(name, digest)).await
}

/// Logs in with the recorded password, and returns the session.
async fn session(agent: &Agent, name: &str) -> String {
    let answer = log_in_from(1, agent, name, DIGEST).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["inventory"]["uuid"].as_str().unwrap().to_owned()
}

async fn is_valid(agent: &Agent, session: &str) -> Value {
    let line = format!("GET /zstack/v1/accounts/sessions/{session}/valid");
    let answer = ask_from(1, agent, &line, None, "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

#[tokio::test]
async fn both_sdks_log_in_act_validate_and_log_out() {
    let mut agent = installed(&[("admin", "admin")]);
    agent.start();
    let mut sessions = Vec::new();
    for (client, validate) in [("java", "java-validate-session"), ("go", "go-validate-session")] {
        let login = GoldenRequest::read(&format!("{client}-login"), "");
        let answer = login.send_to(agent.address()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json;charset=UTF-8"));
        let inventory = answer.body["inventory"].as_object().unwrap();
        let keys = ["accountUuid", "createDate", "expiredDate", "userType", "userUuid", "uuid"];
        assert!(inventory.keys().eq(keys), "{inventory:?}");
        for key in ["uuid", "accountUuid", "userUuid"] {
            let uuid = inventory[key].as_str().unwrap();
            let is_digit = |c: char| matches!(c, '0'..='9' | 'a'..='f');
            assert!(uuid.len() == 32 && uuid.chars().all(is_digit), "{key}: {uuid}");
        }
        assert_ne!(inventory["createDate"], inventory["expiredDate"]);
        let session = inventory["uuid"].as_str().unwrap().to_owned();

        let listed = ask_from(1, &agent, STORES, Some(&session), "").await;
        assert_eq!(listed.status, 200, "{listed:?}");
        let validate = GoldenRequest::read(validate, &session);
        assert_eq!(validate.send_to(agent.address()).await.body, json!({"valid": true}));
        let removal = "DELETE /zstack/v1/backup-storage/20f4094e42a64213b9b992b0eb02b488";
        assert_eq!(ask_from(1, &agent, removal, Some(&session), "").await.status, 200);
        let removed = agent.until_logged("\"remove\"");
        assert!(removed.contains("\"caller\":\"admin\""), "{removed}");
        assert!(removed.contains("\"kind\":\"account\""), "{removed}");

        let logout = GoldenRequest::read(&format!("{client}-logout"), &session);
        let answer = logout.send_to(agent.address()).await;
        assert_eq!((answer.status, answer.body), (200, json!({})));
        assert_eq!(validate.send_to(agent.address()).await.body, json!({"valid": false}));
        let refused = ask_from(1, &agent, STORES, Some(&session), "").await;
        assert_eq!(refused.status, 401, "{refused:?}");
        assert_eq!(refused.error("/code"), "ID.1001");
        // The end of a session that has ended succeeds, as in ZStack.
        assert_eq!(logout.send_to(agent.address()).await.status, 200);
        sessions.push((session, inventory["accountUuid"].clone()));
    }
    assert_ne!(sessions[0].0, sessions[1].0);
    assert_eq!(sessions[0].1, sessions[1].1, "the uuid is that of the account");
    let log = agent.log();
    assert!(log.contains("\"log_in\"") && log.contains("\"log_out\""), "{log}");
}

#[tokio::test]
async fn a_restart_ends_every_session_and_the_error_asks_for_a_login() {
    let mut agent = installed(&[("admin", "admin")]);
    agent.start();
    let earlier = session(&agent, "admin").await;
    agent.terminate();
    agent.start();
    for session in [&*earlier, "8a7b6c5d4e3f2a1b8a7b6c5d4e3f2a1b"] {
        let request = GoldenRequest::read("java-wrong-session", session);
        let answer = request.send_to(agent.address()).await;
        assert_eq!(answer.status, 401, "{answer:?}");
        assert_eq!(answer.error("/code"), "ID.1001");
    }
    assert_eq!(is_valid(&agent, &earlier).await, json!({"valid": false}));
    let next = session(&agent, "admin").await;
    assert_ne!(next, earlier);
    assert_eq!(is_valid(&agent, &next).await, json!({"valid": true}));
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_name_have_one_answer_and_cost_one_hash() {
    let mut agent = installed(&[("admin", "admin")]);
    assert!(agent.start_under(&["env", "RUST_LOG=debug"]));
    let mut bodies = Vec::new();
    for (name, digest) in [("admin", wrong_digest()), ("nobody-here", DIGEST.to_owned())] {
        let answer = log_in_from(1, &agent, name, &digest).await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, None), "{answer:?}");
        assert_eq!(answer.error("/code"), "ID.1000");
        assert_eq!(answer.error("/description"), "Unable to authenticate a user");
        let details = answer.error("/details").as_str().unwrap();
        assert!(details.starts_with("wrong account name or password"), "{details}");
        bodies.push(answer.body);
        agent.until_logged("password hash computed for a login");
        agent.until_logged("request rejected");
    }
    assert_eq!(bodies[0], bodies[1]);
    // A name may be a mistyped password.
    let log = agent.log();
    assert!(!log.contains("nobody-here"), "{log}");
    assert_eq!(log.matches("password hash computed").count(), 2, "{log}");
}

#[tokio::test]
async fn wrong_logins_lock_out_their_source_alone() {
    let mut agent = installed(&[("admin", "admin"), ("tf", "operate")]);
    agent.start();
    for _ in 0..5 {
        assert_eq!(log_in_from(2, &agent, "admin", &wrong_digest()).await.status, 503);
    }
    let limited = log_in_from(2, &agent, "admin", DIGEST).await;
    assert_eq!(limited.status, 429, "{limited:?}");
    let seconds: u64 = limited.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert!(limited.error("/elaboration").as_str().unwrap().contains("Retry-After"));
    assert_eq!(log_in_from(2, &agent, "tf", DIGEST).await.status, 200);
    assert_eq!(log_in_from(3, &agent, "admin", DIGEST).await.status, 200);
    // 7 logins so far, and 13 with other names.
    for number in 0..13 {
        let answer = log_in_from(2, &agent, &format!("name-{number}"), DIGEST).await;
        assert_eq!(answer.status, 503, "{number}");
    }
    assert_eq!(log_in_from(2, &agent, "tf", DIGEST).await.status, 429);
    assert_eq!(log_in_from(3, &agent, "tf", DIGEST).await.status, 200);
    // Sessions and tokens of the source are not limited.
    assert_eq!(ask_from(2, &agent, STORES, Some(TOKEN), "").await.status, 200);
    let rejected = agent.log();
    assert!(rejected.contains("too many logins"), "{rejected}");
}

/// Returns a figure of `/proc/PID/status`, in KiB.
fn memory(pid: u32, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim_matches([':', ' ', '\t', 'k', 'B']).parse().unwrap()
}

#[tokio::test]
async fn a_flood_of_logins_takes_the_memory_of_one_hash_and_gives_it_back() {
    let mut agent = installed(&[("admin", "admin")]);
    agent.start();
    // The first requests set up what every request needs.
    assert_eq!(ask_from(1, &agent, STORES, Some(TOKEN), "").await.status, 200);
    let before = memory(agent.pid(), "VmRSS");
    let digest = wrong_digest();
    let mut flood = tokio::task::JoinSet::new();
    let address = agent.address();
    for number in 0..200_u8 {
        let body = login_body("admin", &digest);
        flood.spawn(async move {
            let stream = connect_from(source(10 + number / 4), address).await.unwrap();
            exchange(stream, &HttpRequest { token: None, ..HttpRequest::new(LOGIN, &body) }.bytes())
                .await
        });
    }
    // Other callers are served meanwhile.
    assert_eq!(ask_from(1, &agent, STORES, Some(TOKEN), "").await.status, 200);
    let answers = flood.join_all().await;
    for answer in &answers {
        assert!(matches!(answer.status, 503 | 429), "{answer:?}");
        let retry = answer.header("retry-after");
        assert_eq!(retry, (answer.status == 429).then_some("1"), "{answer:?}");
    }
    let refused = answers.iter().filter(|answer| answer.status == 429).count();
    assert!(refused > 0 && refused < answers.len(), "{refused}");
    let (peak, after) = (memory(agent.pid(), "VmHWM"), memory(agent.pid(), "VmRSS"));
    assert!(peak > before + 12 * 1024, "{before} {peak}: no hash was computed");
    assert!(peak < before + 24 * 1024, "{before} {peak}: several hashes at a time");
    assert!(after < before + 8 * 1024, "{before} {after}: the memory of a hash was kept");
    assert_eq!(log_in_from(1, &agent, "admin", DIGEST).await.status, 200);
}

#[tokio::test]
async fn a_reload_ends_the_sessions_of_removed_accounts_and_changes_roles_at_once() {
    let mut agent = installed(&[("admin", "admin"), ("tf", "admin")]);
    agent.start();
    let (admin, tf) = (session(&agent, "admin").await, session(&agent, "tf").await);
    let reconnect = |token: String| {
        let path =
            "PUT /zstack/v1/backup-storage/image-store/20f4094e42a64213b9b992b0eb02b488/actions";
        (path, token, r#"{"params":{}}"#)
    };
    let lines = fs::read_to_string(agent.path("accounts")).unwrap();
    let (first, second) = lines.split_once('\n').unwrap();

    // A file with a bad line changes nothing.
    write_secret(agent.path("accounts"), format!("{first}\ntf:hunter2\n"));
    agent.signal(Signal::SIGHUP);
    let failed = agent.until_logged("reload failed; nothing changed");
    assert!(failed.contains("line 2: the hash") && !failed.contains("hunter2"), "{failed}");
    for session in [&admin, &tf] {
        assert_eq!(is_valid(&agent, session).await, json!({"valid": true}));
    }

    let (name, hash) = first.strip_suffix(":admin").unwrap().split_once(':').unwrap();
    write_secret(agent.path("accounts"), format!("{name}:{hash}:read\n"));
    agent.signal(Signal::SIGHUP);
    agent.until_logged("reloaded");
    let (line, token, body) = reconnect(admin.clone());
    let refused = ask_from(1, &agent, line, Some(&token), body).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert_eq!(refused.error("/opaque/role"), "read");
    assert_eq!(is_valid(&agent, &tf).await, json!({"valid": false}));
    assert_eq!(log_in_from(1, &agent, "tf", DIGEST).await.status, 503);

    // The account is back, and its sessions are not.
    write_secret(agent.path("accounts"), format!("{first}\n{second}"));
    agent.signal(Signal::SIGHUP);
    agent.until_logged("reloaded");
    assert_eq!(is_valid(&agent, &tf).await, json!({"valid": false}));
    assert_eq!(is_valid(&agent, &admin).await, json!({"valid": true}));
    session(&agent, "tf").await;
}

#[tokio::test]
async fn guesses_of_sessions_are_limited_and_no_token_is_a_session() {
    let mut agent = installed(&[("admin", "admin")]);
    agent.start();
    let own = session(&agent, "admin").await;
    let path = |session: &str| format!("/zstack/v1/accounts/sessions/{session}");
    let token = ask_from(2, &agent, &format!("GET {}/valid", path(TOKEN)), None, "").await;
    assert_eq!((token.status, token.body), (200, json!({"valid": false})));
    let token = ask_from(2, &agent, &format!("DELETE {}", path(TOKEN)), None, "").await;
    assert_eq!((token.status, token.body), (200, json!({})));
    assert_eq!(ask_from(2, &agent, STORES, Some(TOKEN), "").await.status, 200);
    for number in 0..18_u8 {
        let guess = path(&format!("{number:032x}"));
        let line = match number % 3 {
            0 => format!("GET {guess}/valid"),
            1 => format!("DELETE {guess}?deleteMode="),
            _ => STORES.to_owned(),
        };
        let header = format!("{number:032x}");
        let answer = ask_from(2, &agent, &line, Some(&header), "").await;
        assert_eq!(answer.status, if line == STORES { 401 } else { 200 }, "{number} {answer:?}");
    }
    for line in [format!("GET {}/valid", path("x")), format!("DELETE {}", path("x"))] {
        let limited = ask_from(2, &agent, &line, None, "").await;
        assert_eq!(limited.status, 429, "{limited:?}");
        assert!(limited.header("retry-after").is_some());
    }
    assert_eq!(ask_from(2, &agent, STORES, Some("another"), "").await.status, 429);
    // A session that is open is answered from the same source, and so is every other source.
    let valid = ask_from(2, &agent, &format!("GET {}/valid", path(&own)), None, "").await;
    assert_eq!((valid.status, valid.body), (200, json!({"valid": true})));
    assert_eq!(ask_from(2, &agent, STORES, Some(&own), "").await.status, 200);
    assert_eq!(is_valid(&agent, "x").await, json!({"valid": false}));
}

#[tokio::test]
async fn a_bad_login_is_refused_and_a_job_is_never_offered() {
    let mut agent = installed(&[("admin", "admin")]);
    agent.start();
    let body = login_body("admin", DIGEST);
    let send = async |headers: &str, body: &str| {
        let request = HttpRequest { token: None, headers, ..HttpRequest::new(LOGIN, body) };
        let stream = connect_from(source(2), agent.address()).await.unwrap();
        exchange(stream, &request.bytes()).await
    };
    for headers in [
        "Prefer: respond-async\r\n",
        "X-Job-UUID: 164b8cd67c754e24a813d9eb98f02b04\r\n",
        "X-Web-Hook: http://127.0.0.1:1/\r\n",
        "Authorization: OAuth null\r\n",
        "Origin: http://localhost\r\n",
    ] {
        assert_eq!(send(headers, &body).await.status, 200, "{headers}");
    }
    for (headers, body, status, code) in [
        ("", "", 400, "SYS.1007"),
        ("", "{", 400, "SYS.1007"),
        ("", "{}", 400, "SYS.1007"),
        ("", "null", 400, "SYS.1007"),
        ("", r#"{"params":{"accountName":"admin"}}"#, 400, "SYS.1007"),
        ("", &login_body("admin", "password"), 400, "SYS.1007"),
        ("", &login_body("", DIGEST), 400, "SYS.1007"),
        ("Content-Type: text/plain\r\n", &body, 415, "SYS.1007"),
        ("Origin: http://attacker.example\r\n", &body, 403, "ID.1002"),
        ("Sec-Fetch-Site: cross-site\r\n", &body, 403, "ID.1002"),
    ] {
        let answer = send(headers, body).await;
        assert_eq!(answer.status, status, "{headers} {body} {answer:?}");
        assert_eq!(answer.error("/code"), code);
    }
    for line in ["GET /zstack/v1/accounts/login", "POST /zstack/v1/accounts/sessions/x"] {
        assert_eq!(ask_from(2, &agent, line, None, "").await.status, 405, "{line}");
    }
    for line in ["PUT /v1/accounts/login", "PUT /zstack/v1/login"] {
        assert_eq!(ask_from(2, &agent, line, None, &body).await.status, 401, "{line}");
    }
}

#[tokio::test]
async fn no_session_and_no_password_is_in_a_log_or_in_the_state_directory() {
    let mut agent = installed(&[("admin", "admin")]);
    assert!(agent.start_under(&["env", "RUST_LOG=trace"]));
    let open = session(&agent, "admin").await;
    assert_eq!(is_valid(&agent, &open).await, json!({"valid": true}));
    let foreign = "5d41402abc4b2a76b9719d911017c592";
    let line = format!("DELETE /zstack/v1/accounts/sessions/{foreign}");
    for _ in 0..25 {
        ask_from(1, &agent, &line, Some(&open), "").await;
    }
    agent.until_logged("too many unknown sessions");
    let wrong = wrong_digest().replace('0', "7");
    assert_eq!(log_in_from(1, &agent, "admin", &wrong).await.status, 503);
    agent.until_logged("wrong account name or password");
    let closed = session(&agent, "admin").await;
    let line = format!("DELETE /zstack/v1/accounts/sessions/{closed}");
    assert_eq!(ask_from(1, &agent, &line, None, "").await.status, 200);
    agent.until_logged("log_out");
    let mut scan = SecretScan::default();
    scan.add_files("while it runs", &agent.path("state"), &["lock"]);
    agent.terminate();
    let log = agent.log();
    scan.add("log", &log);
    scan.add_files("afterwards", &agent.path("state"), &["lock"]);
    assert!(scan.contains("log", "\"path\":\"/zstack/v1/accounts/sessions/\""), "{log}");
    let hash = fs::read_to_string(agent.path("accounts")).unwrap();
    let hash = hash.split('$').nth(5).unwrap().split(':').next().unwrap().to_owned();
    for (name, secret) in [
        ("an open session", &*open),
        ("a closed session", &closed),
        ("a guess of a session", foreign),
        ("a password", DIGEST),
        ("a wrong password", &wrong),
        ("the hash of the password", &hash),
    ] {
        scan.assert_absent(name, secret);
    }
}

#[tokio::test]
async fn without_accounts_a_login_names_the_setting_and_the_version_needs_no_session() {
    let mut agent = Agent::installed(Path::new("/srv/images"), "");
    agent.start();
    for client in ["java", "go"] {
        let version = GoldenRequest::read(&format!("{client}-version"), "unknown");
        let answer = version.send_to(agent.address()).await;
        let expected = json!({"version": env!("CARGO_PKG_VERSION")});
        assert_eq!((answer.status, answer.body), (200, expected));
        let login = GoldenRequest::read(&format!("{client}-login"), "");
        let answer = login.send_to(agent.address()).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        assert_eq!(answer.error("/code"), "ID.1000");
        assert!(answer.error("/elaboration").as_str().unwrap().contains("auth.accounts_file"));
    }
    for body in ["", "{}", r#"{"getCurrentTime":{}}"#] {
        let line = "PUT /zstack/v1/management-nodes/actions";
        let answer = ask_from(1, &agent, line, None, body).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.error("/details").as_str().unwrap().contains("$.getVersion"));
    }
    // Over the Unix socket, the same calls have the same answers.
    let socket = tokio::net::UnixStream::connect(agent.path("state/agent.sock")).await.unwrap();
    let body = login_body("admin", DIGEST);
    let request = HttpRequest { token: None, ..HttpRequest::new(LOGIN, &body) };
    assert_eq!(exchange(socket, &request.bytes()).await.status, 503);
}

#[tokio::test]
async fn an_accounts_file_that_others_can_read_or_with_a_bad_line_stops_a_start() {
    let agent = installed(&[("admin", "admin")]);
    let good = fs::read_to_string(agent.path("accounts")).unwrap();
    assert!(agent.cli(&["check-config"], "").status.success());
    for (text, mode, problem) in [
        (good.clone(), 0o644, "auth.accounts_file"),
        (format!("{good}root\n"), 0o600, "line 2: the hash is not a PHC string"),
        (good.replace("t=3", "t=1"), 0o600, "line 1: the hash is not a PHC string"),
    ] {
        write_secret(agent.path("accounts"), text);
        set_mode(agent.path("accounts"), mode);
        for output in [agent.run_serve_to_end(), agent.cli(&["check-config"], "")] {
            let shown = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(64), "{shown}");
            assert!(
                shown.contains(problem) && !shown.contains("$argon2id$v=19$m=12288,t=3,p=1$A"),
                "{shown}"
            );
        }
    }
}

#[tokio::test]
async fn account_add_reads_a_password_of_enough_characters_and_needs_no_settings() {
    let agent = installed(&[]);
    // It works without settings that are valid.
    agent.configure("nonsense = 1\n");
    for (args, stdin, status, problem) in [
        (&["admin"][..], "password\n", 0, ""),
        (&["admin", "--role", "read"], "p\u{e4}ss w\u{f6}rd", 0, ""),
        (&["admin"], "1234567\n", 1, "fewer than 8 characters"),
        (&["admin"], "", 1, "standard input is empty"),
        (&["a:b"], "password\n", 1, "the name"),
        (&["admin", "--role", "root"], "password\n", 2, "possible values: read, operate, admin"),
        (&[], "password\n", 2, "required"),
    ] {
        let output = agent.cli(&[&["account", "add"], args].concat(), stdin);
        let (out, error) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(status), "{args:?} {error}");
        assert!(error.contains(problem), "{args:?} {error}");
        assert_eq!(out.lines().count(), usize::from(status == 0), "{out}");
        assert!(!out.contains("password") && !error.contains("1234567"), "{out} {error}");
    }
}
