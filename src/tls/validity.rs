//! The time for which a certificate is valid (RFC 5280, section 4.1.2.5).

use std::time::Duration;

use data_encoding::HEXLOWER;
use pkcs8::der::asn1::{AnyRef, GeneralizedTime, UtcTime};
use pkcs8::der::{self, Decode as _, SliceReader, Tag, Tagged as _};
use ring::digest::{Context, SHA256};
use rustls::pki_types::CertificateDer;

use crate::common::Timestamp;
use crate::diagnosis::CertificateFact;

/// Returns the validity and the digest of a certificate with its chain, or `None` if one of them is
/// not of the form of X.509.
pub(super) fn chain_validity(chain: &[CertificateDer<'_>]) -> Option<CertificateFact> {
    let times: Vec<_> = chain.iter().map(|one| validity(one)).collect::<Result<_, _>>().ok()?;
    let mut digest = Context::new(&SHA256);
    chain.iter().for_each(|certificate| digest.update(certificate));
    Some(CertificateFact {
        not_before: times.iter().map(|(not_before, _)| *not_before).max()?,
        not_after: times.iter().map(|(_, not_after)| *not_after).min()?,
        sha256: HEXLOWER.encode(digest.finish().as_ref()),
    })
}

/// Returns the first and the last time of a certificate.
fn validity(certificate: &[u8]) -> der::Result<(Timestamp, Timestamp)> {
    let mut fields = SliceReader::new(AnyRef::from_der(certificate)?.value())?;
    let mut signed = SliceReader::new(AnyRef::decode(&mut fields)?.value())?;
    // A version precedes the serial number, except in version 1.
    if AnyRef::decode(&mut signed)?.tag().is_context_specific() {
        AnyRef::decode(&mut signed)?;
    }
    // The algorithm of the signature, and the issuer.
    AnyRef::decode(&mut signed)?;
    AnyRef::decode(&mut signed)?;
    let mut times = SliceReader::new(AnyRef::decode(&mut signed)?.value())?;
    Ok((time(AnyRef::decode(&mut times)?)?, time(AnyRef::decode(&mut times)?)?))
}

fn time(value: AnyRef<'_>) -> der::Result<Timestamp> {
    let since_1970: Duration = match value.tag() {
        Tag::UtcTime => value.decode_as::<UtcTime>()?.to_unix_duration(),
        _ => value.decode_as::<GeneralizedTime>()?.to_unix_duration(),
    };
    Ok(Timestamp(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(first: i32, last: i32) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["mn-1".to_owned()]).unwrap();
        params.not_before = date_time_ymd(first, 2, 3);
        params.not_after = date_time_ymd(last, 4, 5);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    #[test]
    fn a_chain_is_valid_while_each_of_its_certificates_is() {
        // A year from 2050 on has four digits.
        let (one, other) = (certificate(2020, 2060), certificate(2024, 2049));
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let first = chain_validity(std::slice::from_ref(&one)).unwrap();
        assert_eq!(first.not_before, at("2020-02-03T00:00:00Z"));
        assert_eq!(first.not_after, at("2060-04-05T00:00:00Z"));
        let both = chain_validity(&[one.clone(), other]).unwrap();
        assert_eq!(both.not_before, at("2024-02-03T00:00:00Z"));
        assert_eq!(both.not_after, at("2049-04-05T00:00:00Z"));
        assert_eq!(both.sha256.len(), 64);
        assert_ne!(first.sha256, both.sha256);
        assert_eq!(chain_validity(&[CertificateDer::from(vec![0x30, 0x00])]), None);
        assert_eq!(chain_validity(&[]), None);
    }

    #[test]
    fn a_damaged_certificate_has_no_validity_and_does_no_harm() {
        let whole = certificate(2020, 2060);
        for length in 0..whole.len() {
            let cut = CertificateDer::from(whole[..length].to_vec());
            assert_eq!(chain_validity(&[cut]), None, "{length}");
        }
    }
}
