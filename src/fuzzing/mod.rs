//! Layer 11. Every parser of bytes that come from outside, under the name of its fuzz target.
//!
//! The fuzzer (`make fuzz`) and the tests of this module use the same functions. Each of them
//! checks properties that hold for every input, and panics if one does not. The module exists only
//! in a build for fuzzing or for tests.
//!
//! # Guarantees
//! - Each parser has a target in `fuzz/fuzz_targets` and seeds in `fuzz/seeds`.

mod messages;
#[cfg(test)]
mod tests;

use crate::{cli, http, ledger, probe, ssh};

/// A function that parses bytes of others.
pub type FuzzedParser = fn(&[u8]);

/// The parsers and their names.
pub const PARSERS: [(&str, FuzzedParser); 21] = [
    ("access_file", http::fuzzing::fuzz_access_file),
    ("agent_command", messages::fuzz_agent_command),
    ("event_stream", cli::fuzzing::fuzz_event_stream),
    ("forwarded_for", http::fuzzing::fuzz_forwarded_for),
    ("hook_url", messages::fuzz_hook_url),
    ("ledger_row", ledger::fuzzing::fuzz_ledger_row),
    ("marker", probe::fuzzing::fuzz_marker),
    ("master_key", ledger::fuzzing::fuzz_master_key),
    ("mountinfo", probe::fuzzing::fuzz_mountinfo),
    ("peer_text", messages::fuzz_peer_text),
    ("query_string", http::fuzzing::fuzz_query_string),
    ("receiver_reply", messages::fuzz_receiver_reply),
    ("request_body", messages::fuzz_request_body),
    ("request_target", http::fuzzing::fuzz_request_target),
    ("signing_secrets", messages::fuzz_signing_secrets),
    ("ssh_banner", ssh::fuzzing::fuzz_banner),
    ("ssh_key_exchange", ssh::fuzzing::fuzz_key_exchange),
    ("ssh_private_key", ssh::fuzzing::fuzz_private_key),
    ("ssh_remote_file", ssh::fuzzing::fuzz_remote_file),
    ("ssh_sftp_packets", ssh::fuzzing::fuzz_sftp_packets),
    ("worker_frame", probe::fuzzing::fuzz_worker_frame),
];

/// Parses the bytes with the parser of this name.
pub fn fuzz_parser(name: &str, bytes: &[u8]) {
    let parser = PARSERS.iter().find(|(known, _)| *known == name).map(|(_, parser)| *parser);
    assert!(parser.is_some(), "no parser has the name {name}");
    parser.into_iter().for_each(|parser| parser(bytes));
}
