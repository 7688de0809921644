//! The parameters in the query of a request.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::http::error::ApiError;
use crate::query::InvalidParameter;

/// The decoded parameters of a request, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::http) struct QueryParameters(Vec<(String, String)>);

impl QueryParameters {
    /// Decodes a query in the form of HTML forms: `+` is a blank, and other characters are
    /// percent-encoded UTF-8. A name without `=` has an empty value.
    ///
    /// # Errors
    /// [`InvalidParameter`] if the encoding of a name or value is invalid.
    pub(in crate::http) fn decode(query: &str) -> Result<Self, InvalidParameter> {
        let parts = query.split('&').filter(|part| !part.is_empty());
        let decode_part = |part: &str| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            decode_text(name)
                .zip(decode_text(value))
                .ok_or_else(|| InvalidParameter::new(name, "expected percent-encoded UTF-8"))
        };
        Ok(Self(parts.map(decode_part).collect::<Result<_, _>>()?))
    }

    /// Returns true if there are no parameters.
    pub(in crate::http) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the names and values.
    pub(in crate::http) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<S: Sync> FromRequestParts<S> for QueryParameters {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Some(query) = parts.uri.query() else { return Ok(Self::default()) };
        Self::decode(query).map_err(ApiError::InvalidParameter)
    }
}

/// Decodes a name or a value. Returns `None` if its encoding is invalid.
fn decode_text(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => decode_digit(rest.next()?)? << 4 | decode_digit(rest.next()?)?,
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn decode_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_decoded_in_their_order() {
        for (query, expected) in [
            ("", vec![]),
            ("&&", vec![]),
            (
                "q=name%3Dn&q=status%3F%3DConnected%2CConnecting",
                vec![("q", "name=n"), ("q", "status?=Connected,Connecting")],
            ),
            ("sort=%2Bname&sort=+name", vec![("sort", "+name"), ("sort", " name")]),
            ("q=name=a=b", vec![("q", "name=a=b")]),
            ("q=name~=%25x%25", vec![("q", "name~=%x%")]),
            ("q=%E7%94%BB+%e5%83%8f", vec![("q", "画 像")]),
            ("%71=x&count", vec![("q", "x"), ("count", "")]),
            ("=x", vec![("", "x")]),
        ] {
            let decoded = QueryParameters::decode(query).unwrap();
            assert_eq!(decoded.pairs().collect::<Vec<_>>(), expected, "{query}");
            assert_eq!(decoded.is_empty(), expected.is_empty());
        }
    }

    #[test]
    fn an_invalid_encoding_is_refused_by_the_name_of_its_parameter() {
        for query in ["q=%", "q=%4", "q=%4g", "a=b&q=%zz", "q=%ff", "q=%+1", "q=%E7%94"] {
            let error = QueryParameters::decode(query).unwrap_err();
            assert_eq!(error.parameter(), "q", "{query}");
            assert!(error.to_string().ends_with("expected percent-encoded UTF-8"), "{error}");
        }
    }
}
