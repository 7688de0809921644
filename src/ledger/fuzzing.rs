//! Entry points of the fuzzer to the parsers of the state directory.

use super::codec::{Persist, decode_row, encode_row};
use super::sealer::parse_key;
use super::tables::contents::check_parsed;
use crate::lifecycle::{DurableRecord, HistoryEntry};
use crate::model::{LoginRejections, Notice, Store, TrialRejections};

/// Decodes a row as each kind of record.
pub fn fuzz_ledger_row(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    check_row::<Store>(&text);
    check_row::<DurableRecord>(&text);
    check_row::<Notice>(&text);
    check_row::<HistoryEntry>(&text);
    check_row::<LoginRejections>(&text);
    check_row::<TrialRejections>(&text);
    check_parsed(&text);
}

/// Parses the file of the master key.
pub fn fuzz_master_key(bytes: &[u8]) {
    let _ = parse_key(bytes);
}

/// A row that decodes is written as a row that decodes to the same value.
fn check_row<T: Persist>(text: &str) {
    let Ok(value) = decode_row::<T>(text) else { return };
    let written = encode_row(&value);
    assert!(written.is_ok());
    let written = written.unwrap_or_default();
    let again = decode_row::<T>(&written).and_then(|value| encode_row(&value));
    assert_eq!(again.ok(), Some(written));
}
