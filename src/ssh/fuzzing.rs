//! The doors of a fuzzer (`make fuzz`) to what this module reads of others' bytes. Each checks what must
//! hold whatever they are, and panics where it does not; there only in a build for fuzzing.

use crate::common::MAX_QUOTED;
use crate::model::Secret;

use super::auth::key_format;
use super::host::{identity, local_keys, sftp};
use super::session::transcript::Witness;

/// The first bytes of a connection, in pieces of up to 7.
pub fn a_server_introduces_itself(bytes: &[u8]) {
    let (whole, pieces) = (Witness::default(), Witness::default());
    whole.hears(bytes);
    bytes.chunks(7).for_each(|piece| pieces.hears(piece));
    assert_eq!((whole.speaks(), whole.said()), (pieces.speaks(), pieces.said()));
    assert!(whole.said().len() <= MAX_QUOTED && is_printable(&whole.said()));
}

/// What comes on a channel that was asked for SFTP.
pub fn sftp_is_answered(bytes: &[u8]) {
    let mut received = bytes.to_vec();
    loop {
        let before = received.len();
        let sftp::Parsed::Packet(_) = sftp::packet(&mut received) else { break };
        // A length and a type at least.
        assert!(received.len() + 5 <= before);
    }
}

/// What stands in a file that tells hosts apart.
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

/// The text of a key that is to be a store's.
pub fn a_private_key_is_given(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some(armoured) = key_format::Armoured::of(&text) {
        let _ = armoured.afford();
    }
    // Without a passphrase nothing is computed that could take long.
    let _ = super::auth::private_key::read(&Secret::new(text.into_owned()), None);
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, 0x20..0x7f))
}
