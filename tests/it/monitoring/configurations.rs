//! The examples of configurations, accepted by the programs that read them.

use std::fs;
use std::path::Path;

use imagestore_agent::settings::Settings;

use super::programs::{in_tree, needs_prometheus, output_of};
use crate::support::test_ca::TestCa;

const FOLDER: &str = "deploy/prometheus";

#[test]
fn prometheus_accepts_the_examples_of_its_configuration() {
    needs_prometheus!();
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(in_tree(FOLDER)).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    // promtool reads the files that a configuration names.
    fs::write(dir.path().join("imagestore-agent.token"), "a-session").unwrap();
    let ca = TestCa::new();
    fs::copy(ca.certificate(), dir.path().join("imagestore-agent-ca.pem")).unwrap();
    let place = format!("{}/", dir.path().display());
    for name in ["prometheus.yml", "prometheus-open.yml"] {
        let text = fs::read_to_string(in_tree(FOLDER).join(name)).unwrap();
        let file = dir.path().join(name);
        fs::write(&file, text.replace("/etc/prometheus/", &place)).unwrap();
        let check =
            |file: &Path| output_of("promtool", &[Path::new("check"), Path::new("config"), file]);
        let output = check(&file).unwrap_or_else(|output| panic!("{name}: {output}"));
        assert!(output.contains("1 rule files found"), "{output}");
        fs::write(&file, text.replace("scrape_interval", "scrape_intervall")).unwrap();
        assert!(check(&file).is_err(), "a misspelt key goes unnoticed");
        assert!(text.contains("job_name: imagestore-agent\n"), "{name}: the job of the rules");
    }
}

#[test]
fn alertmanager_accepts_its_example_and_routes_by_severity() {
    needs_prometheus!();
    let file = in_tree(FOLDER).join("alertmanager.yml");
    let output = output_of("amtool", &[Path::new("check-config"), &file]).unwrap();
    assert!(output.contains("SUCCESS"), "{output}");
    let config = format!("--config.file={}", file.display());
    for severity in ["critical", "warning"] {
        let label = format!("severity={severity}");
        let args = ["config", "routes", "test", &config, &label].map(Path::new);
        let receiver = output_of("amtool", &args).unwrap();
        assert_eq!(receiver.lines().next(), Some(severity));
    }
}

/// Returns the settings of a node that an example names in its head.
fn settings_in(text: &str) -> String {
    let lines = text.lines().filter_map(|line| line.strip_prefix("#     "));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_examples_name_the_settings_with_which_another_host_can_scrape() {
    let dir = tempfile::tempdir().unwrap();
    let load = |text: &str| {
        let file = dir.path().join("agent.toml");
        fs::write(&file, text).unwrap();
        Settings::load(Some(&file), Vec::new())
    };
    for (name, is_open) in [("prometheus.yml", false), ("prometheus-open.yml", true)] {
        let text = fs::read_to_string(in_tree(FOLDER).join(name)).unwrap();
        let example = settings_in(&text);
        let settings = load(&example).unwrap_or_else(|error| panic!("{name}: {error}\n{example}"));
        let server = &settings.server;
        let host = server.host_names.first().unwrap();
        assert!(text.contains(&format!("- '{host}:7811'\n")), "{name}: {host} is no target");
        assert!(example.contains("\"192.0.2.11:7811\""), "{name}: loopback only");
        assert_eq!((server.open_metrics, server.insecure_http), (is_open, is_open), "{name}");
        assert_eq!(server.tls.is_some(), !is_open, "{name}");
        assert_eq!(settings.auth.tokens_file.is_some(), !is_open, "{name}");
        // Each of them is needed.
        let without = match is_open {
            true => example.replace("insecure_http = true", ""),
            false => example.split("[server.tls]").next().unwrap().to_owned(),
        };
        assert!(load(&without).is_err(), "{name}: {without}");
    }
}
