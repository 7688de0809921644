//! The redaction of a text.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use data_encoding::HEXLOWER;
use ring::hmac;

use super::words::{is_plain, is_word_char};
use crate::common::Timestamp;

/// The number of bytes of a hash that are shown. 4 tell the texts of one report apart.
const HASH_BYTES: usize = 4;
/// The maximum number of characters between two words that are shown.
const MAX_PUNCTUATION: usize = 3;
/// The length of a SHA-256 fingerprint in base64.
const FINGERPRINT_CHARS: usize = 43;
/// Characters around a word that do not belong to it.
const PUNCTUATION: &[char] =
    &['(', ')', '[', ']', '{', '}', ',', ';', ':', '.', '!', '?', '\'', '`'];

/// The redactor of one report.
#[derive(Debug)]
pub struct Redactor {
    key: hmac::Key,
    known: HashSet<String>,
}

impl Redactor {
    /// Creates a redactor. `salt` is the random key of the report. `known` are the names, paths and
    /// hosts that the report shows anyway.
    pub fn new(salt: [u8; 32], known: impl IntoIterator<Item = String>) -> Self {
        // What is empty or very short would let parts of other words pass.
        let known = known.into_iter().filter(|text| text.len() > 1).collect();
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &salt), known }
    }

    /// Returns what stands for a text that is left out: its length in characters, and a short keyed
    /// hash.
    pub fn hide(&self, text: &str) -> String {
        let tag = hmac::sign(&self.key, text.as_bytes());
        let short = tag.as_ref().iter().take(HASH_BYTES).copied().collect::<Vec<u8>>();
        format!("<{}:{}>", text.chars().count(), HEXLOWER.encode(&short))
    }

    /// Returns the text without the parts that may not be shown. Everything in quotes is left out,
    /// from the first quote to the last, because a text of a peer may contain quotes.
    pub fn text(&self, text: &str) -> String {
        self.text_without(text, std::iter::empty())
    }

    /// Returns the text as [`Redactor::text`] does, without these texts of peers. A quote in a text
    /// of a peer is no quote of this program.
    pub fn text_without<'a>(&self, text: &str, peers: impl Iterator<Item = &'a str>) -> String {
        let mut peers: Vec<&str> = peers.filter(|peer| !peer.is_empty()).collect();
        // A longer one may contain a shorter one.
        peers.sort_by_key(|peer| std::cmp::Reverse(peer.len()));
        // The quotes around the texts of peers, which stay at their places.
        let masked = peers
            .iter()
            .fold(text.to_owned(), |masked, peer| masked.replace(peer, &"\0".repeat(peer.len())));
        let split = |at: Option<usize>| at.and_then(|at| text.split_at_checked(at));
        let (first, last) = (masked.find('"'), masked.rfind('"'));
        let Some((before, rest)) = split(first) else { return self.words(text, &peers) };
        let before = self.words(before, &peers);
        let rest = rest.strip_prefix('"').unwrap_or(rest);
        let Some((_, after)) = split(last.filter(|_| first != last)) else {
            return format!("{before}\"{}", self.hide(rest));
        };
        let quoted = rest.strip_suffix(after).unwrap_or(rest);
        let after = after.strip_prefix('"').unwrap_or(after);
        let quoted = match self.known.contains(quoted) {
            true => quoted.to_owned(),
            false => self.hide(quoted),
        };
        format!("{before}\"{quoted}\"{}", self.words(after, &peers))
    }

    /// Returns a URL without user information, query and fragment. The parts of its path are shown
    /// as those of a text. A URL with an `@` is left out, because it may have user information.
    pub fn url(&self, url: &str) -> String {
        let visible = url.split(['?', '#']).next().unwrap_or_default();
        let parts = visible.split_once("://").filter(|_| !url.contains('@'));
        let Some((scheme, rest)) = parts.filter(|(scheme, _)| is_plain(scheme)) else {
            return self.hide(url);
        };
        let (host, path) = match rest.split_once('/') {
            Some((host, path)) => (host, format!("/{}", self.components(path))),
            None => (rest, String::new()),
        };
        let host = match self.is_known_host(host) {
            true => host.to_owned(),
            false => self.hide(host),
        };
        let cut = if visible.len() < url.len() { "?..." } else { "" };
        format!("{scheme}://{host}{path}{cut}")
    }

    /// Returns a path. The part that is known is shown, and the names below it as those of a text.
    pub fn path(&self, path: &str) -> String {
        let mut ancestors = Path::new(path).ancestors().filter_map(Path::to_str);
        let known = ancestors.find(|ancestor| self.known.contains(*ancestor));
        match known.and_then(|known| Some((known, path.strip_prefix(known)?))) {
            Some((known, below)) => format!("{known}{}", self.components(below)),
            None => self.components(path),
        }
    }

    /// Returns true if the text is an address, or a known host, with or without a port.
    fn is_known_host(&self, text: &str) -> bool {
        let host = match text.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => host,
            _ => text,
        };
        let is_address = text.parse::<SocketAddr>().is_ok()
            || text.parse::<IpAddr>().is_ok()
            || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        is_address || host == "localhost" || self.known.contains(host) || self.known.contains(text)
    }

    fn components(&self, path: &str) -> String {
        path.split('/').map(|name| self.shown_or_hidden(name)).collect::<Vec<_>>().join("/")
    }

    /// Returns the text word by word. `peers` are texts of peers in it, the longest first.
    fn words(&self, text: &str, peers: &[&str]) -> String {
        if let Some((peer, shorter)) = peers.split_first() {
            let parts = text.split(peer).map(|part| self.words(part, shorter));
            return parts.collect::<Vec<_>>().join(&self.hide(peer));
        }
        text.split(' ').map(|token| self.token(token)).collect::<Vec<_>>().join(" ")
    }

    fn token(&self, token: &str) -> String {
        if self.known.contains(token) {
            return token.to_owned();
        }
        let core = token.trim_matches(PUNCTUATION);
        let Some((before, after)) = token.split_once(core).filter(|_| !core.is_empty()) else {
            return self.shown_or_hidden(token);
        };
        let is_short = |edge: &str| edge.chars().count() <= MAX_PUNCTUATION;
        if !is_short(before) || !is_short(after) {
            return self.hide(token);
        }
        format!("{before}{}{after}", self.core(core))
    }

    fn core(&self, core: &str) -> String {
        let is_shown = self.known.contains(core)
            || is_fingerprint(core)
            || core.parse::<Timestamp>().is_ok()
            || self.is_known_host(core);
        if is_shown {
            core.to_owned()
        } else if core.contains("://") {
            self.url(core)
        } else if core.starts_with('/') {
            self.path(core)
        } else {
            self.shown_or_hidden(core)
        }
    }

    /// Returns the text if all of its words are plain. Of a text in a script without blanks, each
    /// part is decided on its own.
    fn shown_or_hidden(&self, text: &str) -> String {
        let runs = split_runs(text);
        let is_shown = |run: &&str| match run.starts_with(is_word_char) {
            true => is_plain(run),
            false => run.chars().count() <= MAX_PUNCTUATION,
        };
        if runs.iter().all(is_shown) {
            return text.to_owned();
        }
        if text.is_ascii() {
            return self.hide(text);
        }
        let part = |run: &&str| if is_shown(run) { (*run).to_owned() } else { self.hide(run) };
        runs.iter().map(part).collect()
    }
}

/// Returns true if the text is the SHA-256 fingerprint of a key.
pub(super) fn is_fingerprint(text: &str) -> bool {
    let is_base64 = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/');
    text.strip_prefix("SHA256:")
        .is_some_and(|hash| hash.len() == FINGERPRINT_CHARS && hash.bytes().all(is_base64))
}

/// Splits a text into its words and the characters between them. ASCII and other scripts are
/// different words, because Chinese is written without blanks.
fn split_runs(text: &str) -> Vec<&str> {
    let kind = |c: char| (is_word_char(c), c.is_ascii());
    let mut runs = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| kind(c) != kind(first)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        runs.push(run);
        rest = after;
    }
    runs
}
