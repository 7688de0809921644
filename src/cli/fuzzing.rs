//! Entry point of the fuzzer to the parser of the streams that a command follows.

use super::event_stream::{BlockReader, InvalidBlock, StreamBlock};
use super::output::events::format_event;
use super::output::phases::format_phase;
use crate::common::is_hidden;

/// Number of bytes of the pieces in which a stream is read.
const PIECE_BYTES: [usize; 3] = [1, 7, 4096];

/// Reads the bytes as a stream, at once and in pieces. Where they are cut changes nothing, and what
/// is shown of an event is one line without hidden characters.
pub fn fuzz_event_stream(bytes: &[u8]) {
    let whole = read_blocks([bytes].into_iter());
    // A reader that gets single bytes searches each of them, so that a long stream is cut once.
    let sizes = if bytes.len() > 4096 { &PIECE_BYTES[2..] } else { &PIECE_BYTES[..] };
    for size in sizes {
        assert_eq!(read_blocks(bytes.chunks(*size)), whole, "in pieces of {size} bytes");
    }
    for event in whole.0.iter().filter_map(|block| block.event.as_ref()) {
        assert!(event.is_object());
        for line in [format_event(event), format_phase(event, Some("images"))] {
            let text = line.strip_suffix('\n').unwrap_or("\n");
            assert!(!text.contains(is_hidden), "{text:?}");
        }
    }
}

/// Returns the blocks up to the end of the bytes or to an invalid block, and true for the latter.
fn read_blocks<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<StreamBlock>, bool) {
    let (mut reader, mut blocks) = (BlockReader::default(), Vec::new());
    for piece in pieces {
        reader.add(piece);
        loop {
            match reader.next_block() {
                Ok(Some(block)) => blocks.push(block),
                Ok(None) => break,
                Err(InvalidBlock) => return (blocks, true),
            }
        }
    }
    (blocks, false)
}
