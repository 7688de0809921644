//! The id of a request in logs and responses.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use data_encoding::HEXLOWER;

use crate::common::Random;
use crate::wire::headers::REQUEST_ID;

/// Name of the header that carries the id, in requests and responses.
pub(super) const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static(REQUEST_ID);

/// Maximum length of an id from the client, in bytes: twice a uuid, for clients that chain two.
const MAX_REQUEST_ID_BYTES: usize = 64;

/// Returns the id that the client sent if it is valid in a log line, or else a random one.
pub(crate) fn from_headers(headers: &HeaderMap, random: &dyn Random) -> HeaderValue {
    let client_id = headers.get(REQUEST_ID_HEADER).filter(|id| is_valid(id.as_bytes()));
    client_id.cloned().unwrap_or_else(|| {
        let id = HEXLOWER.encode(&random.bytes16());
        // Hexadecimal digits are always a valid header value.
        HeaderValue::from_str(&id).unwrap_or_else(|_| HeaderValue::from_static("-"))
    })
}

fn is_valid(id: &[u8]) -> bool {
    let is_allowed = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.iter().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Random for Fixed {
        fn bytes16(&self) -> [u8; 16] {
            [0xab; 16]
        }
    }

    #[test]
    fn a_valid_id_is_kept_and_any_other_replaced() {
        let random_id = "ab".repeat(16);
        let long = "a".repeat(65);
        for (client_id, expected) in [
            (Some("8a2f.X_1-b"), "8a2f.X_1-b"),
            (Some(""), random_id.as_str()),
            (Some("a b"), &random_id),
            (Some("\"quoted\""), &random_id),
            (Some(long.as_str()), &random_id),
            (None, &random_id),
        ] {
            let client_id =
                client_id.map(|id| (REQUEST_ID_HEADER, HeaderValue::from_str(id).unwrap()));
            assert_eq!(from_headers(&client_id.into_iter().collect(), &Fixed), expected);
        }
    }
}
