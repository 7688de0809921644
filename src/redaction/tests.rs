//! Properties of the redaction: no text that is not listed is shown, wherever it stands.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::delivery::ReceiverReply;
use crate::settings::Settings;

/// A secret that has no word of this program.
const SECRET: &str = "hunter2";

fn redactor() -> Redactor {
    let known = ["images of A", "images", "/srv/images", "node7"].map(str::to_owned);
    Redactor::new([7; 32], known)
}

#[test]
fn a_text_shows_the_words_of_this_program_figures_and_known_names() {
    let redactor = redactor();
    for shown in [
        "the server closed the connection",
        "12345 of 99999 bytes available (os error 13)",
        "/srv/images is not mounted; the disk is 8:17 ext4",
        "cannot connect to node7:22 or 192.0.2.7:22: Connection refused (os error 111)",
        "the store \"images of A\" is not_mounted since 2026-11-27T18:00:00Z",
        "the key is SHA256:0123456789abcdefghijABCDEFGHIJ0123456789abc",
        "needs service.answers",
        "镜像服务器",
        "ENOENT (2), EACCES",
        "after 30s, 500ms",
        "",
    ] {
        assert_eq!(redactor.text(shown), shown);
    }
    let hidden = redactor.hide(SECRET);
    assert!(hidden.starts_with("<7:") && hidden.len() == 12, "{hidden}");
    for (text, expected) in [
        ("the server sent hunter2", format!("the server sent {hidden}")),
        ("it sent \"the server\"", format!("it sent \"{}\"", redactor.hide("the server"))),
        (
            "it sent \"a\" and hunter2 and \"b\" too",
            format!("it sent \"{}\" too", redactor.hide("a\" and hunter2 and \"b")),
        ),
        ("it sent \"open", format!("it sent \"{}", redactor.hide("open"))),
        ("/srv/images/hunter2/lock", format!("/srv/images/{hidden}/lock")),
        ("/xyzzy/hunter2", format!("/{}/{hidden}", redactor.hide("xyzzy"))),
        ("cannot ping node9:22", format!("cannot ping {}", redactor.hide("node9:22"))),
        ("!!!!!!!!", redactor.hide("!!!!!!!!")),
        ("镜像hunter2", format!("镜像{hidden}")),
        ("12345678901234567890", redactor.hide("12345678901234567890")),
    ] {
        let shown = redactor.text(text).replace(&redactor.hide("ping"), "ping");
        assert_eq!(shown, expected, "{text}");
    }
}

#[test]
fn a_url_has_no_user_information_and_no_query() {
    let redactor = redactor();
    for (url, shown) in [
        ("https://node7:8443/zstack/events", "https://node7:8443/zstack/events".to_owned()),
        ("http://127.0.0.1/?token=hunter2#x", "http://127.0.0.1/?...".to_owned()),
        ("http://node7/hunter2", format!("http://node7/{}", redactor.hide(SECRET))),
        ("http://hunter2.example/", format!("http://{}/", redactor.hide("hunter2.example"))),
        ("hunter2://node7/", redactor.hide("hunter2://node7/")),
    ] {
        assert_eq!(redactor.url(url), shown);
        assert_eq!(redactor.text(&format!("see {url}")), format!("see {shown}"));
    }
    for url in ["https://a:hunter2@node7/", "https://a:hun/ter2@node7/x", "http://@/"] {
        assert_eq!(redactor.url(url), redactor.hide(url));
    }
}

#[test]
fn equal_texts_have_equal_hashes_in_one_report_only() {
    let (one, other) = (redactor(), Redactor::new([8; 32], []));
    assert_eq!(one.hide(SECRET), one.hide(SECRET));
    assert_ne!(one.hide(SECRET), one.hide("hunter3"));
    assert_ne!(one.hide(SECRET), other.hide(SECRET));
    assert!(one.hide("päss").starts_with("<4:"));
}

#[test]
fn the_options_of_a_mount_are_on_a_list_and_a_source_is_a_device() {
    let table = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,errors=remount-ro
36 22 0:44 / /srv/\\151mages rw,nosuid - cifs //node/share rw,vers=3.1.1,username=hunter2,password=hunter2,addr=10.0.0.9
37 36 0:45 / /srv/images/sub\\040dir rw - fuse.hunter2 hunter2@node7:/x rw,user_id=0,hunter2
38 22 0:46 / /other rw - tmpfs tmpfs rw
39 22 0:47 /hunter2 /srv rw - tmpfs /dev/hunter2 rw,size=8192k,mode=hunter2
broken
";
    let redactor = redactor();
    let lines = mounts_of(table, &["/srv/images".to_owned()], &redactor);
    let text = serde_json::to_string_pretty(&lines).unwrap();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(!text.contains(SECRET) && !text.contains("10.0.0.9"), "{text}");
    assert_eq!(lines[0]["source"], "/dev/vda");
    assert_eq!(lines[0]["superOptions"], json!(["rw", "errors=remount-ro"]));
    assert_eq!(lines[1]["superOptions"], json!(["rw", "vers=3.1.1"]));
    assert_eq!((&lines[1]["optionsLeftOut"], &lines[1]["type"]), (&json!(3), &json!("cifs")));
    assert_eq!(lines[1]["mountPoint"], "/srv/images");
    assert_eq!(lines[2]["superOptions"], json!(["rw", "user_id=0"]));
    assert_eq!(lines[3]["superOptions"], json!(["rw", "size=8192k"]));
}

#[test]
fn what_a_peer_wrote_is_left_out_of_the_summary_too() {
    let finding = json!({"id": "ssh.connect", "verdict": "error", "store": null,
        "summary": "the server disconnected: go away 4711 now; last reply: status 503: pin 4711",
        "evidence": {"said": "go away 4711 now", "port": 22, "surprise": 4711},
        "reported": {"destination": "node7:8080", "lastReply": "status 503: pin 4711"},
        "another": "4711"});
    let shown = redact_diagnosis(&json!({"checks": [finding]}), &redactor());
    let text = shown.to_string();
    assert!(!text.contains("4711"), "{text}");
    let check = &shown["checks"][0];
    assert_eq!((&check["evidence"]["port"], &check["verdict"]), (&json!(22), &json!("error")));
    assert!(
        check["summary"].as_str().unwrap().starts_with("the server disconnected: <16:"),
        "{text}"
    );
    assert_eq!(check["reported"]["destination"], "node7:8080");
    // A body may have quotes, and words and figures outside of them.
    let redactor = redactor();
    for status in [200, 301, 302, 303, 307, 308, 404, 503] {
        for body in [
            r#"{"x":"y","pin":123456}"#,
            r#"code 123456: "denied""#,
            r#"code 123456: the server said "no" 123456"#,
            r#"" 123456"#,
            "123456: 123456",
        ] {
            let reply =
                ReceiverReply::Response { status, retry_after: None, excerpt: body.to_owned() };
            let reply = reply.to_string();
            let summary = format!("3 notices wait for \"images\"; last reply: {reply}");
            let finding = json!({"id": "reported", "summary": summary,
                "reported": {"lastReply": reply}});
            let shown = &redact_diagnosis(&json!({"checks": [finding]}), &redactor)["checks"][0];
            let expected = reply.replace(body, &redactor.hide(body));
            assert_eq!(shown["reported"]["lastReply"], expected, "{reply}");
            let expected = format!("3 notices wait for \"images\"; last reply: {expected}");
            assert_eq!(shown["summary"], expected, "{reply}");
        }
    }
}

#[test]
fn the_quotes_of_this_program_are_found_around_the_texts_of_peers() {
    let redactor = redactor();
    let hidden = |text: &str| redactor.hide(text);
    for (text, peers, expected) in [
        ("it sent \"a\"b\" too", vec!["a\"b"], format!("it sent \"{}\" too", hidden("a\"b"))),
        ("it sent a\"b too", vec!["a\"b"], format!("it sent {} too", hidden("a\"b"))),
        (
            "a\"b, then \"hunter2\", then a\"b",
            vec!["a\"b"],
            format!("{0}, then \"{1}\", then {0}", hidden("a\"b"), hidden(SECRET)),
        ),
        ("it sent \"open a\"b", vec!["a\"b"], format!("it sent \"{}", hidden("open a\"b"))),
        ("ü\"é\"", vec!["ü\"é"], format!("{}\"{}", hidden("ü\"é"), hidden(""))),
    ] {
        assert_eq!(redactor.text_without(text, peers.into_iter()), expected, "{text}");
    }
}

#[test]
fn a_reply_in_a_list_is_left_out_of_the_summary_too() {
    let finding = json!({"id": "management.callback", "verdict": "error", "store": null,
        "summary": "node7:8080: the daemon counts it as down (last reply: status 503: pin 4711)",
        "evidence": {"receivers": ["node7:8080"], "lastReplies": ["status 503: pin 4711"]}});
    let shown = redact_diagnosis(&json!({"checks": [finding]}), &redactor());
    assert!(!shown.to_string().contains("4711"), "{shown}");
    let check = &shown["checks"][0];
    assert_eq!(check["evidence"]["receivers"][0], "node7:8080");
    assert!(check["summary"].as_str().unwrap().contains("counts it as down"), "{check}");
}

#[test]
fn evidence_that_is_not_listed_is_hidden_as_a_text() {
    let redactor = redactor();
    let finding = json!({"id": "ssh.login", "summary": "the server sent hunter2, hunter3, 4711",
        "evidence": {"said": SECRET, "x": SECRET, "xs": ["hunter3", 4711], "theirs": ["4711"], "is": true, "no": null,
                     "of": {"x": SECRET}}});
    let shown = &redact_diagnosis(&json!({"checks": [finding]}), &redactor)["checks"][0];
    let hide = |text: &str| redactor.hide(text);
    let named = |name: &str| &shown["evidence"][redactor.text(name)];
    assert_eq!((named("said"), named("x")), (&json!(hide(SECRET)), &json!(hide(SECRET))));
    assert_eq!(named("xs"), &json!([hide("hunter3"), hide("4711")]));
    assert_eq!((named("is"), named("no")), (&json!(hide("true")), &Value::Null));
    assert_eq!(named("of"), &Value::Null);
    let [one, two, three] = [SECRET, "hunter3", "4711"].map(hide);
    let summary = format!("the server sent {one}, {two}, {three}");
    assert_eq!(shown["summary"], summary);
}

/// Returns the names of the evidence in the sources below a folder.
fn evidence_names(folder: &Path, names: &mut BTreeSet<String>) {
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() && !path.ends_with("tests") {
            evidence_names(&path, names);
        } else if path.extension().is_some_and(|it| it == "rs") && !path.ends_with("tests.rs") {
            let source = fs::read_to_string(&path).unwrap();
            let production = source.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
            for call in ["with_detail(", "default_fact(", "facts.insert("] {
                let arguments = production.split(call).skip(1).map(str::trim_start);
                let quoted = arguments.filter_map(|it| it.strip_prefix('"')?.split_once('"'));
                names.extend(quoted.map(|(name, _)| name.to_owned()));
            }
        }
    }
}

#[test]
fn each_kind_of_evidence_is_on_the_list() {
    let mut names = BTreeSet::new();
    evidence_names(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut names);
    assert!(names.len() > 50 && names.contains("file") && names.contains("pending"), "{names:?}");
    let missing: Vec<_> = names.iter().filter(|name| diagnosis::form_of(name).is_none()).collect();
    assert!(missing.is_empty(), "without a form in `EVIDENCE`: {missing:?}");
}

#[test]
fn every_setting_is_decided_about() {
    let mut settings = Settings::built_in();
    settings.callback.urls = vec!["https://node7/zstack?key=hunter2".to_owned()];
    settings.auth.session_check_url = Some("http://node7/x?s={uuid}&k=hunter2".to_owned());
    settings.ssh.legacy = vec!["hmac-sha1".to_owned(), "hunter2".to_owned()];
    settings.auth.tokens_file = Some("/etc/tokens".into());
    let shown = settings_values(&settings, &redactor());
    let text = shown.to_string();
    assert!(!text.contains(SECRET), "{text}");
    assert_eq!(shown["callback"]["urls"][0], "https://node7/zstack?...");
    assert_eq!(shown["auth"]["tokens_file"], "/etc/tokens");
    assert_eq!(shown["auth"]["access_keys_file"], Value::Null);
    assert_eq!(shown["monitor"]["interval"], "10s");
}

/// A secret in ASCII or in another script, which is no word of this program.
fn secret() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9]{3,6}[qxzQXZ][0-9][a-zA-Z]{3,12}|[а-я]{8,12}|[가-힣]{5,9}"
}

/// A text around a secret, with quotes, punctuation and words.
fn around() -> impl Strategy<Value = String> {
    "(the server |images |\"|/srv/images/|/|: |, |\\(|;|http://node7/|=|@|镜像|\\PC{0,3}){0,5}"
}

proptest! {
    #[test]
    fn no_unlisted_text_is_shown(secret in secret(), before in around(), after in around()) {
        let redactor = redactor();
        let text = format!("{before}{secret}{after}");
        for shown in [redactor.text(&text), redactor.url(&text), redactor.path(&text)] {
            prop_assert!(!shown.contains(&secret), "{text:?} {shown:?}");
        }
    }

    #[test]
    fn no_unlisted_field_or_value_of_a_document_is_shown(
        secret in secret(), field in "x[a-z]{3,9}", known in prop::sample::select(vec![
            "summary", "impact", "see", "since", "lastGood", "id", "group", "verdict", "reason",
            "also", "message", "event", "cause", "systemTags", "userTags", "fingerprint", "folder",
            "mountPoint", "type", "time", "until", "fields", "status", "url",
        ]),
    ) {
        let redactor = redactor();
        let inner = json!({&field: &secret, known: &secret, "uuid": &secret, "text": &secret,
                           "commands": [&secret], "lastReply": &secret, &secret: 1});
        let object = json!({
            &field: &secret, known: &secret, "also": [&secret], "evidence": &inner,
            "remedy": &inner, "reported": &inner, "store": {"uuid": &secret, &field: &secret},
        });
        let document = json!({"checks": [&object], "requested": [&object], "worst": &secret,
                              &field: &object});
        let shown = [
            redact_diagnosis(&document, &redactor),
            redact_store(&object, &redactor),
            redact_event(&object, &redactor),
        ];
        for shown in shown {
            prop_assert!(!shown.to_string().contains(&secret), "{shown:#}");
        }
    }

    #[test]
    fn no_option_source_or_path_of_a_mount_is_shown_unless_it_is_listed(
        secret in secret().prop_filter("ASCII", |it| it.is_ascii()), at in 0_usize..7,
    ) {
        let mut parts = ["/", "/srv/images", "rw", "shared:1", "fuse.x", "x", "rw"].map(str::to_owned);
        parts[at] = match at {
            0 => format!("/{secret}"),
            1 => format!("/srv/images/{secret}"),
            4 => format!("fuse.{secret}"),
            2 | 6 => format!("rw,{secret},password={secret},mode={secret}"),
            _ => secret.clone(),
        };
        let [root, point, options, optional, kind, source, superblock] = &parts;
        let line =
            format!("36 22 0:44 {root} {point} {options} {optional} - {kind} {source} {superblock}");
        let lines = mounts_of(&line, &["/srv/images".to_owned()], &redactor());
        prop_assert_eq!(lines.len(), 1);
        prop_assert!(!lines[0].to_string().contains(&secret), "{:#}", lines[0]);
    }
}
