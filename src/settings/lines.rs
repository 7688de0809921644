//! The lines of the keys in a settings file, for the faults that name them.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

/// Maximum depth of the tables whose keys are located. No known key is deeper.
const MAX_DEPTH: usize = 4;

/// A settings file, and the line of each of its keys.
#[derive(Debug)]
pub(super) struct FileOrigin<'a> {
    path: &'a str,
    lines: BTreeMap<String, usize>,
}

impl<'a> FileOrigin<'a> {
    /// Locates the keys of the text of the file. A text that is not TOML has no keys.
    pub(super) fn new(path: &'a str, text: &str) -> Self {
        let mut lines = BTreeMap::new();
        if let Ok(table) = DeTable::parse(text) {
            let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
            locate_keys("", table.get_ref(), 1, &ends, &mut lines);
        }
        Self { path, lines }
    }

    /// Returns the origin of a key: the line, if it is known, and the file.
    pub(super) fn of_key(&self, key: &str) -> String {
        match self.lines.get(key) {
            Some(line) => format!("line {line} of {}", self.path),
            None => self.path.to_owned(),
        }
    }
}

/// Adds the lines of the keys of a table and of the tables in it. `ends` has the positions of the
/// ends of the lines.
fn locate_keys(
    above: &str,
    table: &DeTable<'_>,
    depth: usize,
    ends: &[usize],
    lines: &mut BTreeMap<String, usize>,
) {
    for (name, value) in table {
        let key = match above {
            "" => name.get_ref().to_string(),
            above => format!("{above}.{}", name.get_ref()),
        };
        let line = ends.partition_point(|end| *end < name.span().start) + 1;
        if let DeValue::Table(inner) = value.get_ref()
            && depth < MAX_DEPTH
        {
            locate_keys(&key, inner, depth + 1, ends, lines);
        }
        lines.entry(key).or_insert(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_located_in_each_form_of_a_table() {
        let text = "a = 1\n[server]\nlisten = [\n \"x\",\n]\ntls = { cert = \"/c\",\n key = 2 }\n\n\
                    state.dir = 3\n[callback]\r\nurl = 7\n[x.y]\nz = 1\n";
        let origin = FileOrigin::new("/agent.toml", text);
        for (key, expected) in [
            ("a", 1),
            ("server", 2),
            ("server.listen", 3),
            ("server.tls", 6),
            ("server.tls.cert", 6),
            ("server.tls.key", 7),
            ("server.state.dir", 9),
            ("callback.url", 11),
            ("x.y.z", 13),
        ] {
            assert_eq!(origin.of_key(key), format!("line {expected} of /agent.toml"), "{key}");
        }
        assert_eq!(origin.of_key("absent"), "/agent.toml");
        assert_eq!(FileOrigin::new("/f", "a = [").of_key("a"), "/f");
    }
}
