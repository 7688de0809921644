//! What an SSH server may say, and what a person may give for a private key.
#![no_main]

use imagestore_agent::ssh::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&which, data)) = data.split_first() else { return };
    match which % 4 {
        0 => fuzzing::a_server_introduces_itself(data),
        1 => fuzzing::sftp_is_answered(data),
        2 => fuzzing::a_file_is_read_there(data),
        _ => fuzzing::a_private_key_is_given(data),
    }
});
