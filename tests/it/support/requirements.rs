//! Requirements of tests: root, and programs of Debian packages.

use std::ffi::OsStr;
use std::fmt::Debug;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

/// Variable with the path of the file that gets a line for each skipped test. The runner hides the
/// output of a test that passes.
const SKIPPED: &str = "SKIPPED_TESTS";

/// Returns true if this process is root. Without root the test prints that it is skipped; in CI it
/// fails. `inside` is the full name of an item in the test.
pub(crate) fn is_root(inside: &str) -> bool {
    let has_root = nix::unistd::geteuid().is_root();
    if !has_root {
        skip(inside, "root");
    }
    has_root
}

/// Returns true if a program that `make test` installs is there. Otherwise the same happens as
/// without root.
pub(crate) fn is_installed(program: &Path, inside: &str) -> bool {
    let is_there = program.exists();
    if !is_there {
        skip(inside, &program.display().to_string());
    }
    is_there
}

fn skip(inside: &str, missing: &str) {
    let inside = inside.trim_end_matches("::here").trim_end_matches("::{{closure}}");
    let test = inside.split_once("::").map_or(inside, |(_, test)| test);
    let in_ci = std::env::var_os("CI").is_some();
    assert!(!in_ci, "{test} needs {missing}, and CI is to run every test");
    eprintln!("skipped: {test} needs {missing}");
    if let Some(file) = std::env::var_os(SKIPPED) {
        let file = OpenOptions::new().create(true).append(true).open(file);
        // One write, so that lines of parallel tests do not mix.
        file.unwrap().write_all(format!("{test}: needs {missing}\n").as_bytes()).unwrap();
    }
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
