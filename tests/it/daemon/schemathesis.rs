//! Requests that schemathesis makes from `docs/openapi.json`, against a real daemon with a store:
//! valid ones, and ones that are wrong in each way that a schema can be.
//!
//! `make schemathesis` makes many more of them than this run.

use std::path::Path;
use std::process::Command;

use crate::support::agent::{Agent, TOKEN};
use crate::support::filesystems::MountedFs;
use crate::support::requirements::{is_installed, needs_root};
use crate::support::sshd::{Builder, User};

/// Number of random requests to each operation, beside those that are made of the examples and the
/// limits of the schemas. The variable sets a larger one.
fn request_count() -> String {
    std::env::var("SCHEMATHESIS_REQUESTS").unwrap_or_else(|_| "5".to_owned())
}

#[tokio::test]
async fn no_request_gets_an_undocumented_response() {
    needs_root!();
    let tree = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = tree.join("target/schemathesis/bin/schemathesis");
    if !is_installed(&program, std::any::type_name_of_val(&here)) {
        return;
    }
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), "[monitor]\ninterval = \"1h\"\n");
    let more = "[server]\nagent_allow = [\"127.0.0.0/8\"]\n";
    agent.configure(&agent.settings().replacen("[server]\n", more, 1));
    agent.start();
    let store = agent.add(&disk.path(), &sshd, &user).await;
    let output = Command::new(program)
        .current_dir(agent.path("."))
        .env("SCHEMATHESIS_TOKEN", TOKEN)
        .env("SCHEMATHESIS_STORE", &store)
        .arg("--config-file")
        .arg(tree.join("tests/schemathesis/schemathesis.toml"))
        .arg("run")
        .arg(tree.join("docs/openapi.json"))
        .args(["--url", &format!("http://{}", agent.address())])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", &request_count()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
}
