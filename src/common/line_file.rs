//! Files of one entry a line. Empty lines, lines that start with `#` and a byte order mark are
//! skipped.

/// Parses each entry of the text. White space around an entry is removed before it is parsed.
///
/// # Errors
/// Every line that `parse` rejects: its number from 1, and the error.
pub fn parse_lines<T, E>(
    text: &str,
    mut parse: impl FnMut(&str) -> Result<T, E>,
) -> Result<Vec<T>, Vec<(usize, E)>> {
    let (mut entries, mut rejected) = (Vec::new(), Vec::new());
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (line, number) in text.lines().map(str::trim).zip(1..) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match parse(line) {
            Ok(entry) => entries.push(entry),
            Err(error) => rejected.push((number, error)),
        }
    }
    if rejected.is_empty() { Ok(entries) } else { Err(rejected) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_trimmed_and_comments_and_empty_lines_skipped() {
        let parsed = parse_lines("# numbers\n\n 1 \r\n#2\n 3#\t4", |line| line.parse::<u8>());
        assert_eq!(parsed.unwrap_err().iter().map(|(line, _)| *line).collect::<Vec<_>>(), [5]);
        assert_eq!(parse_lines("# numbers\n\n 1 \r\n  # 2\n3", str::parse), Ok(vec![1, 3]));
        assert_eq!(parse_lines("# none\n", str::parse::<u8>), Ok(vec![]));
        for marked in ["\u{feff}1\n3", "\u{feff}# numbers\n1\n3\n", "\u{feff}\r\n1\r\n3"] {
            assert_eq!(parse_lines(marked, str::parse), Ok(vec![1, 3]), "{marked:?}");
        }
    }
}
