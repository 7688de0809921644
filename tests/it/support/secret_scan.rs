//! A search for secrets in everything that a program has written, in every form that a secret may
//! take.

use std::fmt::Write as _;
use std::path::Path;

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};

/// The texts that a program has written, each with its place.
#[derive(Default)]
pub(crate) struct SecretScan(Vec<(String, String)>);

impl SecretScan {
    /// Adds a text, or bytes that contain secrets as text.
    pub(crate) fn add(&mut self, place: impl Into<String>, text: impl AsRef<[u8]>) {
        self.0.push((place.into(), String::from_utf8_lossy(text.as_ref()).into_owned()));
    }

    /// Adds every file of a directory, except those that hold the secrets themselves.
    pub(crate) fn add_files(&mut self, when: &str, dir: &Path, but: &[&str]) {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let is_file = entry.file_type().unwrap().is_file();
            if is_file && !but.iter().any(|name| *name == entry.file_name()) {
                let place = format!("{:?} {when}", entry.path());
                self.add(place, std::fs::read(entry.path()).unwrap());
            }
        }
    }

    /// Returns true if a place whose name begins so contains this text. A search that finds nothing
    /// at all proves nothing.
    pub(crate) fn contains(&self, place: &str, text: &str) -> bool {
        let mut there = self.0.iter().filter(|(found, _)| found.starts_with(place));
        there.any(|(_, there)| there.contains(text))
    }

    /// Panics if the secret is found in any form, with the place and never with the secret.
    pub(crate) fn assert_absent(&self, name: &str, secret: &str) {
        assert!(secret.len() > 8, "{name} is too short for a search");
        for (form, spelled) in forms(secret) {
            for (place, text) in &self.0 {
                assert!(!text.contains(&spelled), "{name} is in {place}, {form}");
            }
        }
    }
}

fn forms(secret: &str) -> Vec<(&'static str, String)> {
    let bytes = secret.as_bytes();
    let json = serde_json::to_string(secret).unwrap();
    let json = json[1..json.len() - 1].to_owned();
    let decimal: Vec<String> = bytes.iter().map(u8::to_string).collect();
    let mut forms = vec![
        ("raw", secret.to_owned()),
        ("as Rust shows it", format!("{secret:?}").trim_matches('"').to_owned()),
        ("as JSON in JSON", serde_json::to_string(&json).unwrap().trim_matches('"').to_owned()),
        ("as ASCII JSON", ascii(&json)),
        ("as JSON", json),
        ("percent-encoded", percent(bytes, |b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b))),
        ("percent-encoded but for what a path holds", percent(bytes, |b| b.is_ascii_graphic())),
        ("as a form", percent(bytes, |b| b.is_ascii_alphanumeric() || b == b' ').replace(' ', "+")),
        ("in hex", HEXLOWER.encode(bytes)),
        ("in capital hex", HEXUPPER.encode(bytes)),
        ("in numbers", decimal.join(", ")),
        ("in JSON numbers", decimal.join(",")),
    ];
    // Inside a longer text the groups of three bytes begin at one of three offsets; the groups
    // shared with the surrounding text are left out.
    for shift in 0..3 {
        let inner = &bytes[(3 - shift) % 3..];
        let whole = &inner[..inner.len() - inner.len() % 3];
        forms.push(("in base64", BASE64_NOPAD.encode(whole)));
        forms.push(("in base64 of URLs", BASE64URL_NOPAD.encode(whole)));
    }
    forms
}

fn percent(bytes: &[u8], is_plain: impl Fn(u8) -> bool) -> String {
    let mut text = String::new();
    for byte in bytes {
        if is_plain(*byte) {
            text.push(char::from(*byte));
        } else {
            write!(text, "%{byte:02X}").unwrap();
        }
    }
    text
}

fn ascii(json: &str) -> String {
    let mut text = String::new();
    for unit in json.encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() => text.push(char::from(byte)),
            _ => write!(text, "\\u{unit:04x}").unwrap(),
        }
    }
    text
}
