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
