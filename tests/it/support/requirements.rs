//! What a test cannot do without.

use std::ffi::OsStr;
use std::fmt::Debug;
use std::fs::OpenOptions;
use std::io::Write as _;

/// Names the file that collects a line for each skipped test, for whoever shows it at the end: the
/// runner hides what a test that passes prints.
const SKIPPED: &str = "SKIPPED_TESTS";

/// Whether this process is root; without it a test says why it is skipped, and CI runs them all.
/// `inside` is the full name of something inside the test.
pub(crate) fn is_root(inside: &str) -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    let inside = inside.trim_end_matches("::here").trim_end_matches("::{{closure}}");
    let test = inside.split_once("::").map_or(inside, |(_, test)| test);
    assert!(std::env::var_os("CI").is_none(), "{test} needs root, and CI is to run every test");
    eprintln!("skipped: {test} needs root");
    if let Some(file) = std::env::var_os(SKIPPED) {
        let file = OpenOptions::new().create(true).append(true).open(file);
        // In one write, so that lines of tests beside this one do not mix.
        file.unwrap().write_all(format!("{test}: needs root\n").as_bytes()).unwrap();
    }
    false
}

/// Leaves the test when it is not run by root, and says so.
macro_rules! needs_root {
    () => {
        fn here() {}
        if !$crate::support::requirements::is_root(std::any::type_name_of_val(&here)) {
            return;
        }
    };
}
pub(crate) use needs_root;

/// Runs a program to its end and gives what it printed; fails with what it complained of.
pub(crate) fn run<A: AsRef<OsStr> + Debug>(program: &str, args: &[A]) -> String {
    let output = std::process::Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| {
        panic!("{program}: {error}; see `make packages` and `make deploy-packages`")
    });
    assert!(
        output.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
