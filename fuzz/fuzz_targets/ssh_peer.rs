//! Feeds the SSH client the bytes of a server and the texts of private keys.
#![no_main]

use imagestore_agent::ssh::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&which, data)) = data.split_first() else { return };
    match which % 4 {
        0 => fuzzing::fuzz_banner(data),
        1 => fuzzing::fuzz_sftp_packets(data),
        2 => fuzzing::fuzz_remote_file(data),
        _ => fuzzing::fuzz_private_key(data),
    }
});
