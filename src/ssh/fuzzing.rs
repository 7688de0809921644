//! Entry points for the fuzzer (`make fuzz`) to the parsers of bytes that peers and operators send.
//! Each entry point checks an invariant for any input and panics if it does not hold. The module
//! exists only in builds for fuzzing.

use crate::common::MAX_QUOTED;
use crate::model::Secret;

use super::auth::key_format;
use super::host::{identity, local_keys, sftp};
use super::session::transcript::Witness;

/// Feeds the first bytes of a connection to the transcript, in one piece and in pieces of up to 7.
pub fn a_server_introduces_itself(bytes: &[u8]) {
    let (whole, pieces) = (Witness::default(), Witness::default());
    whole.hears(bytes);
    bytes.chunks(7).for_each(|piece| pieces.hears(piece));
    assert_eq!((whole.speaks(), whole.said()), (pieces.speaks(), pieces.said()));
    assert!(whole.said().len() <= MAX_QUOTED && is_printable(&whole.said()));
}

/// Parses bytes that arrive on an SFTP channel.
pub fn sftp_is_answered(bytes: &[u8]) {
    let mut received = bytes.to_vec();
    loop {
        let before = received.len();
        let sftp::Parsed::Packet(_) = sftp::packet(&mut received) else { break };
        // A packet has at least a length and a type.
        assert!(received.len() + 5 <= before);
    }
}

/// Parses the text of a file that identifies a host.
pub fn a_file_is_read_there(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some(id) = identity::boot_id(&text) {
        assert_eq!(identity::boot_id(&id), Some(id));
    }
    if let Some(id) = identity::marker_id(&text) {
        assert_eq!(id.len(), 32);
    }
    let _ = local_keys::blob(&text);
}

/// Parses the text of a private key for a store.
pub fn a_private_key_is_given(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some(armoured) = key_format::Armoured::of(&text) {
        let _ = armoured.afford();
    }
    // Without a passphrase no expensive key derivation runs.
    let _ = super::auth::private_key::read(&Secret::new(text.into_owned()), None);
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, 0x20..0x7f))
}
