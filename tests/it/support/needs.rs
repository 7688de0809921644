//! What a test cannot do without.

use std::ffi::OsStr;
use std::fmt::Debug;

/// Whether this process is root; without it a test says why it is skipped, and CI runs them all.
pub(crate) fn is_root(test: &str) -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "{test} needs root, and CI is to run every test");
    eprintln!("skipped: {test} needs root");
    false
}

/// Leaves the test, with the reason on stderr, when it is not run by root.
macro_rules! needs_root {
    () => {
        if !$crate::support::needs::is_root(module_path!()) {
            return;
        }
    };
}
pub(crate) use needs_root;

/// Runs a program to its end and gives what it printed; fails with what it complained of.
pub(crate) fn run<A: AsRef<OsStr> + Debug>(program: &str, args: &[A]) -> String {
    let output = std::process::Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; `make packages`"));
    assert!(
        output.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
