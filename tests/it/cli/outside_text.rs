//! Text of others on the terminal of a client command.

use std::fs;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::agent::PROGRAM;
use crate::support::outside_text::{READABLE, assert_ascii, assert_safe, hostile_text, poison};
use crate::support::scripted_daemon::ScriptedDaemon;
use crate::support::secret_files::write_secret;

const UUID: &str = "4cd9fb914f5f4a1d8d2f000000000001";

/// A response that has what every command shows.
fn response() -> Value {
    let inventory = json!({
        "uuid": UUID, "name": "n", "url": "/srv", "description": "d", "totalCapacity": 2,
        "availableCapacity": 1, "type": "t", "state": "Enabled", "status": "Connected",
        "createDate": "c", "lastOpDate": "l", "attachedZoneUuids": ["z"], "hostname": "h",
        "username": "u", "sshPort": 22,
    });
    let check = json!({"reason": "not_ssh", "details": "d", "elaboration": "e", "check": "ssh"});
    let history = |event: &str| {
        json!({"time": "t", "event": event, "oldStatus": "o", "newStatus": "n", "message": "m",
               "condition": "c", "fields": ["f"], "cause": "p", "type": "k", "fingerprint": "f",
               "mountPoint": "/m", "device": "8:1", "name": "n"})
    };
    let events = [
        "status_changed",
        "condition",
        "updated",
        "host_key_accepted",
        "moved",
        "attempt_began",
        "added",
    ];
    json!({
        "inventory": inventory, "inventories": [inventory, inventory], "since": "s",
        "stores": [{"uuid": "0123", "name": "n", "status": "s", "since": "s", "reason": "r",
                    "conditions": ["c"]}],
        "uuid": "0123", "points": [{"day": "d", "totalCapacity": 9, "usedMax": 4}],
        "forecast": {"sentence": "s", "bytes": {"used": 4, "total": 9, "full": {"used": 9,
            "net": {"outlook": "o", "date": "d"}, "withoutCleanups": {"outlook": "o"}}}},
        "filesystem": {"type": "xfs", "mountPoint": "/srv", "device": "8:1"},
        "hostKey": {"type": "k", "fingerprint": "SHA256:f"},
        "offeredHostKey": {"type": "k", "fingerprint": "SHA256:g"},
        "hostProof": {"evidence": "e"}, "delivery": {"pending": 1, "lastReply": "r", "nextTry": "t"},
        "lastAttempt": {"attempt": 1, "cause": "c", "checks": [check]},
        "conditions": [{"type": "near_full", "reason": "r", "message": "m", "remedy": "x",
                        "lastTransitionTime": "t", "lastGoodTime": "g"}],
        "history": events.map(history), "ready": true, "reasons": ["r"],
        "error": {"code": "BS.1500", "description": "d", "details": "d", "elaboration": "e",
                  "opaque": {"checks": [check]}},
    })
}

/// The same error without its checks, so that the remedy of the deepest cause is shown.
fn failure_with_cause() -> Value {
    json!({"error": {"code": "SYS.1007", "description": "d",
           "cause": {"code": "BS.1500", "elaboration": "e"}}})
}

fn run(args: &[&str], url: &str) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(args).args(["--url", url]).stdin(Stdio::null());
    command.env("IMAGESTORE_AGENT_CONFIG", "").env_remove("RUST_LOG").output().unwrap()
}

/// Returns every command that shows a response of the daemon.
fn commands(password: &str) -> Vec<Vec<String>> {
    let add = "add --name n --path /srv --hostname h --username u --password-file";
    let mut commands: Vec<Vec<String>> = [
        "list".to_owned(),
        format!("show {UUID}"),
        format!("capacity {UUID}"),
        "list --brief".to_owned(),
        format!("update {UUID} --name x"),
        format!("reconnect {UUID}"),
        "reconnect --all".to_owned(),
        format!("remove {UUID} --yes"),
        format!("accept-host-key {UUID} --yes"),
        "healthcheck".to_owned(),
        add.to_owned(),
    ]
    .iter()
    .map(|line| line.split(' ').map(str::to_owned).collect())
    .collect();
    commands.last_mut().unwrap().push(password.to_owned());
    commands
}

#[test]
fn no_field_of_a_hostile_daemon_reaches_the_terminal_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    write_secret(&password, "x\n");
    for (status, body) in
        [(200, response()), (503, response()), (400, failure_with_cause()), (200, json!("text"))]
    {
        let body = poison(&body);
        let daemon = ScriptedDaemon::answering(status, &body);
        let mut shown = 0;
        for command in commands(password.to_str().unwrap()) {
            let command: Vec<&str> = command.iter().map(String::as_str).collect();
            let output = run(&command, &daemon.url);
            assert_safe(&output.stdout);
            assert_safe(&output.stderr);
            let texts = [output.stdout, output.stderr].concat();
            shown += usize::from(String::from_utf8(texts).unwrap().contains(READABLE));
            if command[0] == "healthcheck" {
                continue;
            }
            let output = run(&[&command[..], &["--json"]].concat(), &daemon.url);
            assert_ascii(&output.stdout);
            assert_safe(&output.stderr);
            // Nothing is on stdout if the response is not that of a daemon.
            for line in str::from_utf8(&output.stdout).unwrap().lines() {
                let mut shown: Value = serde_json::from_str(line).unwrap();
                // Each line of several stores has the uuid and the name of its store.
                for key in ["uuid", "name"].into_iter().filter(|_| command[1..] == ["--all"]) {
                    let fields = shown.as_object_mut().unwrap();
                    let own = fields.remove(key);
                    assert!(own.is_some() || status != 200, "{command:?}");
                    fields.extend(body.get(key).map(|value| (key.to_owned(), value.clone())));
                }
                assert_eq!(shown, body, "{command:?}");
            }
        }
        assert!(shown >= 5 || body.is_string(), "{status}: {shown}");
    }
}

#[test]
fn no_field_of_an_event_reaches_the_terminal_as_it_is() {
    let event = |kind: &str| {
        json!({"time": "t", "event": kind, "oldStatus": "o", "newStatus": "n", "message": "m",
               "condition": "c", "fields": ["f"], "name": "n", "store": UUID, "cause": "c",
               "until": "u"})
    };
    let kinds = ["status_changed", "condition", "updated", "added"];
    let mut events = Vec::from(kinds.map(event).map(|event| poison(&event)));
    // The formatting depends on the kind.
    for (event, kind) in events.iter_mut().zip(kinds) {
        event["event"] = json!(kind);
    }
    events.extend([poison(&event("added")), event("gap")]);
    let next = "00000000000000000000000000000001-7";
    let page = json!({"events": events, "gap": null, "more": false, "next": next});
    let daemon = ScriptedDaemon::answering(200, &page);
    let output = run(&["events"], &daemon.url);
    assert_eq!(output.status.code(), Some(0));
    assert_safe(&output.stdout);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), events.len(), "{text}");
    assert!(text.contains(READABLE));
    let output = run(&["events", "--json"], &daemon.url);
    assert_ascii(&output.stdout);
    let lines = str::from_utf8(&output.stdout).unwrap().lines();
    let shown: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(shown, events);
    // Its second response is no stream.
    let output = run(&["events", "--follow"], &daemon.url);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("not an imagestore-agent"));

    let daemon = ScriptedDaemon::answering(200, &poison(&response()));
    let output = run(&["wait", UUID, "--for", "connected", "--timeout", "3s"], &daemon.url);
    assert_eq!(output.status.code(), Some(1));
    assert_safe(&output.stderr);
    assert!(String::from_utf8(output.stderr).unwrap().contains(READABLE));
    for body in [json!([1]), json!({"events": [7], "more": false, "next": next}), json!({})] {
        let daemon = ScriptedDaemon::answering(200, &body);
        for command in [&["events"][..], &["wait", UUID, "--for", "connected"]] {
            let output = run(command, &daemon.url);
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{stderr}");
            assert!(stderr.contains("only reads, and has changed nothing"), "{stderr}");
        }
    }
}

#[test]
fn a_response_that_no_daemon_sends_is_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    write_secret(&password, "x\n");
    let bad_uuid = json!({ "inventories": [{ "uuid": "x\ny" }] });
    let job = json!({ "location": "http://x/zstack/v1/api-jobs/a b", "apiTimeout": 1 });
    for (status, body) in [
        (200, json!([1, 2, 3])),
        (200, json!("text")),
        (200, json!(null)),
        (200, json!({ "inventory": [], "inventories": {} })),
        (200, json!({ "inventories": [7] })),
        (200, json!({ "success": true })),
        (202, job),
        (204, json!({})),
    ] {
        let daemon = ScriptedDaemon::answering(status, &body);
        for command in commands(password.to_str().unwrap()) {
            let mut command: Vec<&str> = command.iter().map(String::as_str).collect();
            // This command has no `--json`, because its output is JSON.
            let forms = if command[0] == "healthcheck" { 1 } else { 2 };
            for _ in 0..forms {
                let output = run(&command, &daemon.url);
                let stderr = String::from_utf8(output.stderr).unwrap();
                assert_eq!(output.status.code(), Some(1), "{command:?} {body}: {stderr}");
                assert_eq!(String::from_utf8(output.stdout).unwrap(), "", "{command:?} {body}");
                let is_explained = stderr.contains("not an imagestore-agent, or one of another")
                    || stderr.contains("has no rejected host key")
                    // A response of this status has no body.
                    || (status == 204 && stderr.contains("not JSON"));
                assert!(is_explained, "{command:?} {body}: {stderr}");
                // A request that only reads has no effect that could be unknown.
                if let Some((_, rest)) = stderr.split_once("its response to ") {
                    let request = rest.split_once(" is not").unwrap().0;
                    let only_reads = ["list", "show", "capacity", "healthcheck"].contains(&request);
                    let says = stderr.contains("only reads, and has changed nothing");
                    let is_unknown = stderr.contains("unknown if the request had an effect");
                    assert_eq!((says, is_unknown), (only_reads, !only_reads), "{stderr}");
                }
                command.push("--json");
            }
        }
    }
    let daemon = ScriptedDaemon::answering(200, &bad_uuid);
    let output = run(&["reconnect", "--all"], &daemon.url);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("not an imagestore-agent") && !stderr.contains("token"), "{stderr}");
}

#[test]
fn every_poisoned_text_of_a_daemon_is_shown_without_its_line_feeds() {
    let daemon = ScriptedDaemon::answering(200, &poison(&response()));
    let lines = |command: &str| {
        let output = run(&command.split(' ').collect::<Vec<_>>(), &daemon.url);
        String::from_utf8(output.stdout).unwrap().lines().count()
    };
    let clean = ScriptedDaemon::answering(200, &response());
    let expected = |command: &str| {
        let output = run(&command.split(' ').collect::<Vec<_>>(), &clean.url);
        String::from_utf8(output.stdout).unwrap().lines().count()
    };
    for command in ["list".to_owned(), format!("show {UUID}"), format!("reconnect {UUID}")] {
        assert_eq!(lines(&command), expected(&command), "{command}");
    }
}

#[test]
fn names_of_files_arguments_and_variables_are_escaped_in_errors() {
    let hostile = hostile_text().replace('\0', "");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(hostile.replace('/', "")).display().to_string();
    let url = "http://127.0.0.1:1";
    for args in [
        vec!["list", "--url", &hostile],
        vec!["list", "--url", url, "--token-file", &file],
        vec!["list", "--url", url, "--config", &file],
        vec!["list", "--config", &file],
        vec!["update", UUID, "--password-file", &file, "--url", url],
        vec!["init", &file],
        vec!["init", "/srv", "--user", &hostile],
        vec!["check-config", "--config", &file],
        vec!["serve", "--config", &file],
        vec!["man", &hostile],
        vec!["show", &hostile],
        vec!["completions", &hostile],
        vec![&hostile],
    ] {
        let output = Command::new(PROGRAM).args(&args).stdin(Stdio::null()).output().unwrap();
        assert!(!output.status.success(), "{args:?}");
        assert!(!output.stderr.is_empty(), "{args:?}");
        assert_safe(&output.stdout);
        assert_safe(&output.stderr);
    }
    for (name, value) in [
        ("IMAGESTORE_AGENT__MONITOR__INTERVAL", hostile.as_str()),
        ("IMAGESTORE_AGENT__CALLBACK__URLS", &hostile),
        ("IMAGESTORE_AGENT__STORAGE__ALLOWED_ROOTS", &hostile),
        ("IMAGESTORE_AGENT__AUTH__TOKENS_FILE", &file),
        (&format!("IMAGESTORE_AGENT__{hostile}"), "1"),
        ("IMAGESTORE_AGENT_CONFIG", &file),
    ] {
        let mut command = Command::new(PROGRAM);
        command.arg("check-config").env("IMAGESTORE_AGENT_CONFIG", "").env(name, value);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{name}");
        assert_safe(&output.stderr);
    }
    let settings = dir.path().join("agent.toml");
    let quoted = json!(hostile.replace('\x7f', "")).to_string();
    fs::write(&settings, format!("[monitor]\ninterval = {quoted}\n{quoted} = 1\n")).unwrap();
    let mut command = Command::new(PROGRAM);
    let output = command.arg("check-config").arg("--config").arg(&settings).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert_safe(&output.stderr);
}
