//! The reasons why a signed request is refused: status, text and remedy of each.

use axum::http::StatusCode;
use jiff::Timestamp;

use super::MAX_SKEW_SECONDS;
use super::date::DateFault;
use crate::wire::ErrorCode;

/// The form of a date, for callers.
const DATE_FORM: &str = "Fri, 27 Nov 2026 06:35:42 UTC";

/// The reason why a signed request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignatureRefusal {
    /// No key has this id.
    UnknownKey,
    /// The signature is not that of this request under the secret of the key.
    WrongSignature,
    /// The request has no `Date`.
    NoDate,
    /// The request has several `Date` headers.
    SeveralDates,
    /// The date cannot be read.
    Date(DateFault),
    /// The date differs from the clock of the daemon, which showed `now`, by so many seconds.
    TimeTooSkewed { seconds: i64, now: Timestamp },
}

impl SignatureRefusal {
    /// Returns true if the caller may have guessed a key.
    pub(crate) fn is_guess(self) -> bool {
        matches!(self, Self::UnknownKey | Self::WrongSignature)
    }

    /// Returns the rule that denied access, for the audit log.
    pub(crate) fn rule(self) -> &'static str {
        match self {
            Self::UnknownKey => "unknown access key",
            Self::WrongSignature => "wrong signature",
            Self::NoDate | Self::SeveralDates | Self::Date(_) => "invalid Date",
            Self::TimeTooSkewed { .. } => "Date too far from the clock",
        }
    }

    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::UnknownKey | Self::WrongSignature => StatusCode::UNAUTHORIZED,
            Self::NoDate | Self::SeveralDates | Self::Date(_) => StatusCode::BAD_REQUEST,
            Self::TimeTooSkewed { .. } => StatusCode::FORBIDDEN,
        }
    }

    /// Returns the error object. ZStack's clients look for `access key id`, `wrong accessKey
    /// signature` and `requestTimeTooSkewed` in the details.
    pub(crate) fn error_code(self) -> ErrorCode {
        match self {
            Self::UnknownKey => ErrorCode::new("ID.1001", "the access key id is unknown")
                .with_elaboration(
                    "compare the id with auth.access_keys_file, and reload the daemon after a \
                     change",
                ),
            Self::WrongSignature => ErrorCode::new(
                "ID.1001",
                "wrong accessKey signature: it is not that of the method, the Date and the path of \
                 this request",
            )
            .with_elaboration(
                "compare the secret with auth.access_keys_file, and the context path of the client \
                 with server.base_path; a proxy must change neither the path nor the Date",
            ),
            Self::NoDate => ErrorCode::new("SYS.1007", "the signed request has no Date header")
                .with_elaboration(format!("send the Date that is signed, such as {DATE_FORM}")),
            Self::SeveralDates => {
                ErrorCode::new("SYS.1007", "the signed request has several Date headers")
                    .with_elaboration("send one Date header, the one that is signed")
            }
            Self::Date(DateFault::Form) => ErrorCode::new(
                "SYS.1007",
                "the Date does not have the form of a date and a time with a zone, or its weekday \
                 is not that of the day",
            )
            .with_elaboration(format!("send a Date such as {DATE_FORM}")),
            Self::Date(DateFault::Zone) => {
                ErrorCode::new("SYS.1007", "the time zone of the Date is unknown").with_elaboration(
                    "send UTC, an offset such as +08:00, or the IANA id of the zone",
                )
            }
            Self::TimeTooSkewed { seconds, now } => {
                let (distance, side) =
                    (seconds.unsigned_abs(), if seconds < 0 { "behind" } else { "ahead of" });
                let details = format!(
                    "requestTimeTooSkewed: the Date of the request is {distance} s {side} the clock \
                     of the daemon; at most {MAX_SKEW_SECONDS} s are allowed"
                );
                ErrorCode::new("ID.1002", details)
                    .with_elaboration(
                        "set the clocks of both hosts by NTP, and check the time zone of the client",
                    )
                    .with_opaque("rule", "request_time_too_skewed")
                    .with_opaque("skewSeconds", seconds)
                    .with_opaque("daemonTime", format!("{now:.0}"))
            }
        }
    }
}
