//! The faults of keys and of the roots of the system.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use super::*;

#[test]
fn the_error_of_the_system_roots_is_named() {
    let none: [io::Error; 0] = [];
    assert!(no_roots_problem(&none).ends_with(": install ca-certificates"));
    let denied = [io::Error::from_raw_os_error(13)];
    let problem = no_roots_problem(&denied);
    assert!(problem.ends_with("that can be read: Permission denied (os error 13)"), "{problem}");
}

/// Keys that were made for this test.
const P521: &str = "\
    -----BEGIN PRIVATE KEY-----\n\
    MIHuAgEAMBAGByqGSM49AgEGBSuBBAAjBIHWMIHTAgEBBEIAzq0dXFeGfAvkxRDr\n\
    2HYLyZMOPQJzafhT9WFNLADmMhxTmMM22QTj9qi7rpuRm9nhF5D33j2BsGxRDBjb\n\
    I/3N4+ehgYkDgYYABAD12JzTgdjKUWT6A6kAkgIvotRM0f2Ie+zyLw6KlYTbrfgz\n\
    VlwYUFBGLbpmWuOKbcgCU8fxYk85ACYFkP0Ksy54XgFWIJI/39biBr0V+UjC+lMp\n\
    xzpZhXHtjdXb4MAUJN5js4DIGl1NLXVs24uicp/i/f0PndyrSEKb9lCwzMkgM0Cj\n\
    tg==\n\
    -----END PRIVATE KEY-----\n
";
const SECP256K1: &str = "\
    -----BEGIN PRIVATE KEY-----\n\
    MIGEAgEAMBAGByqGSM49AgEGBSuBBAAKBG0wawIBAQQgYBVoZrsOe8nt0RYNev7d\n\
    SI3qxO4Wm+hQCTeQyjgmeVehRANCAAQvZG0/HRzQ0pEN8EhqQqyw/yIObGkZO6Wl\n\
    62MKtsM/LkA4LL1Vj1Zffye0GLoMZ/k1BMmIzCgHF9u3yO90LW2+\n\
    -----END PRIVATE KEY-----\n
";
const RSA_1024: &str = "\
    -----BEGIN PRIVATE KEY-----\n\
    MIICdgIBADANBgkqhkiG9w0BAQEFAASCAmAwggJcAgEAAoGBAL2llXvBl5NmAbtv\n\
    9q03hd+7LWWRFd081zC1SDuWizySy4PfV0/EiXWRDhio0j/SQf2ExrUVT+5ox50f\n\
    imjKeOw4sdUiawrRx3tqaCJBT6DZEm34iGhEbfUGqF6hRX/JlBMJKP3A8B91rogt\n\
    GIK8w6AZcsKegf/XokXyBM8gxFQtAgMBAAECgYAcibxS4TD0B1efYxvVuRM2Na6B\n\
    KDIIFs2zELSL8v2E4foqIAO9hy/AN1HNuCnbXMJ9aeuU+F4M3Eudg0+KsV08vHOo\n\
    JzdIIlTvoVrAyjagWWYZynrBzaOcm3xz958MxDK16d4vXKiWmKuFI7Sgwqnx4KJw\n\
    G4i1koqi0NscD5GUAQJBAOXciGjytmZFygHEqlvoqokBX07kIH0jiROkaQlY+3Yb\n\
    Pend9Lq1O3uq7JozgYPaUgiP74XD6gh+Q46Q1e2AEoECQQDTNl4lUK62cjkPEp4i\n\
    KNsBCcISIqM+traGU6pQC42I6FickJ+PZQOc7MT4qCWHwQ4+4DWige/t+T8yImOP\n\
    OFOtAkAM8hWwq3LAYc/Vt6jMklcAblZa0BhQU+8Fby4HO7610ST0he6hkVFvTpoS\n\
    uTHjJimWl9yqkPUeU1Yksl2KCbuBAkAXgqLCJpP8DQTa76iYhtGx8OMgX6iqL25r\n\
    z15S4KZVif9rFhIcxRK84gIe56Cd1th+GTj/KNWLOMZXD0rjw1JVAkEAuT0utPth\n\
    JpFWZ53lxcpew1l1JwPecM09pdqT7C9oaRvIg/h3/npygxixih2mV0Xb9ax2ZuCx\n\
    mcU7saiKvauLCg==\n\
    -----END PRIVATE KEY-----\n
";
const P256: &str = "\
    -----BEGIN PRIVATE KEY-----\n\
    MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQghWLeerQsdlSrWVCp\n\
    EI5lJQW+uU7aPzeDOIOJRw++GS+hRANCAASvrFsz/qFzlQAQyR0KzsipySHHhuYr\n\
    suRZYoEW0u3cg0ikyMsAzIF0zJTALBkVlHkHvGOSOsWj03lH+vSA2yY8\n\
    -----END PRIVATE KEY-----\n
";

#[test]
fn a_key_of_an_unsupported_kind_is_named_with_its_setting() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.pem");
    let policy = FilePolicy::of_process();
    for (key, is_supported) in [(P521, false), (SECP256K1, false), (RSA_1024, false), (P256, true)]
    {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(&path).unwrap().write_all(key.as_bytes()).unwrap();
        let read = read_private_key(KEY_SETTING, &path, &policy);
        match read {
            Ok(_) => assert!(is_supported, "{key}"),
            Err(error) => {
                let text = error.to_string();
                assert!(!is_supported, "{text}");
                assert!(
                    text.contains("server.tls.key") && text.contains("P-256 or P-384"),
                    "{text}"
                );
            }
        }
    }
}

#[test]
fn a_key_of_another_certificate_is_named() {
    let mismatch = rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch);
    let problem = identity_problem(&mismatch, KEY_SETTING);
    assert_eq!(problem, "its public key is not that of the private key in server.tls.key");
}

/// Certificates that were made for this test.
const CA_SECP256K1: &str = "\
    -----BEGIN CERTIFICATE-----\n\
    MIIBbzCCARSgAwIBAgIUTLGXDh3Gwm/SRGpBuVHsVzcWGkwwCgYIKoZIzj0EAwIw\n\
    DTELMAkGA1UEAwwCY2EwIBcNMjYxMTI3MTU0MzAwWhgPMjEyNjExMDMxNTQzMDBa\n\
    MA0xCzAJBgNVBAMMAmNhMFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAEuAr0dsR3NsT/\n\
    b+f4ceGHbnopkwr83Uw7Pshf6m0TJAF4UrXevBhZVyLvy9xMlz6BBg+BJXX7u6Fd\n\
    inU6FHgYe6NTMFEwHQYDVR0OBBYEFHdlTmU0N1VOfC6+cx7xC8rtX/4aMB8GA1Ud\n\
    IwQYMBaAFHdlTmU0N1VOfC6+cx7xC8rtX/4aMA8GA1UdEwEB/wQFMAMBAf8wCgYI\n\
    KoZIzj0EAwIDSQAwRgIhAK1fPmS1ax2wzEEouBE0qxkW9XwmHSD9ojte7XUl39cc\n\
    AiEAlx1RPFgfnRX9nyjdDBKCvuIc2+9sXqrAp/lyF0PCLE0=\n\
    -----END CERTIFICATE-----\n";
const CA_P521: &str = "\
    -----BEGIN CERTIFICATE-----\n\
    MIIB+TCCAVqgAwIBAgIUWhHs5F9d7IzcIw/baIruOvwMOxkwCgYIKoZIzj0EAwIw\n\
    DTELMAkGA1UEAwwCY2EwIBcNMjYxMTI3MTU0MzAxWhgPMjEyNjExMDMxNTQzMDFa\n\
    MA0xCzAJBgNVBAMMAmNhMIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQBSzTJA92j\n\
    WP5cDbp2f33mT9LrkTwKCU2NwV/ElDu/IKy6geo/izzc8utwglQGMiHAAzXfVrEd\n\
    PDgcXsNbI8TPKRABpkxeZ4UoQsCeY+7xpOqvt6wW7VpCyhb7/lqOm05dm22PcY8c\n\
    IWPxfafkaXvuMD4IUGtDiINjOmvgRfzRCu7lJxWjUzBRMB0GA1UdDgQWBBSYTWk6\n\
    9O+hj4mqbaEqrjPvtxXMYjAfBgNVHSMEGDAWgBSYTWk69O+hj4mqbaEqrjPvtxXM\n\
    YjAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA4GMADCBiAJCAZpMFMDRGNlQ\n\
    M6SeQzf9L8KjsX3qY1OyaO9XtY6vZhyy9yuU6q0jYCAZyEomBlo3Lw7z2tAFscR9\n\
    1lb2dZe7ihFOAkIBD9TSBVd5iylHCR8JllAaUk/SZTYuPZzQTL4evJ5ECpLpS1d4\n\
    qvWWLZZPHCGR/dksvnHTUCojKMsD2K6SFlYkZdM=\n\
    -----END CERTIFICATE-----\n";
const CA_P256: &str = "\
    -----BEGIN CERTIFICATE-----\n\
    MIIBcjCCARegAwIBAgIUU6dVV6w3QpMPm2ETdc2djvy8Au4wCgYIKoZIzj0EAwIw\n\
    DTELMAkGA1UEAwwCY2EwIBcNMjYxMTI3MTU0MzAxWhgPMjEyNjExMDMxNTQzMDFa\n\
    MA0xCzAJBgNVBAMMAmNhMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEDQQ33Of8\n\
    9raB/XGRxXNGyqGu1hznaPjfkOyukSZP0DFYwcqoPtYhSK4cUA1IeMGjTEMc8/eE\n\
    G3acnKd3K83gB6NTMFEwHQYDVR0OBBYEFH28knEdMJvgK85w3LgHJSI/aEYYMB8G\n\
    A1UdIwQYMBaAFH28knEdMJvgK85w3LgHJSI/aEYYMA8GA1UdEwEB/wQFMAMBAf8w\n\
    CgYIKoZIzj0EAwIDSQAwRgIhALXPSmAPrXSLazkj6pKb+8KS1LLu4vgR2vjHmoGm\n\
    5QNyAiEAg/X2US4WpP/T1XbQjleCIhcXBbc3o2FAoLeRVxQGA6I=\n\
    -----END CERTIFICATE-----\n";
const CA_ED25519: &str = "\
    -----BEGIN CERTIFICATE-----\n\
    MIIBMDCB46ADAgECAhQHvzmWofVDobZB9c2K7osFrLmBLzAFBgMrZXAwDTELMAkG\n\
    A1UEAwwCY2EwIBcNMjYxMTI3MTU0MzAxWhgPMjEyNjExMDMxNTQzMDFaMA0xCzAJ\n\
    BgNVBAMMAmNhMCowBQYDK2VwAyEAySG1MLGYJccbvndD7w9GbmbZ+L96ib87y8Do\n\
    PSm9bQ2jUzBRMB0GA1UdDgQWBBR06zxi4+O/hTeS+pNhrWw1MaLWsTAfBgNVHSME\n\
    GDAWgBR06zxi4+O/hTeS+pNhrWw1MaLWsTAPBgNVHRMBAf8EBTADAQH/MAUGAytl\n\
    cANBAPA8p94SBHBnSEeM4xZNA8IdaNeWfMC/fVRcD2Du3coQ675V84PbD1kRa3rb\n\
    32akZ2AUYhvSfOSCbNvMOG00EAE=\n\
    -----END CERTIFICATE-----\n";
const CA_RSA_1024: &str = "\
    -----BEGIN CERTIFICATE-----\n\
    MIIB+DCCAWGgAwIBAgIUWLhINHTk89SIaGzxBtsJMOukBycwDQYJKoZIhvcNAQEL\n\
    BQAwDTELMAkGA1UEAwwCY2EwIBcNMjYxMTI3MTU0MzAxWhgPMjEyNjExMDMxNTQz\n\
    MDFaMA0xCzAJBgNVBAMMAmNhMIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCX\n\
    eeQjZjuJJV7kd1yS2Oq5hkl92RbkPXrAIijjcx5scP321M6ZB16+e8ixOk7uTT41\n\
    0U9D6c8vfJQmioX5evlPO91GCJDldXAiLc9qpdssMASNGRqOY1jp9Ozv1Os9A72d\n\
    XDOFwkuW9xfbyT4fZL1fvjheHHL/KGN2IkHzE+NViwIDAQABo1MwUTAdBgNVHQ4E\n\
    FgQUnJgobOJ1crAmm0H0WQmtHbLkZIswHwYDVR0jBBgwFoAUnJgobOJ1crAmm0H0\n\
    WQmtHbLkZIswDwYDVR0TAQH/BAUwAwEB/zANBgkqhkiG9w0BAQsFAAOBgQAPQ2eU\n\
    pEN0ILaWTy/JSyXEdRnDoiptCkwbMrVt4z3mnT54TLsqj8VT3h8W9TL4eSNy1Bdm\n\
    OPHA0XQUQXc7b2Mjn9jvpDR6eCzQL/gBOBBkcBA190cHTT/iUoS8IDxQl78+PoqK\n\
    Woin+TDWxkGuzGkhMBZqp+k6d+oY0GzmpIvs/w==\n\
    -----END CERTIFICATE-----\n";
const CA_RSA_2048: &str = "\
    -----BEGIN CERTIFICATE-----\n\
    MIIC/TCCAeWgAwIBAgIUUcOl3PIhoHYjHwfn2or3bjqtbKwwDQYJKoZIhvcNAQEL\n\
    BQAwDTELMAkGA1UEAwwCY2EwIBcNMjYxMTI3MTU0MzAyWhgPMjEyNjExMDMxNTQz\n\
    MDJaMA0xCzAJBgNVBAMMAmNhMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKC\n\
    AQEA2fSwSetRu7o3Sk5Whr6sk0dExtm+L1HSrmeSpjkHZ/qGODg5R+2LYfKtZZGe\n\
    IQsCvmwK98H1RgHRDbSyHXQBE+b3FgWftMj59VirFBJCnWde3jgusWyidCwcTxLt\n\
    NJndMIuLpWjnIAhBtvzqSJLneN+6XoS0i9kjwKmZsohusQ72LewGxLKGXs952XiP\n\
    c29sXb+6NW6pl9wcSRoTlibzGvzEWRNeevsElDGCkba4K7lb3wmtOfZ40O+wNu7v\n\
    kFKb/K6gneAiS0OvIQHdHhePosDjOeuCn+F65Tja3wKbwXWkmOKh+WeRGAtLshVo\n\
    1/uPv+bKf2t25UN5gVU53qBJ3QIDAQABo1MwUTAdBgNVHQ4EFgQUu0n0UJN+/PQY\n\
    /lYhI7leqhxEBq4wHwYDVR0jBBgwFoAUu0n0UJN+/PQY/lYhI7leqhxEBq4wDwYD\n\
    VR0TAQH/BAUwAwEB/zANBgkqhkiG9w0BAQsFAAOCAQEAeS8g+eJRILxeohi8viB8\n\
    jiRQ1Jbrj7QA4DjWZHSErYyQMLhBQc67NMamtQQnyiqCAOlmHkjcKOdL6O6eZBIl\n\
    SreFTZB97UJELrJ5iuyexzaqtf9r3hjO8Lbc292fEldSy+rWIqJJiB0rCstzUVCP\n\
    XDELKuxZK4whEN92+e6PaWQgwlAgLbvMGV/FyJrtgSX5Gvsj2nZ/kPQ9i3RZAFha\n\
    TiSXZ+9hVUkiYxLJ908vw9DiX2dKPFoJL1WSYLvK99wwrPGZO1IzxrobDZfVcK3J\n\
    daEj9CGHlMrPcq8H9VVN5A1L5C2NFaXSc6ab5Ep1l4eAF+wrbeG8CtZ+W3jE5YT9\n\
    Ww==\n\
    -----END CERTIFICATE-----\n";

#[test]
fn an_authority_that_can_verify_no_certificate_is_named_with_its_setting() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let policy = FilePolicy::of_process();
    for (authority, is_supported) in [
        (CA_SECP256K1, false),
        (CA_P521, false),
        (CA_RSA_1024, false),
        (CA_P256, true),
        (CA_ED25519, true),
        (CA_RSA_2048, true),
    ] {
        // One authority beside another one is found too.
        for (position, text) in [(1, authority.to_owned()), (2, [CA_P256, authority].concat())] {
            std::fs::write(&path, text).unwrap();
            let position = format!("certificate {position} in it");
            let names = ["callback.ca_file", "", ""];
            let trust = ClientTlsFiles { ca: Some(&path), identity: None, names };
            match client_config(&trust, &policy) {
                Ok(_) => assert!(is_supported, "{authority}"),
                Err(error) => {
                    let text = error.to_string();
                    assert!(!is_supported, "{text}");
                    for part in ["callback.ca_file", &position, "P-256 or P-384"] {
                        assert!(text.contains(part), "{text}");
                    }
                }
            }
        }
    }
}

#[test]
fn no_bytes_of_a_public_key_make_the_check_of_an_authority_panic() {
    let certificate = pem::parse_certificates(CA_RSA_2048.as_bytes()).unwrap().remove(0);
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let key_info = roots.roots[0].subject_public_key_info.as_ref();
    let provider = crypto_provider();
    assert!(authority::is_supported(key_info, &provider));
    for at in 0..key_info.len() {
        assert!(!authority::is_supported(&key_info[..at.min(200)], &provider), "{at}");
        for byte in [0, 0x7f, 0x80, 0x84, 0xff] {
            let mut changed = key_info.to_vec();
            changed[at] = byte;
            let _ = authority::is_supported(&changed, &provider);
        }
    }
}
