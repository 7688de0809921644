//! The fields that several requests have in common.

use data_encoding::BASE64_NOPAD;

use super::fields::{InvalidField, JsonFields};
use crate::model::{Hostname, ImageDir, Secret, SshCredentials, StoreUuid, Tags};

/// The maximum length of a name, a user name or a password, in characters. It is the length of
/// ZStack's database columns.
pub(in crate::wire) const MAX_SHORT_TEXT_CHARS: usize = 255;
/// The maximum length of a description, in characters.
pub(super) const MAX_DESCRIPTION_CHARS: usize = 2048;
/// The maximum length of a private key, in characters. An RSA key of 16384 bits has about 12,700
/// characters as PEM.
pub(super) const MAX_PRIVATE_KEY_CHARS: usize = 32 * 1024;
/// The maximum length of a passphrase, in characters.
pub(super) const MAX_PASSPHRASE_CHARS: usize = 1024;
/// The maximum number of fingerprints of one host. A server has fewer keys.
pub(super) const MAX_FINGERPRINTS: usize = 16;
/// The maximum length of a host name, in characters. An IPv6 address may be in brackets, which are
/// two more characters.
pub(super) const MAX_HOSTNAME_CHARS: usize = MAX_SHORT_TEXT_CHARS + 2;
/// The expected form of a fingerprint.
const FINGERPRINT_FORM: &str =
    "SHA256: and 43 characters of base64, in the format of ssh-keygen -l";
/// The expected form of a host name.
pub(super) const HOSTNAME_FORM: &str =
    "an IP address or a host name of at most 255 characters (RFC 1123)";

/// Takes the tags of a request, from the document or from the action inside it. Those of the
/// document take precedence.
pub(super) fn take_tags(
    document: &mut JsonFields,
    inner: &mut JsonFields,
) -> Result<Tags, InvalidField> {
    let mut kind = |key| {
        let outside = document.take_texts(key, Tags::MAX_COUNT, Tags::MAX_CHARS)?;
        let inside = inner.take_texts(key, Tags::MAX_COUNT, Tags::MAX_CHARS)?;
        Ok(outside.or(inside).unwrap_or_default())
    };
    let (system, user) = (kind("systemTags")?, kind("userTags")?);
    Tags::new(system, user).map_err(|error| {
        document
            .invalid_object(format!(
                "systemTags and userTags of at most {} strings of at most {} characters each",
                Tags::MAX_COUNT,
                Tags::MAX_CHARS
            ))
            .with_problem(error)
    })
}

pub(super) fn take_uuid(params: &mut JsonFields) -> Result<Option<StoreUuid>, InvalidField> {
    let key = "resourceUuid";
    let invalid =
        params.invalid_field(key, "a uuid of version 1 to 5, as 32 lower-case hexadecimal digits");
    match params.take_text(key, MAX_SHORT_TEXT_CHARS) {
        Ok(None) => Ok(None),
        Ok(Some(text)) => match text.parse::<StoreUuid>() {
            Ok(uuid) if uuid.is_rfc4122() => Ok(Some(uuid)),
            _ => Err(invalid),
        },
        Err(_) => Err(invalid),
    }
}

pub(super) fn take_image_dir(
    params: &mut JsonFields,
    allowed_roots: &[String],
) -> Result<ImageDir, InvalidField> {
    let roots = allowed_roots.join(", ");
    let expected = format!(
        "an absolute path of at most {} characters, at or below one of storage.allowed_roots \
         ({roots})",
        ImageDir::MAX_CHARS
    );
    let invalid = params.invalid_field("url", expected);
    let Ok(Some(text)) = params.take_text("url", ImageDir::MAX_CHARS) else { return Err(invalid) };
    let dir = ImageDir::parse(&text).map_err(|error| invalid.clone().with_problem(error))?;
    if !dir.is_within(allowed_roots.iter().map(String::as_str)) {
        return Err(invalid.with_problem("is outside the allowed roots"));
    }
    Ok(dir)
}

/// Takes the host name. Returns `None` if the field is absent.
pub(super) fn take_hostname(params: &mut JsonFields) -> Result<Option<Hostname>, InvalidField> {
    let invalid = params.invalid_field("hostname", HOSTNAME_FORM);
    let text = params.take_text("hostname", MAX_HOSTNAME_CHARS).map_err(|_| invalid.clone())?;
    text.map(|text| text.parse().map_err(|_| invalid)).transpose()
}

/// Takes the secrets of a login. At least a password or a private key is required.
pub(super) fn take_credentials(params: &mut JsonFields) -> Result<SshCredentials, InvalidField> {
    let credentials = take_optional_credentials(params)?;
    if credentials.is_empty() {
        return Err(params.invalid_object("the key password, privateKey or both"));
    }
    Ok(credentials)
}

/// Takes the secrets that are present. An empty secret counts as absent, because forms send `""`
/// for a blank field.
pub(super) fn take_optional_credentials(
    params: &mut JsonFields,
) -> Result<SshCredentials, InvalidField> {
    let mut secret = |key, max_chars| {
        let text = params.take_text(key, max_chars)?;
        Ok(text.filter(|text| !text.is_empty()).map(Secret::new))
    };
    Ok(SshCredentials {
        password: secret("password", MAX_SHORT_TEXT_CHARS)?,
        private_key: secret("privateKey", MAX_PRIVATE_KEY_CHARS)?,
        passphrase: secret("privateKeyPassphrase", MAX_PASSPHRASE_CHARS)?,
    })
}

pub(super) fn take_fingerprints(params: &mut JsonFields) -> Result<Vec<String>, InvalidField> {
    let key = "hostKeyFingerprint";
    let invalid = params.invalid_field(key, FINGERPRINT_FORM);
    let values = params
        .take_text_or_texts(key, MAX_FINGERPRINTS, MAX_SHORT_TEXT_CHARS)
        .map_err(|_| invalid.clone())?;
    values.iter().map(|text| strip_padding(text).ok_or_else(|| invalid.clone())).collect()
}

pub(super) fn take_fingerprint(params: &mut JsonFields) -> Result<String, InvalidField> {
    let key = "fingerprint";
    let invalid = params.invalid_field(key, FINGERPRINT_FORM);
    let fingerprint = params.take_text(key, MAX_SHORT_TEXT_CHARS).ok().flatten();
    fingerprint.as_deref().and_then(strip_padding).ok_or(invalid)
}

/// Returns a fingerprint without padding, which some tools add. Returns `None` if it is malformed.
fn strip_padding(text: &str) -> Option<String> {
    let text = text.trim_end_matches('=');
    let digest = BASE64_NOPAD.decode(text.strip_prefix("SHA256:")?.as_bytes()).ok()?;
    (digest.len() == 32).then(|| text.to_owned())
}
