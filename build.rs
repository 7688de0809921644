//! Gives the linker the order of the functions of the program (docs/decisions/0007-function-order.md).

#![expect(clippy::disallowed_macros, reason = "cargo reads the standard output of this program")]

use std::env;

const ORDER: &str = "layout/functions.ld";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={ORDER}");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    // The linker of these systems is LLD, which comes with the compiler. Others have not been tried.
    let is_tried = is("CARGO_CFG_TARGET_ARCH", "x86_64") && is("CARGO_CFG_TARGET_ENV", "gnu");
    // The profile is "release" for all profiles that inherit from it.
    if is("PROFILE", "release")
        && is_tried
        && let Ok(root) = env::var("CARGO_MANIFEST_DIR")
    {
        println!("cargo::rustc-link-arg-bin=imagestore-agent=-Wl,--script={root}/{ORDER}");
    }
}
