//! Fuzz target of the parser `ssh_banner`.
#![no_main]

use imagestore_agent::fuzzing::fuzz_parser;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_parser("ssh_banner", data));
