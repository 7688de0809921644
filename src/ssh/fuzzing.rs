//! Entry points of the fuzzer to the parsers of bytes that SSH servers send, and of private keys.

use crate::common::{MAX_QUOTED, is_hidden};
use crate::model::Secret;

use super::auth::key_format::EncodedKey;
use super::auth::private_key;
use super::host::{self, local_keys, sftp};
use super::session::kex_sizes;
use super::session::transcript::PeerTranscript;

/// Records the first bytes of a connection, at once and in pieces of up to 7.
pub fn fuzz_banner(bytes: &[u8]) {
    let (whole, pieces) = (PeerTranscript::default(), PeerTranscript::default());
    whole.record(bytes);
    bytes.chunks(7).for_each(|piece| pieces.record(piece));
    assert_eq!((whole.protocol(), whole.first_line()), (pieces.protocol(), pieces.first_line()));
    let line = whole.first_line();
    assert!(line.chars().count() <= MAX_QUOTED && !line.contains(is_hidden));
}

/// Reads the sizes of a host key and of a group, and a disconnect, from the packets of a key
/// exchange.
pub fn fuzz_key_exchange(bytes: &[u8]) {
    let size = kex_sizes::rsa_key_size(bytes);
    let sizes = [
        size.map(|size| size.modulus),
        size.map(|size| size.exponent),
        kex_sizes::group_bits(bytes),
    ];
    assert!(sizes.into_iter().flatten().all(|bits| bits > 0 && bits <= bytes.len() * 8));
    let disconnect = kex_sizes::disconnect_message(bytes);
    assert!(disconnect.is_none_or(|(_, message)| message.len() < bytes.len()));
}

/// Parses the packets of a channel that was opened for SFTP.
pub fn fuzz_sftp_packets(bytes: &[u8]) {
    let mut received = bytes.to_vec();
    loop {
        let before = received.len();
        let sftp::ParsedPacket::Packet(_) = sftp::parse_packet(&mut received) else { break };
        // A packet has a length and a type at least.
        assert!(received.len() + 5 <= before);
    }
}

/// Parses the text of a remote file that identifies a host.
pub fn fuzz_remote_file(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some(id) = host::boot_id(&text) {
        assert_eq!(host::boot_id(&id), Some(id));
    }
    if let Some(id) = host::marker_id(&text) {
        assert_eq!(id.len(), 32);
    }
    let _ = local_keys::key_blob(&text);
}

/// Parses the text of a private key.
pub fn fuzz_private_key(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some(key) = EncodedKey::from_text(&text) {
        let _ = key.check_kdf_cost();
    }
    // Without a passphrase nothing is computed that could take long.
    let _ = private_key::read_key(&Secret::new(text.into_owned()), None);
}
