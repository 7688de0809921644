//! The command `explain`, run as a process: languages, output and exit codes.

use std::process::{Command, Output, Stdio};

use imagestore_agent::catalog::{DoctorCheck, ExitCause, Runbook, ZstackCode};
use imagestore_agent::diagnosis::Verdict;
use imagestore_agent::lifecycle::{Cause, RequestedCheck};
use imagestore_agent::model::{
    Check, Condition, EventKind, GapCause, HostEvidence, Obstacle, Reason, RemoteMarker, State,
    Status, StoreCheck,
};
use serde_json::Value;

use crate::support::agent::PROGRAM;
use crate::support::api_description::document;

/// Runs `explain` with these arguments, and with no locale but these variables.
fn explain_in(locale: &[(&str, &str)], args: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    for variable in ["LC_ALL", "LC_MESSAGES", "LANG"] {
        command.env_remove(variable);
    }
    // No settings are read: an invalid file would be an error.
    command.env("IMAGESTORE_AGENT_CONFIG", "/nonexistent/agent.toml");
    command.arg("explain").args(args).envs(locale.iter().copied()).stdin(Stdio::null());
    command.output().unwrap()
}

/// Returns the output of a word that is known.
fn explained(args: &[&str]) -> String {
    let output = explain_in(&[], args);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{args:?}: {text}");
    assert!(output.stderr.is_empty(), "{args:?}");
    text
}

#[test]
fn every_word_is_explained_in_both_languages() {
    let mut words: Vec<&str> = Reason::ALL.iter().map(|it| it.as_str()).collect();
    words.extend(Condition::ALL.iter().map(|it| it.as_str()));
    words.extend(DoctorCheck::ALL.iter().map(|it| it.as_str()));
    words.extend(ExitCause::ALL.iter().map(|it| it.as_str()));
    words.extend(ZstackCode::ALL.iter().map(|it| it.as_str()));
    words.extend(Runbook::ALL.iter().map(|it| it.as_str()));
    for word in words {
        let (english, chinese) =
            (explained(&[word, "--lang", "en"]), explained(&[word, "--lang", "zh"]));
        assert!(english.starts_with(&format!("{word}: ")), "{english}");
        assert!(english.contains("\n  meaning   ") && english.is_ascii(), "{english}");
        assert!(english.contains("\n  action    "), "{english}");
        assert!(chinese.starts_with(&format!("{word}：")), "{chinese}");
        assert!(chinese.contains("\n  含义      ") && chinese.contains("\n  处理      "));
    }
}

/// An operator who went back to an earlier version looks the code up.
#[test]
fn the_exit_code_of_a_newer_ledger_leads_to_its_copy() {
    for (language, action) in [
        ("en", "put back the copy of the ledger that it names"),
        ("zh", "放回日志中给出的状态数据库副本"),
    ] {
        let text = explained(&["65", "--lang", language]);
        assert!(text.contains(action) && text.contains("ledger.sqlite.formatN"), "{text}");
    }
}

/// Returns the words of an enum with the kind that `explain --json` has for them.
macro_rules! words_of {
    ($kind:literal, $name:ty) => {
        ($kind, <$name>::ALL.iter().map(|it| it.as_str()).collect::<Vec<&str>>())
    };
}

#[test]
fn every_word_of_the_output_is_explained_in_both_languages() {
    let phases = &document()["components"]["schemas"]["AttemptPhase"]["properties"]["phase"];
    let phases = phases["enum"].as_array().unwrap().iter().map(|it| it.as_str().unwrap());
    for (kind, words) in [
        words_of!("status", Status),
        words_of!("state", State),
        words_of!("store_check", StoreCheck),
        words_of!("fault_subject", Check),
        words_of!("event", EventKind),
        words_of!("gap_cause", GapCause),
        words_of!("host_evidence", HostEvidence),
        words_of!("remote_marker", RemoteMarker),
        words_of!("obstacle", Obstacle),
        words_of!("attempt_cause", Cause),
        words_of!("requested_check", RequestedCheck),
        words_of!("verdict", Verdict),
        ("attempt_phase", phases.collect()),
    ] {
        for word in words {
            for (language, label) in [("en", "\n  meaning   "), ("zh", "\n  含义      ")] {
                let text = explained(&[word, "--lang", language]);
                assert!(text.contains(label), "{text}");
                assert!(language == "zh" || text.is_ascii(), "{text}");
                let json = explained(&[word, "--lang", language, "--json"]);
                let document: Value = serde_json::from_str(&json).unwrap();
                let entries = document["entries"].as_array().unwrap();
                let is_known = entries.iter().any(|entry| {
                    entry["kind"] == kind && entry["word"] == word && entry["meaning"].is_string()
                });
                assert!(is_known, "{kind} {word}: {document}");
            }
        }
    }
}

#[test]
fn a_status_names_its_runbook() {
    for (word, status, runbook) in [
        ("Connecting", "Connecting", "stuck-connecting"),
        ("连接中", "Connecting", "stuck-connecting"),
        ("Disconnected for 2 min", "Disconnected", "disconnected"),
        ("失联 (Disconnected) 2 分钟", "Disconnected", "disconnected"),
        ("失联", "Disconnected", "disconnected"),
    ] {
        let text = explained(&[word]);
        assert!(text.contains(&format!("{status}: a status of a store\n")), "{word}: {text}");
        let command = format!("\n  runbook   imagestore-agent explain {runbook}\n");
        assert!(text.contains(&command), "{word}: {text}");
    }
    for word in ["Connected", "已连接", "已连接 (Connected)"] {
        let text = explained(&[word]);
        assert!(text.starts_with("Connected: a status of a store\n"), "{word}: {text}");
    }
}

#[test]
fn a_pasted_line_is_explained_as_it_was_printed() {
    for (paste, head) in [
        ("status=64/USAGE", "64: an exit code\n"),
        (
            "imagestore-agent.service: Main process exited, code=exited, status=75/TEMPFAIL",
            "75: an exit code\n",
        ),
        ("退出码：64", "64: an exit code\n"),
        ("exited with code 64", "64: an exit code\n"),
        ("Unable to connect a backup storage", "BS.1500: an error code of ZStack\n"),
        ("The session is invalid or has expired", "ID.1001: an error code of ZStack\n"),
        (
            r#"{"details": "\u7528\u6237\u540d\u3001\u5bc6\u7801\u6216\u8005\u7aef\u53e3\u53ef\u80fd\u662f\u9519\u8bef\u7684"}"#,
            "User name or password or port number may be problematic: a message",
        ),
    ] {
        let text = explained(&[paste]);
        assert!(text.starts_with(head), "{paste}: {text}");
    }
    for unknown in ["try reconnecting i", "reconnect it", "code=killed, status=9/KILL"] {
        assert_eq!(explain_in(&[], &[unknown]).status.code(), Some(1), "{unknown}");
    }
}

#[test]
fn a_reason_has_its_meaning_its_impact_and_its_action() {
    assert_eq!(
        explained(&["NOT-MOUNTED"]),
        "not_mounted: a reason, hard: it disconnects the store at once\n\
         \x20 meaning   The disk of the image directory is not mounted; the directory below its mount \
         point is another one.\n\
         \x20 impact    The images cannot be read or stored here, and the daemon writes nothing. The \
         store is Disconnected at once, and the management node uses it for no image.\n\
         \x20 action    mount the disk that contains the image directory\n"
    );
}

#[test]
fn the_locale_chooses_the_language_and_the_option_wins() {
    let is_chinese = |locale: &[(&str, &str)], args: &[&str]| {
        let output = explain_in(locale, args);
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).unwrap().contains("含义")
    };
    assert!(is_chinese(&[("LANG", "zh_CN.UTF-8")], &["full"]));
    assert!(is_chinese(&[("LANG", "en_US.UTF-8"), ("LC_MESSAGES", "zh_CN")], &["full"]));
    assert!(!is_chinese(&[("LANG", "zh_CN.UTF-8"), ("LC_ALL", "C")], &["full"]));
    assert!(!is_chinese(&[("LANG", "zh_CN.UTF-8")], &["full", "--lang", "en"]));
    assert!(is_chinese(&[], &["full", "--lang", "zh"]));
    assert!(!is_chinese(&[], &["full"]));
    let unknown = explain_in(&[], &["full", "--lang", "fr"]);
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn a_pasted_message_lists_the_reasons_in_the_order_of_their_likelihood() {
    let paste = "SYS.1006: An operation failed, 镜像服务器[uuid:4cd9fb91a1b24c3c8d7e6f5a4b3c2d1e]\
                 不是Connected状态，当前状态为Disconnected";
    let text = explained(&[paste, "--lang", "zh"]);
    assert!(text.starts_with("镜像服务器[uuid:{0}]不是Connected状态"), "{text}");
    assert!(text.contains("\n  可能原因  1. not_mounted  "), "{text}");
    assert!(text.contains("\n  操作手册  imagestore-agent explain disconnected\n"), "{text}");
    let text = explained(&["User name or password or port number may be problematic"]);
    let places: Vec<usize> = ["1. credentials_refused  ", "2. connection_refused  "]
        .iter()
        .map(|cause| text.find(cause).unwrap_or_else(|| panic!("{cause}: {text}")))
        .collect();
    assert!(places.is_sorted(), "{text}");
    // Without quotes, the shell makes several arguments of a text.
    let words: Vec<&str> =
        "cannot reserve 5 GB on the backup storage[uuid:4c], it only has 1 GB available"
            .split(' ')
            .collect();
    assert!(explained(&words).contains("1. full  "));
}

#[test]
fn the_output_as_json_has_the_commands_as_data() {
    let text = explained(&["host_key_changed", "--json", "--lang", "zh"]);
    assert!(text.is_ascii(), "{text}");
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["outputVersion"], 1);
    assert_eq!(document["language"], "zh");
    let entry = &document["entries"][0];
    assert_eq!(entry["kind"], "reason");
    assert_eq!(entry["word"], "host_key_changed");
    assert_eq!(entry["pace"], "hard");
    let commands = ["ssh-keygen -lf FILE", "imagestore-agent accept-host-key STORE"];
    assert_eq!(entry["commands"], serde_json::json!(commands));
    assert!(entry["action"].as_str().unwrap().contains("核对指纹（ssh-keygen -lf FILE）"));
    let both = explained(&["state_disk_trouble", "--json"]);
    let both: Value = serde_json::from_str(&both).unwrap();
    let kinds: Vec<&Value> =
        both["entries"].as_array().unwrap().iter().map(|entry| &entry["kind"]).collect();
    assert_eq!(kinds, ["reason", "condition"]);
}

#[test]
fn an_unknown_word_ends_with_1_and_the_closest_words() {
    let output = explain_in(&[], &["not_mouned"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("unknown word: not_mouned\n  closest: not_mounted"), "{text}");
    for unknown in ["", "\u{1b}[31mred\nline", &"x".repeat(100_000)] {
        let output = explain_in(&[("LANG", "zh_CN.UTF-8")], &[unknown]);
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.starts_with("未知的词：") && text.len() < 400, "{text}");
        assert!(text.lines().count() == 1 && !text.contains('\u{1b}'), "{text}");
    }
    let output = explain_in(&[], &["inode", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["entries"], serde_json::json!([]));
    let closest = document["closest"].as_array().unwrap();
    assert!(closest.contains(&"inodes".into()), "{document}");
    assert_eq!(explain_in(&[], &[]).status.code(), Some(2));
}
