//! The command `init`, run as root: the files that it makes belong to the owner of the state
//! directory.

use std::fs;

use crate::support::agent::Agent;

#[test]
fn an_init_clears_away_what_a_killed_one_has_left() {
    let root = tempfile::tempdir().unwrap();
    let agent = Agent::installed(root.path(), "allow_root_disk = true\n");
    fs::create_dir(agent.path("state")).unwrap();
    let init = || {
        let output = agent.cli(&["init", root.path().to_str().unwrap()], "");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    init();
    let folder = root.path().join(".imagestore-agent");
    let left = folder.join(format!("probe.{}", "0".repeat(32)));
    fs::write(&left, b"killed in the middle").unwrap();
    init();
    let names: Vec<_> = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["identity.json"]);
}
