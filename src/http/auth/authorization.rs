//! The credential that a request presents in its `Authorization` header.

use axum::http::{HeaderMap, header};

use super::access_key::Signature;

/// The credential in the `Authorization` header of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Authorization<'a> {
    /// `OAuth <session>`, as ZStack's clients send it, or `Bearer <session>`, the common form of
    /// the same credential.
    Session(&'a str),
    /// `ZStack <access key id>:<signature>`.
    Signature(Signature<'a>),
    /// There is not exactly one header with a scheme and a credential that the daemon knows.
    Unusable,
}

impl<'a> Authorization<'a> {
    /// Reads the header of a request.
    pub(super) fn from_headers(headers: &'a HeaderMap) -> Self {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return Self::Unusable };
        let Some((scheme, credential)) = value.to_str().ok().and_then(|text| text.split_once(' '))
        else {
            return Self::Unusable;
        };
        let is_scheme = |name: &str| scheme.eq_ignore_ascii_case(name);
        match credential.trim() {
            "" => Self::Unusable,
            session if is_scheme("OAuth") || is_scheme("Bearer") => Self::Session(session),
            signed if is_scheme("ZStack") => match signed.split_once(':') {
                Some((key_id, base64)) if !key_id.is_empty() && !base64.is_empty() => {
                    Self::Signature(Signature { key_id, base64 })
                }
                _ => Self::Unusable,
            },
            _ => Self::Unusable,
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_session_follows_oauth_or_bearer_in_one_header() {
        for (values, expected) in [
            (vec!["OAuth abc"], Some("abc")),
            (vec!["oauth  abc "], Some("abc")),
            (vec!["Bearer abc"], Some("abc")),
            (vec!["OAuth"], None),
            (vec!["OAuth  "], None),
            (vec!["OAuthabc"], None),
            (vec!["Basic abc"], None),
            (vec!["OAuth abc", "OAuth abc"], None),
            (vec![], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in &values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            let expected = expected.map_or(Authorization::Unusable, Authorization::Session);
            assert_eq!(Authorization::from_headers(&headers), expected, "{values:?}");
        }
    }

    #[test]
    fn a_signature_follows_zstack_with_the_id_of_its_key() {
        for (value, expected) in [
            (
                "ZStack AKID:p/z065UINwzcwIX16YhyKdlrcF4=",
                Some(("AKID", "p/z065UINwzcwIX16YhyKdlrcF4=")),
            ),
            ("zstack  AKID:a ", Some(("AKID", "a"))),
            ("ZStack AKID:a:b", Some(("AKID", "a:b"))),
            ("ZStack AKID", None),
            ("ZStack AKID:", None),
            ("ZStack :a", None),
            ("ZStack", None),
            ("ZStackAKID:a", None),
            ("OAuth2 AKID:a", None),
        ] {
            let headers = [(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap())];
            let headers = headers.into_iter().collect();
            let found = Authorization::from_headers(&headers);
            let expected = expected.map_or(Authorization::Unusable, |(key_id, base64)| {
                Authorization::Signature(Signature { key_id, base64 })
            });
            assert_eq!(found, expected, "{value}");
            assert!(!format!("{found:?}").contains("p/z065"), "{found:?}");
        }
    }
}
