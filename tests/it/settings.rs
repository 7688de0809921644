//! Settings from real files and variables.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use imagestore_agent::settings::{
    CallbackFormat, FilePolicy, HostKeyPolicy, SettingFault, Settings, SettingsError, format_report,
};
use proptest::prelude::*;

use crate::support::secret_files::write_secret;

const NOTHING: [(String, String); 0] = [];

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let name = |key: &str| format!("IMAGESTORE_AGENT__{key}");
    pairs.iter().map(|(key, value)| (name(key), (*value).to_owned())).collect()
}

/// Loads a text as the settings file, with variables on top.
fn load(text: &str, env: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("agent.toml");
    fs::write(&file, text).unwrap();
    Settings::load(Some(&file), variables(env))
}

fn faults(text: &str, env: &[(&str, &str)]) -> Vec<SettingFault> {
    load(text, env).unwrap_err().setting_faults().to_vec()
}

/// Returns the only fault, as one line without its origin.
fn fault(text: &str, env: &[(&str, &str)]) -> String {
    let found = faults(text, env);
    assert_eq!(found.len(), 1, "{found:?}");
    SettingFault { origin: None, ..found[0].clone() }.to_string()
}

#[test]
fn the_documented_file_is_the_built_in_defaults() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/agent.toml");
    assert_eq!(Settings::load(Some(&file), NOTHING).unwrap(), Settings::built_in());
    let text = fs::read_to_string(file).unwrap();
    // The file as operators edit it, with all optional keys active.
    let on: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if !key.starts_with(' ') && !key.starts_with("url = ") => key,
            _ => line,
        })
        .fold(String::new(), |text, line| text + line + "\n");
    let settings = load(&on, &[]).unwrap();
    assert_eq!(settings.server.tls.unwrap().key, Path::new("/etc/imagestore-agent/server.key"));
    assert_eq!(
        settings.callback.client_key.unwrap(),
        Path::new("/etc/imagestore-agent/client.key")
    );
}

#[test]
fn an_empty_file_and_no_variables_are_the_built_in_defaults() {
    let settings = load("", &[]).unwrap();
    assert_eq!(settings, Settings::built_in());
    assert_eq!(settings.server.listen, ["127.0.0.1:7811".parse().unwrap()]);
    assert_eq!(settings.server.socket, Path::new("/var/lib/imagestore-agent/agent.sock"));
    assert_eq!(settings.monitor.interval, Duration::from_secs(10));
    assert_eq!(settings.storage.reserved, 1 << 30);
}

#[test]
fn a_variable_lies_over_the_file_and_the_file_over_the_defaults() {
    let text = "[monitor]\ninterval = \"20s\"\nfail_after = 7\n[storage]\nfull = 1\n";
    let env = [
        ("MONITOR__INTERVAL", "1m"),
        ("SERVER__LISTEN", "127.0.0.1:0, [::1]:0"),
        ("STORAGE__WRITE_PROBE", "false"),
        ("STORAGE__NEAR_FULL", "0.5"),
        ("MONITOR__RECOVER_AFTER", "9"),
        ("SSH__HOST_KEY_POLICY", "strict"),
        ("SSH__ALLOWED_TARGETS", "10.0.0.0/8,192.0.2.1"),
        ("SERVER__HOST_NAMES", ""),
        ("SERVER__TLS__CERT", "/c"),
        ("SERVER__TLS__KEY", "/k"),
        ("STATE__DIR", "/srv/agent/"),
        ("CALLBACK__URL", "https://mn/"),
        ("CALLBACK__FORMAT", "zstack"),
    ];
    let settings = load(text, &env).unwrap();
    assert_eq!(settings.monitor.interval, Duration::from_secs(60));
    assert_eq!(settings.monitor.fail_after, 7);
    assert_eq!(settings.monitor.recover_after, 9);
    assert_eq!(settings.server.listen.len(), 2);
    assert!(settings.server.host_names.is_empty());
    assert_eq!(settings.server.tls.as_ref().unwrap().cert, Path::new("/c"));
    assert_eq!(settings.server.socket, Path::new("/srv/agent/agent.sock"));
    assert!(!settings.storage.write_probe);
    assert_eq!((settings.storage.near_full, settings.storage.full), (0.5, 1.0));
    assert_eq!(settings.ssh.host_key_policy, HostKeyPolicy::Strict);
    assert_eq!(settings.ssh.allowed_targets[1].to_string(), "192.0.2.1/32");
    assert_eq!(settings.callback.urls, ["https://mn/"]);
    assert_eq!(settings.callback.format, CallbackFormat::ZStack);
    assert_eq!(settings.doubts(&settings.server.listen), []);
}

#[test]
fn every_fault_is_reported_with_key_value_range_and_origin() {
    let text = r#"
        [monitor]
        interval = "2h"
        probe_deadline = 5
        fail_after = "three"
        intervall = "10s"
        [storage]
        reserved = "1"
        allowed_roots = ["/srv/images", "images", "/srv/../etc"]
        [ssh]
        auth_timeout = "1s"
        [cluster]
        size = 3
    "#;
    let env = [("STORAGE__WRITE_PROBE", "perhaps"), ("CALLBACK__MAX_PENDING", "9")];
    let found = faults(text, &env);
    let keys: Vec<&str> = found.iter().map(|fault| fault.key.as_str()).collect();
    let expected = [
        "cluster",
        "monitor.intervall",
        "storage.allowed_roots",
        "storage.allowed_roots",
        "storage.write_probe",
        "storage.reserved",
        "monitor.interval",
        "monitor.probe_deadline",
        "monitor.fail_after",
        "ssh.auth_timeout",
        "callback.max_pending",
    ];
    assert_eq!(keys, expected);
    for fault in &found {
        assert!(fault.allowed.is_some(), "{fault}");
        let origin = fault.origin.as_deref().unwrap();
        match fault.key.as_str() {
            "storage.write_probe" => {
                assert_eq!(origin, "environment variable IMAGESTORE_AGENT__STORAGE__WRITE_PROBE");
            }
            "callback.max_pending" => {
                assert_eq!(origin, "environment variable IMAGESTORE_AGENT__CALLBACK__MAX_PENDING");
            }
            _ => assert!(origin.ends_with("/agent.toml"), "{origin}"),
        }
    }
    let interval = &found[6];
    assert_eq!(interval.value.as_deref(), Some("\"2h\""));
    assert_eq!(interval.allowed.as_deref(), Some("1s to 1h"));
    assert_eq!(
        format_report(&found).lines().filter(|line| line.starts_with("    allowed: ")).count(),
        11
    );
}

#[test]
fn a_number_without_a_unit_is_refused_with_the_missing_unit() {
    for key in ["monitor]\ninterval = 10", "monitor]\ninterval = \"10\"", "storage]\nreserved = 1"]
    {
        assert!(fault(&format!("[{key}"), &[]).contains("has no unit"), "{key}");
    }
}

#[test]
fn keys_are_judged_against_each_other() {
    for (text, key, what) in [
        ("[storage]\nnear_full = 0.95", "storage.near_full = 0.95", "not below storage.full"),
        ("[storage]\nfull = 0.2", "storage.near_full", "which is 0.2"),
        ("[server]\nlisten = \"0.0.0.0:80\"", "server.listen = \"0.0.0.0:80\"", "insecure_http"),
        (
            "[server]\nlisten = [\"[::ffff:10.0.0.1]:80\"]",
            "server.listen",
            "not a loopback address",
        ),
        ("[server]\ntls = { cert = \"/c\" }", "server.tls.key", "missing"),
        ("[callback]\nclient_cert = \"/c\"", "callback.client_key", "missing, but"),
        ("[callback]\nclient_key = \"/k\"", "callback.client_cert", "missing, but"),
        ("[callback]\nurl = \"http://a\"\nurls = []", "callback.url", "callback.urls"),
        ("server = 3", "server", "a table with listen"),
        ("[server]\ntls = true", "server.tls", "a table with cert, key, client_ca"),
        ("[monitor.interval]\nx = 1", "monitor.interval", "is a table, but must be a single value"),
    ] {
        let message = fault(text, &[]);
        assert!(message.starts_with(key) && message.contains(what), "{text}: {message}");
    }
    let long = format!("/{}", "d".repeat(100));
    assert!(fault("", &[("STATE__DIR", &long)]).starts_with("state.dir = "));
    assert!(load("", &[("STATE__DIR", &long), ("SERVER__SOCKET", "/run/s")]).is_ok());
    assert!(load("[server]\nlisten = \"0.0.0.0:80\"\ninsecure_http = true", &[]).is_ok());
    assert!(load("[server]\nlisten = \"[::ffff:127.0.0.1]:80\"", &[]).is_ok());
}

#[test]
fn a_port_that_speaks_tls_may_be_open() {
    let text = "[server]\nlisten = \"0.0.0.0:443\"\ntls = { cert = \"/c\", key = \"/k\" }";
    assert!(load(text, &[]).is_ok());
    let clients = text.replace(" }", ", clients_file = \"/n\" }");
    assert!(fault(&clients, &[]).starts_with("server.tls.clients_file"));
    assert!(load(&clients.replace(" }", ", client_ca = \"/a\" }"), &[]).is_ok());
}

#[test]
fn a_faulty_value_brings_no_second_fault_from_its_default() {
    assert!(
        fault("[storage]\nnear_full = \"x\"\nfull = 0.5", &[]).starts_with("storage.near_full")
    );
    assert!(
        fault("[server]\nlisten = \"0.0.0.0:80\"\ninsecure_http = 1", &[])
            .contains("not true or false")
    );
}

#[test]
fn the_spelling_of_a_later_layer_replaces_the_other_spelling_of_the_file() {
    let settings = load("[callback]\nurls = [\"http://a\"]", &[("CALLBACK__URL", "http://b")]);
    assert_eq!(settings.unwrap().callback.urls, ["http://b"]);
    let settings = load("[callback]\nurl = \"http://a\"", &[("CALLBACK__URLS", "")]);
    assert!(settings.unwrap().callback.urls.is_empty());
}

#[test]
fn variables_are_in_capitals_and_others_are_not_looked_at() {
    for name in ["MONITOR", "MONITOR__", "MONITOR__Interval", "X", "", "SERVER.LISTEN", "A__B__C"] {
        assert!(fault("", &[(name, "1s")]).contains("unknown key"), "{name}");
    }
    let other =
        ["IMAGESTORE_AGENT_TOKEN", "IMAGESTORE_AGENT_SPEED", "IMAGESTORE_AGENTS__A__B", "PATH"];
    let file = tempfile::NamedTempFile::new().unwrap();
    let env = other.map(|name| (name.to_owned(), "x".to_owned()));
    assert_eq!(Settings::load(Some(file.path()), env).unwrap(), Settings::built_in());
}

#[test]
fn a_named_file_must_be_there_and_be_a_text() {
    let dir = tempfile::tempdir().unwrap();
    let binary = dir.path().join("binary");
    fs::write(&binary, b"\xff\xfe").unwrap();
    let large = dir.path().join("large");
    fs::write(&large, "#".repeat((1 << 20) + 1)).unwrap();
    for path in [dir.path().join("none"), dir.path().to_owned(), binary, large] {
        let bad = Settings::load(Some(&path), NOTHING).unwrap_err();
        let [fault] = bad.setting_faults() else { panic!("{bad:?}") };
        assert!(fault.problem.starts_with("cannot be read: "), "{fault}");
        assert_eq!(fault.origin.as_deref(), path.to_str());
    }
}

#[test]
fn a_variable_names_the_file_where_no_argument_does() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| -> PathBuf {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let named = file("named.toml", "[monitor]\nfail_after = 5");
    let argument = file("argument.toml", "[monitor]\nfail_after = 6");
    let env = [("IMAGESTORE_AGENT_CONFIG".to_owned(), named.to_str().unwrap().to_owned())];
    assert_eq!(Settings::load(None, env.clone()).unwrap().monitor.fail_after, 5);
    assert_eq!(Settings::load(Some(&argument), env).unwrap().monitor.fail_after, 6);
}

#[test]
fn who_can_do_without_the_file_passes_over_one_that_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let env = variables(&[("SERVER__BASE_PATH", "/other")]);
    let load = |file: &Path| Settings::load_lenient(Some(file), env.clone());
    // Reading a directory fails for root too.
    let (settings, bad) = load(dir.path()).unwrap();
    assert_eq!(settings.server.base_paths, ["/other"]);
    assert!(bad.unwrap().to_string().contains("cannot be read"));
    assert!(load(&dir.path().join("absent")).is_err());
    let file = dir.path().join("agent.toml");
    fs::write(&file, "surprise = 1").unwrap();
    assert!(load(&file).is_err());
    fs::write(&file, "[monitor]\nfail_after = 9").unwrap();
    let (settings, bad) = load(&file).unwrap();
    assert_eq!((settings.monitor.fail_after, bad), (9, None));
}

#[test]
fn what_may_be_a_secret_is_never_shown() {
    let text = r#"
        [auth]
        tokens_file = "hunter2"
        token = "hunter2"
        [state]
        master_key_file = ["hunter2"]
        [callback]
        url = "https://bob:hunter2@mn/"
        urls = ["bob:hunter2@mn"]
        signing_secret_file = "whsec_hunter2"
        signing_secret = "hunter2"
    "#;
    let bad =
        load(text, &[("CALLBACK__CLIENT_KEY", "hunter2"), ("AUTH__TOKEN", "hunter2")]).unwrap_err();
    assert!(bad.setting_faults().len() >= 9, "{bad:?}");
    assert!(
        !format!("{bad} {bad:?} {}", format_report(bad.setting_faults())).contains("hunter2"),
        "{bad:?}"
    );
}

#[test]
fn the_files_a_setting_names_are_looked_at_on_demand() {
    let dir = tempfile::tempdir().unwrap();
    let there = dir.path().join("tokens");
    write_secret(&there, "");
    let mut settings = Settings::built_in();
    settings.auth.tokens_file = Some(there);
    let policy = FilePolicy::of_process();
    assert_eq!(settings.inspect_files(None, &policy).unreadable, []);
    settings.callback.ca_file = Some(dir.path().join("none"));
    settings.state.master_key_file = Some(dir.path().to_owned());
    let unreadable = settings.inspect_files(None, &policy).unreadable;
    let keys: Vec<String> = unreadable.into_iter().map(|fault| fault.key).collect();
    assert_eq!(keys, ["state.master_key_file", "callback.ca_file"]);
}

fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| format!("{n:?}").to_lowercase()),
        any::<bool>().prop_map(|b| b.to_string()),
        "[a-z0-9:/.@ -]{0,24}".prop_map(|text| format!("{text:?}")),
        any::<String>().prop_map(|text| format!("'''{}'''", text.replace('\'', ""))),
        "[0-9]{1,20}(\\.[0-9]{1,3})?(ms|s|m|h|B|GiB|EiB)".prop_map(|text| format!("{text:?}")),
        Just("1979-05-27T07:32:00Z".to_owned()),
    ]
}

fn value() -> impl Strategy<Value = String> {
    scalar().prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6)
                .prop_map(|list| format!("[{}]", list.join(","))),
            (name(), inner).prop_map(|(name, value)| format!("{{ {name} = {value} }}")),
        ]
    })
}

/// Generates a key that exists, or one that does not.
fn name() -> impl Strategy<Value = String> {
    let known_words = "(server|api|auth|state|storage|monitor|ssh|callback|listen|tls|cert|key|reply|dir|\
                 tokens_file|reserved|near_full|full|interval|fail_after|legacy|urls|url|heartbeat)";
    prop_oneof![
        known_words,
        "[a-zA-Z0-9_-]{1,9}",
        "[a-z.\\[\\]0-9-]{0,12}".prop_map(|key| format!("{key:?}"))
    ]
}

proptest! {
    #[test]
    fn no_tree_of_toml_panics(
        entries in prop::collection::vec((name(), name(), value()), 0..12),
        env in prop::collection::vec(("[A-Z_]{0,24}|SERVER__LISTEN|STORAGE__FULL", any::<String>()), 0..4),
    ) {
        let text: String =
            entries.iter().map(|(section, key, value)| format!("{section}.{key} = {value}\n")).collect();
        let env: Vec<_> = env.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        if let Err(bad) = load(&text, &env) {
            prop_assert!(!bad.setting_faults().is_empty());
            prop_assert!(!format_report(bad.setting_faults()).is_empty());
        }
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = load(&text, &[]);
    }
}

#[test]
fn a_file_nested_without_end_is_a_fault() {
    for text in [
        "[".repeat(500_000),
        format!("x = {}", "[".repeat(500_000)),
        format!("{}x = 1", "a.".repeat(250_000)),
    ] {
        assert!(!faults(&text, &[]).is_empty());
    }
}

#[test]
fn a_base_path_is_one_prefix_or_several() {
    let loaded = |text: &str, env: &[(&str, &str)]| {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("agent.toml");
        fs::write(&file, text).unwrap();
        Settings::load(Some(&file), variables(env)).unwrap().server.base_paths
    };
    assert_eq!(loaded("", &[]), ["/zstack"]);
    for (value, expected) in [
        ("\"/x\"", &["/x"][..]),
        ("\"\"", &[""]),
        ("[\"/zstack\"]", &["/zstack"]),
        ("[\"/zstack\", \"\"]", &["/zstack", ""]),
        ("[\"\", \"/zstack\", \"/y\"]", &["", "/zstack", "/y"]),
    ] {
        assert_eq!(loaded(&format!("[server]\nbase_path = {value}"), &[]), expected, "{value}");
    }
    for (value, expected) in [("/x", &["/x"][..]), ("", &[""]), ("/zstack,", &["/zstack", ""])] {
        assert_eq!(loaded("", &[("SERVER__BASE_PATH", value)]), expected, "{value}");
    }
}
