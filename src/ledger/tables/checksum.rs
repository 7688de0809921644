//! A checksum for each row. It detects rows that a disk error or a manual edit has changed.

use ring::digest::{Context, SHA256};

/// Returns the first eight bytes of the SHA-256 of the columns. The length of each column precedes
/// it, so that no two rows have the same encoding.
pub(crate) fn row_checksum(columns: &[&[u8]]) -> [u8; 8] {
    let mut context = Context::new(&SHA256);
    for column in columns {
        let length = u64::try_from(column.len()).unwrap_or(u64::MAX);
        context.update(&length.to_be_bytes());
        context.update(column);
    }
    let mut sum = [0; 8];
    for (to, from) in sum.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::row_checksum;

    #[test]
    fn columns_do_not_run_into_each_other() {
        assert_ne!(row_checksum(&[b"ab", b"c"]), row_checksum(&[b"a", b"bc"]));
        assert_ne!(row_checksum(&[b"ab"]), row_checksum(&[b"ab", b""]));
        assert_eq!(row_checksum(&[b"ab"]), row_checksum(&[b"ab"]));
    }
}
