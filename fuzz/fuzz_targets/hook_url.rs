//! Fuzz target of the parser `hook_url`.
#![no_main]

use imagestore_agent::fuzzing::fuzz_parser;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_parser("hook_url", data));
