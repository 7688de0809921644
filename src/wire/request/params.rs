//! The fields that several requests have in common.

use data_encoding::BASE64_NOPAD;

use super::fields::{InvalidField, JsonFields};
use crate::model::{Hostname, ImageDir, Secret, SshCredentials, StoreUuid, Tags};

/// The maximum length of a name, a user name or a password, in characters. It is the length of
/// ZStack's database columns.
pub(in crate::wire) const MAX_SHORT_CHARS: usize = 255;
/// The maximum length of a description, in characters.
pub(super) const MAX_DESCRIPTION_CHARS: usize = 2048;
/// The maximum length of a private key. An RSA key of 16384 bits takes 12.7 thousand bytes as PEM.
const MAX_PRIVATE_KEY_BYTES: usize = 32 * 1024;
/// The maximum length of a passphrase, in characters.
const MAX_PASSPHRASE_CHARS: usize = 1024;
/// The maximum number of fingerprints of one host. A server has fewer keys.
const MAX_FINGERPRINTS: usize = 16;
/// The expected form of a fingerprint.
const FINGERPRINT_RULE: &str =
    "SHA256: and 43 characters of base64, in the format of ssh-keygen -l";
/// The expected form of a host name.
pub(super) const HOSTNAME_RULE: &str =
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
            .bad_whole(format!(
                "systemTags and userTags of at most {} strings of at most {} characters each",
                Tags::MAX_COUNT,
                Tags::MAX_CHARS
            ))
            .with_reason(error)
    })
}

pub(super) fn take_uuid(params: &mut JsonFields) -> Result<Option<StoreUuid>, InvalidField> {
    let key = "resourceUuid";
    let bad =
        params.invalid_field(key, "a uuid of version 1 to 5, as 32 lower-case hexadecimal digits");
    match params.take_text(key, MAX_SHORT_CHARS) {
        Ok(None) => Ok(None),
        Ok(Some(text)) => match text.parse::<StoreUuid>() {
            Ok(uuid) if uuid.is_rfc4122() => Ok(Some(uuid)),
            _ => Err(bad),
        },
        Err(_) => Err(bad),
    }
}

pub(super) fn image_dir(
    params: &mut JsonFields,
    allowed_roots: &[String],
) -> Result<ImageDir, InvalidField> {
    let roots = allowed_roots.join(", ");
    let expected = format!(
        "an absolute path of at most {} characters, at or below one of storage.allowed_roots \
         ({roots})",
        ImageDir::MAX_CHARS
    );
    let bad = params.invalid_field("url", expected);
    let Ok(Some(text)) = params.take_text("url", ImageDir::MAX_CHARS) else { return Err(bad) };
    let dir = ImageDir::parse(&text).map_err(|error| bad.clone().with_reason(error))?;
    if !dir.is_within(allowed_roots.iter().map(String::as_str)) {
        return Err(bad.with_reason("is outside the allowed roots"));
    }
    Ok(dir)
}

/// Takes the host name. Returns `None` if the field is absent.
pub(super) fn take_hostname(params: &mut JsonFields) -> Result<Option<Hostname>, InvalidField> {
    let bad = params.invalid_field("hostname", HOSTNAME_RULE);
    let text = params.take_text("hostname", MAX_SHORT_CHARS + 2).map_err(|_| bad.clone())?;
    text.map(|text| text.parse().map_err(|_| bad)).transpose()
}

/// Takes the secrets of a login. At least a password or a private key is required.
pub(super) fn take_credentials(params: &mut JsonFields) -> Result<SshCredentials, InvalidField> {
    let given = given_credentials(params)?;
    if given.is_empty() {
        return Err(params.bad_whole("the key password, privateKey or both"));
    }
    Ok(given)
}

/// Takes the secrets that are present. An empty secret counts as absent, because forms send `""`
/// for a blank field.
pub(super) fn given_credentials(params: &mut JsonFields) -> Result<SshCredentials, InvalidField> {
    let mut secret = |key, most| {
        let text = params.take_text(key, most)?;
        Ok(text.filter(|text| !text.is_empty()).map(Secret::new))
    };
    Ok(SshCredentials {
        password: secret("password", MAX_SHORT_CHARS)?,
        private_key: secret("privateKey", MAX_PRIVATE_KEY_BYTES)?,
        passphrase: secret("privateKeyPassphrase", MAX_PASSPHRASE_CHARS)?,
    })
}

pub(super) fn take_fingerprints(params: &mut JsonFields) -> Result<Vec<String>, InvalidField> {
    let key = "hostKeyFingerprint";
    let bad = params.invalid_field(key, FINGERPRINT_RULE);
    let given =
        params.one_or_several(key, MAX_FINGERPRINTS, MAX_SHORT_CHARS).map_err(|_| bad.clone())?;
    given.iter().map(|text| strip_padding(text).ok_or_else(|| bad.clone())).collect()
}

pub(super) fn parse_fingerprint(params: &mut JsonFields) -> Result<String, InvalidField> {
    let key = "fingerprint";
    let bad = params.invalid_field(key, FINGERPRINT_RULE);
    let given = params.take_text(key, MAX_SHORT_CHARS).ok().flatten();
    given.as_deref().and_then(strip_padding).ok_or(bad)
}

/// Returns a fingerprint without padding, which some tools add. Returns `None` if it is malformed.
fn strip_padding(text: &str) -> Option<String> {
    let text = text.trim_end_matches('=');
    let blob = BASE64_NOPAD.decode(text.strip_prefix("SHA256:")?.as_bytes()).ok()?;
    (blob.len() == 32).then(|| text.to_owned())
}
