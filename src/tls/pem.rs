//! Certificates and private keys in PEM, and the description of a file that is in another format.
//!
//! # Guarantees
//! - The description names the format and the command that converts it.
//! - It never contains bytes of the file.

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::common::skip_byte_order_mark;

/// The content that a setting expects in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Certificate,
    PrivateKey,
}

/// Labels of certificates that only some programs read.
const OTHER_CERTIFICATE_LABELS: [&str; 2] = ["TRUSTED CERTIFICATE", "X509 CERTIFICATE"];

/// The problem of a text that was taken from a JSON string or a variable.
const ESCAPED_LINE_ENDS: &str =
    r"its lines end with the characters \n: replace them by line breaks, as printf '%b' does";

/// Reads all certificates, at least one.
///
/// # Errors
/// Returns a text that describes the content and names the conversion.
pub(super) fn parse_certificates(file: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = skip_byte_order_mark(file);
    // One that is left out would be missed only when a peer shows it.
    let label = labels(text).find(|label| OTHER_CERTIFICATE_LABELS.contains(&label.as_str()));
    if let Some(problem) = label.and_then(|label| describe_label(&label, Expected::Certificate)) {
        return Err(problem);
    }
    match CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(describe(file, Expected::Certificate)
            .unwrap_or_else(|| "it contains no certificate".to_owned())),
        Err(error) => Err(describe(file, Expected::Certificate)
            .unwrap_or_else(|| describe_error(&error).to_owned())),
    }
}

/// Reads the first private key.
///
/// # Errors
/// Returns a text that describes the content and names the conversion. It contains no part of the
/// key.
pub(super) fn parse_private_key(file: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(skip_byte_order_mark(file)).map_err(|error| {
        describe(file, Expected::PrivateKey).unwrap_or_else(|| describe_error(&error).to_owned())
    })
}

/// Describes an error of the parser. Its own text may contain a line of the file.
fn describe_error(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => {
            "a section has no END line: the file is incomplete, or its lines do not end properly"
        }
        pem::Error::IllegalSectionStart { .. } => {
            "a BEGIN line has more text behind it: each line must end with a line break"
        }
        pem::Error::Base64Decode(_) => "a section is not valid base64: the file is damaged",
        pem::Error::NoItemsFound => "it contains no private key",
        _ => "it is not valid PEM",
    }
}

/// Describes a file that does not have the expected content, or returns `None` if nothing is known
/// about it.
fn describe(file: &[u8], expected: Expected) -> Option<String> {
    if let Some(format) = binary_format(file) {
        return Some(describe_binary(format, expected));
    }
    let text = skip_byte_order_mark(file);
    if text.iter().all(u8::is_ascii_whitespace) {
        return Some("it is empty".to_owned());
    }
    if expected == Expected::PrivateKey && contains(text, b"Proc-Type: 4,ENCRYPTED") {
        return describe_label("ENCRYPTED PRIVATE KEY", expected);
    }
    if contains(text, br"-----\n") {
        return Some(ESCAPED_LINE_ENDS.to_owned());
    }
    let found = labels(text).find_map(|label| describe_label(&label, expected));
    found.or_else(|| {
        let is_indented = |line: &[u8]| {
            line.trim_ascii_start().len() < line.len()
                && line.trim_ascii_start().starts_with(b"-----BEGIN ")
        };
        let mut lines = text.split(|byte| *byte == b'\n');
        lines.any(is_indented).then(|| "its lines are indented: remove the spaces".to_owned())
    })
}

/// Returns the labels of the sections, in their order.
fn labels(text: &[u8]) -> impl Iterator<Item = String> {
    let lines = text.split(|byte| matches!(byte, b'\n' | b'\r'));
    lines.filter_map(|line| {
        let label = line.trim_ascii().strip_prefix(b"-----BEGIN ")?.strip_suffix(b"-----")?;
        // A label is a few words, so a longer text is none.
        let label = label.get(..label.len().min(40))?;
        Some(String::from_utf8_lossy(label).into_owned())
    })
}

/// Describes a section with this label, or returns `None` if it is the expected one or unknown.
fn describe_label(label: &str, expected: Expected) -> Option<String> {
    use Expected::{Certificate, PrivateKey};
    let text = match (label, expected) {
        ("TRUSTED CERTIFICATE", Certificate) => {
            "it has a TRUSTED CERTIFICATE, which only OpenSSL reads: convert each one with openssl \
             x509 -in FILE -out NEW-FILE"
        }
        ("X509 CERTIFICATE", Certificate) => {
            "it has an X509 CERTIFICATE, an old form: convert each one with openssl x509 -in FILE \
             -out NEW-FILE"
        }
        ("PKCS7" | "CMS" | "PKCS #7 SIGNED DATA", Certificate) => {
            "it is PKCS#7: convert it with openssl pkcs7 -in FILE -print_certs -out NEW-FILE"
        }
        ("CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST", Certificate) => {
            "it is a certificate request: the authority makes the certificate from it"
        }
        ("X509 CRL", Certificate) => "it is a list of revoked certificates, and no certificate",
        ("PUBLIC KEY" | "RSA PUBLIC KEY", Certificate) => "it is a public key without certificate",
        ("ENCRYPTED PRIVATE KEY", PrivateKey) => {
            "the private key is encrypted, and the daemon has no passphrase: decrypt it with umask \
             077; openssl pkey -in FILE -out NEW-FILE"
        }
        ("OPENSSH PRIVATE KEY", PrivateKey) => {
            "it is a private key of OpenSSH: convert a copy of it with ssh-keygen -p -m PKCS8 -f \
             COPY"
        }
        ("SSH2 ENCRYPTED PRIVATE KEY", PrivateKey) => {
            "it is a private key of SSH2: convert it with umask 077; ssh-keygen -i -f FILE"
        }
        ("DSA PRIVATE KEY", PrivateKey) => "it is a DSA key, which TLS no longer uses",
        ("CERTIFICATE" | "TRUSTED CERTIFICATE" | "X509 CERTIFICATE", PrivateKey) => {
            "it is a certificate, and no private key"
        }
        ("CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST", PrivateKey) => {
            "it is a certificate request, and no private key"
        }
        ("PKCS7" | "CMS" | "PKCS #7 SIGNED DATA", PrivateKey) => {
            "it is PKCS#7, which contains certificates and no private key"
        }
        ("X509 CRL", PrivateKey) => "it is a list of revoked certificates, and no private key",
        ("PUBLIC KEY" | "RSA PUBLIC KEY", PrivateKey) => "it is a public key, and no private key",
        (label, Certificate) if label.ends_with("PRIVATE KEY") => {
            "it is a private key, and no certificate"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

/// Formats that are not PEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BinaryFormat {
    Utf16,
    JavaKeyStore,
    Pkcs12,
    Pkcs7,
    DerKey,
    DerEncryptedKey,
    DerCertificate,
}

/// Returns the format of a file by its first bytes, or `None` if it is a text.
fn binary_format(file: &[u8]) -> Option<BinaryFormat> {
    const PKCS7_TYPE: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07";
    if matches!(file, [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [b'-', 0, ..] | [0, b'-', ..]) {
        return Some(BinaryFormat::Utf16);
    }
    if file.starts_with(&[0xfe, 0xed, 0xfe, 0xed]) {
        return Some(BinaryFormat::JavaKeyStore);
    }
    let content = sequence(file)?;
    Some(match content {
        [0x02, 0x01, 0x03, ..] => BinaryFormat::Pkcs12,
        [0x02, ..] => BinaryFormat::DerKey,
        _ if content.starts_with(PKCS7_TYPE) => BinaryFormat::Pkcs7,
        // The algorithm of an encrypted key comes first, and the serial number of a certificate.
        _ if sequence(content)?.first() == Some(&0x06) => BinaryFormat::DerEncryptedKey,
        _ => BinaryFormat::DerCertificate,
    })
}

/// Returns the content of a DER or BER sequence at the start of these bytes.
fn sequence(bytes: &[u8]) -> Option<&[u8]> {
    let (&[tag, length], rest) = bytes.split_first_chunk::<2>()?;
    if tag != 0x30 {
        return None;
    }
    // The length has this many more bytes. A byte above 0x84 is no length of a file, but text.
    match length {
        0..=0x80 => Some(rest),
        0x81..=0x84 => rest.get(usize::from(length & 0x0f)..),
        _ => None,
    }
}

fn describe_binary(format: BinaryFormat, expected: Expected) -> String {
    use BinaryFormat::{
        DerCertificate, DerEncryptedKey, DerKey, JavaKeyStore, Pkcs7, Pkcs12, Utf16,
    };
    use Expected::{Certificate, PrivateKey};
    let text = match (format, expected) {
        (Utf16, _) => {
            "it is in UTF-16, and not in ASCII: convert it with iconv -f UTF-16 -t ASCII FILE -o \
             NEW-FILE"
        }
        (JavaKeyStore, _) => {
            "it is a Java key store: convert it to PKCS#12 with keytool -importkeystore \
             -srckeystore FILE -destkeystore NEW-FILE -deststoretype PKCS12, and that with openssl \
             pkcs12"
        }
        (Pkcs12, Certificate) => {
            "it is PKCS#12: convert it with openssl pkcs12 -in FILE -nokeys -out NEW-FILE"
        }
        (Pkcs12, PrivateKey) => {
            "it is PKCS#12: convert it with umask 077; openssl pkcs12 -in FILE -nocerts -nodes -out \
             NEW-FILE"
        }
        (Pkcs7, Certificate) => {
            "it is PKCS#7 in DER: convert it with openssl pkcs7 -inform DER -in FILE -print_certs \
             -out NEW-FILE"
        }
        (DerCertificate, Certificate) => {
            "it is DER: convert it with openssl x509 -inform DER -in FILE -out NEW-FILE"
        }
        (DerKey, PrivateKey) => {
            "it is DER: convert it with umask 077; openssl pkey -inform DER -in FILE -out NEW-FILE"
        }
        (DerEncryptedKey, PrivateKey) => {
            "it is an encrypted key in DER: decrypt it with umask 077; openssl pkcs8 -inform DER \
             -in FILE -out NEW-FILE"
        }
        (DerKey | DerEncryptedKey, Certificate) => "it is a private key in DER, and no certificate",
        (DerCertificate, PrivateKey) => "it is a certificate in DER, and no private key",
        (Pkcs7, PrivateKey) => {
            "it is PKCS#7 in DER, which contains certificates and no private key"
        }
    };
    text.to_owned()
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

#[cfg(test)]
mod tests {
    use super::Expected::{Certificate, PrivateKey};
    use super::*;

    fn section(label: &str, content: &str) -> String {
        format!("-----BEGIN {label}-----\n{content}\n-----END {label}-----\n")
    }

    #[test]
    fn each_other_format_is_named_with_the_command_that_converts_it() {
        let pem = |label: &str| section(label, "MAA=").into_bytes();
        let encrypted = section("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\n\nMAA=").into_bytes();
        let indented = b"  -----BEGIN CERTIFICATE-----\n  MAA=\n".to_vec();
        for (file, expected, words) in [
            (
                pem("TRUSTED CERTIFICATE"),
                Certificate,
                "TRUSTED CERTIFICATE, which only OpenSSL reads: convert each one with openssl x509 -in",
            ),
            (pem("X509 CERTIFICATE"), Certificate, "openssl x509 -in"),
            (pem("PKCS7"), Certificate, "openssl pkcs7 -in"),
            (pem("CERTIFICATE REQUEST"), Certificate, "certificate request"),
            (pem("EC PRIVATE KEY"), Certificate, "a private key, and no certificate"),
            (pem("ENCRYPTED PRIVATE KEY"), PrivateKey, "is encrypted"),
            (encrypted, PrivateKey, "is encrypted"),
            (pem("OPENSSH PRIVATE KEY"), PrivateKey, "ssh-keygen -p -m PKCS8"),
            (pem("CERTIFICATE"), PrivateKey, "a certificate, and no private key"),
            (pem("PKCS7"), PrivateKey, "it is PKCS#7, which contains certificates"),
            (pem("CMS"), PrivateKey, "it is PKCS#7, which contains certificates"),
            (pem("X509 CRL"), PrivateKey, "revoked certificates, and no private key"),
            (
                b"\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02".to_vec(),
                PrivateKey,
                "it is PKCS#7 in DER",
            ),
            (b"\xff\xfe-\0-\0".to_vec(), Certificate, "iconv"),
            (b"-\0-\0".to_vec(), PrivateKey, "iconv"),
            (b"\xfe\xed\xfe\xed\0\0".to_vec(), PrivateKey, "Java key store"),
            (
                b"\x30\x82\x01\x00\x02\x01\x03\x30".to_vec(),
                Certificate,
                "openssl pkcs12 -in FILE -nokeys",
            ),
            (
                b"\x30\x82\x01\x00\x02\x01\x03\x30".to_vec(),
                PrivateKey,
                "openssl pkcs12 -in FILE -nocerts",
            ),
            (b"\x30\x82\x01\x00\x02\x01\x00\x30".to_vec(), PrivateKey, "openssl pkey -inform DER"),
            (b"\x30\x82\x01\x00\x30\x81\xe7\xa0".to_vec(), Certificate, "openssl x509 -inform DER"),
            (indented, Certificate, "indented"),
            (b"\r\n \n".to_vec(), Certificate, "empty"),
            (b"".to_vec(), PrivateKey, "empty"),
            (b"0123456789".to_vec(), Certificate, "contains no certificate"),
            (b"0 certificates".to_vec(), Certificate, "contains no certificate"),
        ] {
            let problem = match expected {
                Certificate => parse_certificates(&file).unwrap_err(),
                PrivateKey => parse_private_key(&file).unwrap_err(),
            };
            assert!(problem.contains(words), "{words:?}: {problem}");
        }
    }

    #[test]
    fn a_mark_and_any_line_end_are_read() {
        for end in ["\n", "\r\n", "\r"] {
            let text = section("CERTIFICATE", "MAA=").replace('\n', end);
            for file in [text.clone(), format!("\u{feff}{text}"), format!("a comment{end}{text}")] {
                assert_eq!(parse_certificates(file.as_bytes()).unwrap().len(), 1, "{file:?}");
            }
        }
    }

    #[test]
    fn a_certificate_that_cannot_be_read_is_not_left_out() {
        let both = section("CERTIFICATE", "MAA=") + &section("TRUSTED CERTIFICATE", "MAA=");
        assert!(parse_certificates(both.as_bytes()).unwrap_err().contains("TRUSTED CERTIFICATE"));
    }

    #[test]
    fn no_part_of_a_damaged_key_is_shown() {
        let secret = "c2VjcmV0";
        let on_one_line =
            format!("-----BEGIN PRIVATE KEY-----\\n{secret}\\n-----END PRIVATE KEY-----");
        let cut_off = format!("-----BEGIN PRIVATE KEY-----\n{secret}\n");
        let no_base64 = section("PRIVATE KEY", &format!("{secret}*"));
        for (file, words) in [
            (on_one_line, "replace them by line breaks"),
            (format!("-----BEGIN PRIVATE KEY----- {secret}"), "must end with a line break"),
            (format!("-----BEGIN PRIVATE KEY {secret}-----"), "no END line"),
            (cut_off, "no END line"),
            (no_base64, "not valid base64"),
        ] {
            let problem = parse_private_key(file.as_bytes()).unwrap_err();
            assert!(problem.contains(words), "{problem}");
            // The parser shows a line as a list of bytes.
            assert!(!problem.contains(secret) && !problem.contains("99, 50"), "{problem}");
        }
    }
}
