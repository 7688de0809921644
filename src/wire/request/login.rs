//! The bodies of ZStack's calls that need no session: the login of an account, and the version.

use super::fields::{InvalidField, JsonFields};
use super::params::MAX_SHORT_TEXT_CHARS;
use super::{InvalidBody, parse_document, select_action};
use crate::model::Secret;

/// The key of the login.
const LOGIN_ACTION: &str = "logInByAccount";
/// The key of the version.
const VERSION_ACTION: &str = "getVersion";
/// Length of a SHA-512 in hexadecimal digits.
const SHA512_CHARS: usize = 128;

/// A login of an account.
#[derive(Debug)]
pub struct AccountLogin {
    /// The name of the account, which may be unknown.
    pub account_name: String,
    /// The SHA-512 of the password in lower-case hexadecimal digits, as ZStack's clients send it.
    pub password: Secret,
}

/// Parses the body of a login. The other fields of ZStack's call are ignored: the type of the
/// account, the captcha, the second factor and the description of the client.
///
/// # Errors
/// Returns [`InvalidBody`] if the body is invalid. The status of the response is 400.
pub fn parse_account_login(body: &[u8]) -> Result<AccountLogin, InvalidBody> {
    let mut fields = take_action(body, LOGIN_ACTION)?;
    let account_name = fields.take_line("accountName", MAX_SHORT_TEXT_CHARS)?;
    let password = take_sha512(&mut fields, "password")?;
    Ok(AccountLogin { account_name, password })
}

/// Checks the body of a request for the version.
///
/// # Errors
/// Returns [`InvalidBody`] if the body is invalid. The status of the response is 400.
pub fn parse_version_request(body: &[u8]) -> Result<(), InvalidBody> {
    take_action(body, VERSION_ACTION).map(|_| ())
}

/// The actions of requests without a store.
pub(super) const ACTIONS: [&str; 2] = [LOGIN_ACTION, VERSION_ACTION];

fn take_action(body: &[u8], key: &'static str) -> Result<JsonFields, InvalidBody> {
    let mut document = parse_document(body)?;
    // The error about a missing action names its form.
    match select_action(&document, &[key], &[]) {
        Ok(_) | Err(InvalidBody::NoAction(_)) => {}
        Err(several) => return Err(several),
    }
    match document.take_object(key)? {
        Some(fields) => Ok(fields),
        None => Err(document.invalid_field(key, "a JSON object").into()),
    }
}

fn take_sha512(fields: &mut JsonFields, key: &str) -> Result<Secret, InvalidField> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    match fields.take_text(key, SHA512_CHARS) {
        Ok(Some(text)) if text.len() == SHA512_CHARS && text.bytes().all(is_digit) => {
            Ok(Secret::new(text))
        }
        _ => Err(fields.invalid_field(
            key,
            "the SHA-512 of the password in 128 lower-case hexadecimal digits",
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse(body: &Value) -> Result<AccountLogin, InvalidBody> {
        parse_account_login(body.to_string().as_bytes())
    }

    #[test]
    fn a_login_has_a_name_and_the_digest_of_a_password_and_ignores_the_rest() {
        let digest = "b1".repeat(64);
        let body = json!({
            "logInByAccount": {
                "password": digest, "accountName": "admin", "accountType": "account",
                "captchaUuid": "x", "verifyCode": 7, "clientInfo": {"a": "b"},
            },
            "systemTags": [],
        });
        let login = parse(&body).unwrap();
        assert_eq!(login.account_name, "admin");
        assert_eq!(login.password.expose_secret(), digest);
        assert!(!format!("{login:?}").contains(&digest));
    }

    #[test]
    fn an_error_names_the_field_and_never_quotes_it() {
        let digest = "b1".repeat(64);
        let login = |name: Value, password: Value| json!({"logInByAccount": {"accountName": name, "password": password}});
        let upper = digest.to_uppercase();
        for (body, path) in [
            (json!({}), "$.logInByAccount"),
            (json!({"params": {"accountName": "hunter2"}}), "$.logInByAccount"),
            (json!({"logInByAccount": null}), "$.logInByAccount.accountName"),
            (json!({"logInByAccount": ["hunter2"]}), "$.logInByAccount"),
            (json!(["hunter2"]), "$"),
            (login(json!(null), json!(digest)), "$.logInByAccount.accountName"),
            (login(json!(""), json!(digest)), "$.logInByAccount.accountName"),
            (login(json!("hunter2\n"), json!(digest)), "$.logInByAccount.accountName"),
            (login(json!("n".repeat(256)), json!(digest)), "$.logInByAccount.accountName"),
            (login(json!("admin"), json!("hunter2")), "$.logInByAccount.password"),
            (login(json!("admin"), json!(upper)), "$.logInByAccount.password"),
            (login(json!("admin"), json!(format!("{digest}b1"))), "$.logInByAccount.password"),
            (login(json!("admin"), json!(null)), "$.logInByAccount.password"),
        ] {
            let error = parse(&body).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{path}: expected ")), "{error}");
            assert!(!error.contains("hunter2") && !error.contains("B1B1"), "{error}");
        }
        let twice = br#"{"logInByAccount":{"password":"hunter2","password":"hunter3"}}"#;
        let error = parse_account_login(twice).unwrap_err().to_string();
        assert!(error.contains("same key twice") && !error.contains("hunter"), "{error}");
    }

    #[test]
    fn the_version_is_asked_for_by_its_key() {
        for body in [r#"{"getVersion":{}}"#, r#"{"getVersion":null}"#, r#"{"getVersion":{"a":1}}"#]
        {
            assert_eq!(parse_version_request(body.as_bytes()), Ok(()), "{body}");
        }
        for body in ["", "{}", "null", r#"{"getCurrentTime":{}}"#, r#"{"getVersion":1}"#, "{"] {
            assert!(parse_version_request(body.as_bytes()).is_err(), "{body}");
        }
    }
}
