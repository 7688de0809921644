//! Fuzz target of the parser `event_stream`.
#![no_main]

use imagestore_agent::fuzzing::fuzz_parser;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz_parser("event_stream", data));
