//! The profile `watch` of `compose.yaml`, as far as it can be checked without an engine.

use std::fs;
use std::path::Path;
use std::process::Command;

use imagestore_agent::settings::Settings;

use super::programs::{in_tree, needs_prometheus, output_of};
use crate::support::requirements::is_installed;

const NO_VARIABLES: [(String, String); 0] = [];

/// The services of the profile, each with the files that it gets from the repository.
const SERVICES: [(&str, &[&str]); 3] = [
    (
        "prometheus",
        &["deploy/compose/prometheus.yml", "deploy/prometheus/imagestore-agent.rules.yml"],
    ),
    ("alertmanager", &["deploy/prometheus/alertmanager.yml"]),
    ("grafana", &["deploy/compose/grafana", "deploy/grafana/imagestore-agent.json"]),
];

/// Returns the lines of one service in the output of `docker-compose config`.
fn service<'a>(config: &'a str, name: &str) -> Vec<&'a str> {
    let head = format!("  {name}:");
    let lines = config.lines().skip_while(|line| *line != head).skip(1);
    lines.take_while(|line| line.starts_with("    ")).map(str::trim).collect()
}

#[test]
fn the_profile_watch_has_pinned_read_only_services() {
    let program = Path::new("/usr/bin/docker-compose");
    fn here() {}
    if !is_installed(program, std::any::type_name_of_val(&here)) {
        return;
    }
    let output = Command::new(program)
        .current_dir(in_tree("."))
        .args(["-f", "compose.yaml", "--profile", "watch", "config"])
        .output()
        .unwrap();
    let config = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for (name, files) in SERVICES {
        let lines = service(&config, name);
        let image = lines.iter().find_map(|line| line.strip_prefix("image: ")).unwrap();
        let (_, tag) = image.rsplit_once(':').unwrap_or_else(|| panic!("{image} has no tag"));
        assert!(tag.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit()), "{image}");
        for line in ["read_only: true", "- ALL", "- no-new-privileges:true", "- watch"] {
            assert!(lines.contains(&line), "{name}: {line}");
        }
        for file in files {
            let path = in_tree(file);
            assert!(path.exists(), "{file}");
            let mount = format!("- {}:", path.display());
            let is_mounted = |line: &&str| line.starts_with(&mount) && line.ends_with(":ro");
            assert!(lines.iter().any(is_mounted), "{name} does not mount {file}");
        }
        // Its port is open on this machine alone.
        assert!(lines.iter().any(|line| line.starts_with("- 127.0.0.1:")), "{name}: {lines:?}");
    }
    for name in ["agent", "node", "receiver"] {
        assert!(!service(&config, name).contains(&"- watch"), "{name} needs the profile");
    }
}

#[test]
fn the_daemon_of_the_profile_lets_prometheus_scrape_it() {
    let settings =
        Settings::load(Some(&in_tree("deploy/compose/agent.toml")), NO_VARIABLES).unwrap();
    let scraped = fs::read_to_string(in_tree("deploy/compose/prometheus.yml")).unwrap();
    let (_, rest) = scraped.split_once("targets: ['node:").unwrap();
    let port: u16 = rest.split('\'').next().unwrap().parse().unwrap();
    assert!(settings.server.open_metrics);
    assert!(settings.server.host_names.iter().any(|name| name == "node"));
    let listens =
        settings.server.listen.iter().any(|it| it.ip().is_unspecified() && it.port() == port);
    assert!(listens, "{:?}", settings.server.listen);
}

#[test]
fn prometheus_accepts_the_configuration_of_the_profile() {
    needs_prometheus!();
    // The container has both files in one folder.
    let dir = tempfile::tempdir().unwrap();
    for file in SERVICES[0].1 {
        fs::copy(in_tree(file), dir.path().join(Path::new(file).file_name().unwrap())).unwrap();
    }
    let file = dir.path().join("prometheus.yml");
    let output = output_of("promtool", &[Path::new("check"), Path::new("config"), &file]);
    let output = output.unwrap_or_else(|output| panic!("{output}"));
    assert!(output.contains("1 rule files found"), "{output}");
}
