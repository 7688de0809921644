//! The examples of configurations, accepted by the programs that read them.

use std::fs;
use std::path::Path;

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
