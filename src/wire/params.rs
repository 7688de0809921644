//! Fields that several requests have.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::fields::{BadField, Fields};
use crate::model::{Hostname, ImageDir, Secret, SshCredentials, StoreUuid, Tags};

/// Most characters of a name, a user name or a password: ZStack's columns.
pub(super) const SHORT: usize = 255;
/// Most characters of a description.
pub(super) const DESCRIPTION: usize = 2048;
/// Most characters of a private key: an RSA key of 16384 bits has 12.7 thousand as PEM.
const PRIVATE_KEY: usize = 32 * 1024;
/// Most characters of a passphrase.
const PASSPHRASE: usize = 1024;
/// Most fingerprints of one host: more than a server has keys.
const FINGERPRINTS: usize = 16;
/// What a fingerprint looks like.
const FINGERPRINT: &str = "SHA256: and 43 characters of base64, as ssh-keygen -l prints it";
/// What a host name is.
pub(super) const HOSTNAME: &str =
    "an IP address or a host name of at most 255 characters (RFC 1123)";

/// Tags stand beside the action or inside it; those beside it win.
pub(super) fn tags(document: &mut Fields, inner: &mut Fields) -> Result<Tags, BadField> {
    let mut kind = |key| {
        let outside = document.texts(key, Tags::MAX_COUNT, Tags::MAX_CHARS)?;
        let inside = inner.texts(key, Tags::MAX_COUNT, Tags::MAX_CHARS)?;
        Ok(outside.or(inside).unwrap_or_default())
    };
    let (system, user) = (kind("systemTags")?, kind("userTags")?);
    Tags::new(system, user).map_err(|error| document.bad_whole("tags within bounds").because(error))
}

pub(super) fn uuid(params: &mut Fields) -> Result<Option<StoreUuid>, BadField> {
    let key = "resourceUuid";
    let bad = params.bad(key, "a version 1 to 5 uuid of 32 lower-case hexadecimal digits");
    match params.text(key, SHORT) {
        Ok(None) => Ok(None),
        Ok(Some(text)) => match text.parse::<StoreUuid>() {
            Ok(uuid) if uuid.is_rfc4122() => Ok(Some(uuid)),
            _ => Err(bad),
        },
        Err(_) => Err(bad),
    }
}

pub(super) fn image_dir(
    params: &mut Fields,
    allowed_roots: &[String],
) -> Result<ImageDir, BadField> {
    let roots = allowed_roots.join(", ");
    let bad = params.bad("url", format!("an absolute path at or below an allowed root ({roots})"));
    let Ok(Some(text)) = params.text("url", ImageDir::MAX_CHARS) else { return Err(bad) };
    let dir = ImageDir::parse(&text).map_err(|error| bad.clone().because(error))?;
    if !dir.is_within(allowed_roots.iter().map(String::as_str)) {
        return Err(bad.because("lies elsewhere"));
    }
    Ok(dir)
}

/// None when it is not there.
pub(super) fn hostname(params: &mut Fields) -> Result<Option<Hostname>, BadField> {
    let bad = params.bad("hostname", HOSTNAME);
    let text = params.text("hostname", SHORT + 2).map_err(|_| bad.clone())?;
    text.map(|text| text.parse().map_err(|_| bad)).transpose()
}

/// The secrets of a login.
pub(super) fn credentials(params: &mut Fields) -> Result<SshCredentials, BadField> {
    let given = given_credentials(params)?;
    if given.is_empty() {
        return Err(params.bad_whole("a password, a privateKey or both"));
    }
    Ok(given)
}

/// May be none at all. An empty secret is none: forms send `""` for a field left blank.
pub(super) fn given_credentials(params: &mut Fields) -> Result<SshCredentials, BadField> {
    let mut secret = |key, most| {
        let text = params.text(key, most)?;
        Ok(text.filter(|text| !text.is_empty()).map(Secret::new))
    };
    Ok(SshCredentials {
        password: secret("password", SHORT)?,
        private_key: secret("privateKey", PRIVATE_KEY)?,
        passphrase: secret("privateKeyPassphrase", PASSPHRASE)?,
    })
}

pub(super) fn fingerprints(params: &mut Fields) -> Result<Vec<String>, BadField> {
    let key = "hostKeyFingerprint";
    let bad = params.bad(key, FINGERPRINT);
    let given = params.one_or_several(key, FINGERPRINTS, SHORT).map_err(|_| bad.clone())?;
    given.iter().map(|text| unpadded(text).ok_or_else(|| bad.clone())).collect()
}

pub(super) fn fingerprint(params: &mut Fields) -> Result<String, BadField> {
    let key = "fingerprint";
    let bad = params.bad(key, FINGERPRINT);
    let given = params.text(key, SHORT).ok().flatten();
    given.as_deref().and_then(unpadded).ok_or(bad)
}

/// Some tools pad a fingerprint; the pinned form is without.
fn unpadded(text: &str) -> Option<String> {
    let text = text.trim_end_matches('=');
    let blob = STANDARD_NO_PAD.decode(text.strip_prefix("SHA256:")?).ok()?;
    (blob.len() == 32).then(|| text.to_owned())
}
