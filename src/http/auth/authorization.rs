//! The credential that a request presents in its `Authorization` header.

use axum::http::{HeaderMap, header};

/// The credential in the `Authorization` header of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Authorization<'a> {
    /// `OAuth <session>`, as ZStack's clients send it, or `Bearer <session>`, the common form of
    /// the same credential.
    Session(&'a str),
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
            (vec!["ZStack id:signature"], None),
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
}
