//! The bodies of responses about sessions and the version.

use serde::Serialize;

use super::DateFormat;
use crate::common::Timestamp;
use crate::model::Secret;

/// The body of the response to a login: ZStack's `SessionInventory`.
#[derive(Serialize)]
pub struct SessionResponse<'a> {
    inventory: SessionBody<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionBody<'a> {
    uuid: &'a str,
    account_uuid: &'a str,
    user_uuid: &'a str,
    user_type: &'static str,
    expired_date: String,
    create_date: String,
}

impl<'a> SessionResponse<'a> {
    /// Creates the body for a session that an account has opened.
    pub fn new(
        session: &'a Secret,
        account_uuid: &'a str,
        created: Timestamp,
        expires: Timestamp,
        dates: &DateFormat,
    ) -> Self {
        let inventory = SessionBody {
            uuid: session.expose_secret(),
            account_uuid,
            // ZStack sets both to the account where no user of an account has logged in.
            user_uuid: account_uuid,
            user_type: "Account",
            expired_date: dates.format(expires),
            create_date: dates.format(created),
        };
        Self { inventory }
    }
}

/// The body of the response about a session.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SessionValidityResponse {
    /// True if a request with the session is accepted.
    pub valid: bool,
}

/// The body of the response with the version.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct VersionResponse {
    /// The version of this program.
    pub version: &'static str,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_session_has_the_fields_of_zstack() {
        let session = Secret::new("4cd9fb914f5f4a1d9d2f000000000001".to_owned());
        let account = "b0d8a3f1c5e74b6d9a2f000000000002";
        let (created, expires) = (Timestamp(1_482_426_606_000), Timestamp(1_482_433_806_000));
        let body =
            SessionResponse::new(&session, account, created, expires, &DateFormat::ZSTACK_UTC);
        assert_eq!(
            serde_json::to_value(body).unwrap(),
            json!({"inventory": {
                "uuid": "4cd9fb914f5f4a1d9d2f000000000001",
                "accountUuid": account, "userUuid": account, "userType": "Account",
                "createDate": "Dec 22, 2016 5:10:06 PM", "expiredDate": "Dec 22, 2016 7:10:06 PM",
            }})
        );
    }
}
