//! Requirements of tests: root, and programs of Debian packages.

use std::ffi::OsStr;
use std::fmt::Debug;
use std::fs::OpenOptions;
use std::io::Write as _;

/// Variable with the path of the file that gets a line for each skipped test. The runner hides the
/// output of a test that passes.
const SKIPPED: &str = "SKIPPED_TESTS";

/// Returns true if this process is root. Without root the test prints that it is skipped; in CI it
/// fails. `inside` is the full name of an item in the test.
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
        // One write, so that lines of parallel tests do not mix.
        file.unwrap().write_all(format!("{test}: needs root\n").as_bytes()).unwrap();
    }
    false
}

/// Returns from the test with a message if it does not run as root.
macro_rules! needs_root {
    () => {
        fn here() {}
        if !$crate::support::requirements::is_root(std::any::type_name_of_val(&here)) {
            return;
        }
    };
}
pub(crate) use needs_root;

/// Runs a program to its end and returns its output. Panics with its error output if it fails.
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
