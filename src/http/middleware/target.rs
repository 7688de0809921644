//! The normal form of the target of a request, for routing, access rules and the log alike.

use axum::http::Uri;
use axum::http::uri::PathAndQuery;

/// Returns the target with a path in which no unreserved character is percent-encoded and each
/// other encoding has upper-case digits. Paths that differ only in this are equal (RFC 3986
/// sections 6.2.2.1 and 6.2.2.2). Returns `None` if the path already has this form.
pub(in crate::http) fn normalize_target(target: &Uri) -> Option<Uri> {
    let path = normalize_path(target.path())?;
    let with_query = match target.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let mut parts = target.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(with_query).ok()?);
    Uri::from_parts(parts).ok()
}

/// The paths below which the next segment is a uuid that only its owner knows.
const PRIVATE_UUID_PATHS: [&str; 2] = ["/v1/api-jobs/", "/v1/accounts/sessions/"];
/// The folders whose next segment is a uuid that the log may contain: that of a store or of a zone.
const PUBLIC_UUID_PATHS: [&str; 4] = ["/backup-storage/", "/image-store/", "/zones/", "/stores/"];
/// Length of a uuid, a session and the id of a job, in hexadecimal digits.
const UUID_DIGITS: usize = 32;

/// Returns the part of a path that a log may contain: without the uuid of a job or of a session,
/// and what follows it. Such a uuid may also be in a path that is nearly right, so that of a store
/// or of a zone is the only one that stays.
pub(in crate::http) fn loggable_path(path: &str) -> &str {
    let private = PRIVATE_UUID_PATHS.iter().filter_map(|private| {
        let start = path.find(private)?;
        Some(start + private.len())
    });
    let end = private.chain(find_private_uuid(path)).min();
    end.and_then(|end| path.get(..end)).unwrap_or(path)
}

/// Returns the start of the first uuid that is not in a folder of public ones.
fn find_private_uuid(path: &str) -> Option<usize> {
    let mut start = 0;
    for part in path.split_inclusive(|c: char| !c.is_ascii_hexdigit()) {
        let digits = part.trim_end_matches(|c: char| !c.is_ascii_hexdigit()).len();
        let before = path.get(..start).unwrap_or_default();
        let is_public = PUBLIC_UUID_PATHS.iter().any(|public| before.ends_with(public));
        if digits > UUID_DIGITS || digits == UUID_DIGITS && !is_public {
            return Some(start);
        }
        start = start.saturating_add(part.len());
    }
    None
}

fn normalize_path(path: &str) -> Option<String> {
    // Nearly every path has no encoding, and then needs no copy.
    if !path.contains('%') {
        return None;
    }
    let mut parts = path.split('%');
    let mut normal = parts.next()?.to_owned();
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (byte, part.get(2..)) {
            (Some(byte), Some(rest))
                if is_unreserved(byte) && !completes_encoding(&normal, byte) =>
            {
                normal.push(char::from(byte));
                normal.push_str(rest);
            }
            (Some(byte), Some(rest)) => {
                normal.push_str(&format!("%{byte:02X}"));
                normal.push_str(rest);
            }
            _ => {
                normal.push('%');
                normal.push_str(part);
            }
        }
    }
    (normal != path).then_some(normal)
}

/// Returns true if the path ends with an encoding that lacks digits, and the character would be one
/// of them. `%6%41` must not become `%6A`, which is the encoding of another character.
fn completes_encoding(path: &str, next: u8) -> bool {
    let lacks_digits = match path.as_bytes() {
        [.., b'%'] => true,
        [.., b'%', digit] => digit.is_ascii_hexdigit(),
        _ => false,
    };
    lacks_digits && next.is_ascii_hexdigit()
}

/// Returns true for an unreserved character (RFC 3986 section 2.3).
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn encoded_unreserved_characters_are_decoded_and_no_others() {
        for (path, expected) in [
            ("/healthz", None),
            ("/%68ealthz", Some("/healthz")),
            ("/%7Eroot/%2d%5F%2e", Some("/~root/-_.")),
            ("/imagestore%2Fecho", None),
            ("/imagestore%2fecho", Some("/imagestore%2Fecho")),
            ("/a%c3%a4", Some("/a%C3%A4")),
            ("/a%25%36%31", Some("/a%2561")),
            ("/%2561", None),
            ("/a%", None),
            ("/a%4", None),
            ("/a%zz%61", Some("/a%zza")),
            ("/a%+1", None),
            ("/%6%41", None),
            ("/%%36%31", Some("/%%361")),
            ("/%2%66%2%7e", Some("/%2%66%2~")),
            ("/%2F%41", Some("/%2FA")),
        ] {
            assert_eq!(normalize_path(path).as_deref(), expected, "{path}");
        }
        let target: Uri = "http://localhost:1/%68ealthz?a=%68".parse().unwrap();
        let normal = normalize_target(&target).unwrap();
        assert_eq!(normal.to_string(), "http://localhost:1/healthz?a=%68");
    }

    #[test]
    fn a_log_contains_no_uuid_of_a_job_or_a_session() {
        for (path, expected) in [
            ("/zstack/v1/api-jobs/4cd9/x", "/zstack/v1/api-jobs/"),
            ("/v1/api-jobs/4cd9", "/v1/api-jobs/"),
            ("/x/v1/accounts/sessions/4cd9/valid", "/x/v1/accounts/sessions/"),
            ("/a/v1/accounts/sessions/4cd9/v1/api-jobs/1", "/a/v1/accounts/sessions/"),
            ("/zstack/v1/api-jobs", "/zstack/v1/api-jobs"),
            ("/healthz", "/healthz"),
        ] {
            assert_eq!(loggable_path(path), expected);
        }
        let uuid = "5d41402abc4b2a76b9719d911017c592";
        for start in [
            "/zstack/v1//accounts/sessions/",
            "/zstack/v1%2Faccounts%2Fsessions%2F",
            "/zstack/v1/Accounts/sessions/",
            "/zstack/v1/accounts/session/",
            "/zstack/v1/accounts/sessions;",
            "/zstack/v1//api-jobs/",
            "/",
        ] {
            for end in ["", "/valid", "%2Fvalid", "0", "?"] {
                let path = format!("{start}{uuid}{end}");
                // The digits of an encoding are a part of those that follow.
                let shown = start.strip_suffix("2F").unwrap_or(start);
                assert_eq!(loggable_path(&path), shown, "{path}");
                assert_eq!(loggable_path(&path.to_uppercase()), shown.to_uppercase(), "{path}");
            }
        }
        for path in [
            format!("/zstack/v1/backup-storage/image-store/{uuid}/actions"),
            format!("/zstack/v1/zones/{uuid}/backup-storage/{uuid}"),
            format!("/imagestore/stores/{uuid}/health"),
            format!("/zstack/v1/zones/{}", &uuid[1..]),
        ] {
            assert_eq!(loggable_path(&path), path);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_encoding_of_a_path_has_one_normal_form(
            path in "/[a-z0-9~._/-]{0,20}",
            encoded in prop::collection::vec(any::<(bool, bool)>(), 21),
        ) {
            let encode = |(c, (encoded, upper)): (char, &(bool, bool))| match (encoded, upper) {
                (true, true) if c != '/' => format!("%{:02X}", u32::from(c)),
                (true, false) if c != '/' => format!("%{:02x}", u32::from(c)),
                _ => c.to_string(),
            };
            let other: String = path.chars().zip(&encoded).map(encode).collect();
            prop_assert_eq!(normalize_path(&other).unwrap_or(other), path.clone());
            prop_assert_eq!(normalize_path(&path), None);
        }
    }
}
