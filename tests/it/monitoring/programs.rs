//! The programs of Prometheus and Alertmanager, which `make test` unpacks from Debian's packages.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the path of one of the programs.
pub(super) fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/prometheus/usr/bin").join(name)
}

/// Returns the path of a file of the repository.
pub(super) fn in_tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Returns from the test with a message if the programs are not unpacked; in CI, it fails.
macro_rules! needs_prometheus {
    () => {
        fn here() {}
        let program = $crate::monitoring::programs::program("prometheus");
        let inside = std::any::type_name_of_val(&here);
        if !$crate::support::requirements::is_installed(&program, inside) {
            return;
        }
    };
}
pub(super) use needs_prometheus;

/// Runs one of the programs to its end. Returns its output, or fails with it.
pub(super) fn output_of(name: &str, args: &[&Path]) -> Result<String, String> {
    let output = Command::new(program(name)).args(args).output().unwrap();
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text += &String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(text) } else { Err(text) }
}
