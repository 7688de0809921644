//! Errors of the system that mean that this process, or the whole machine, is short of a resource.
//! They say nothing about the peer or the disk that was to be reached.

use std::io;

use nix::errno::Errno;

/// Returns true if the error means that descriptors, memory or processes are used up.
pub fn is_resource_shortage(error: &io::Error) -> bool {
    error.raw_os_error().map(Errno::from_raw).is_some_and(|errno| {
        matches!(
            errno,
            Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::ENOBUFS | Errno::EAGAIN
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_this_process_is_told_from_an_answer_of_the_peer() {
        for (errno, is_shortage) in [
            (Errno::EMFILE, true),
            (Errno::ENFILE, true),
            (Errno::ENOMEM, true),
            (Errno::ENOBUFS, true),
            (Errno::EAGAIN, true),
            // An address family that is disabled looks the same as ports that are used up.
            (Errno::EADDRNOTAVAIL, false),
            (Errno::ECONNREFUSED, false),
            (Errno::ETIMEDOUT, false),
            (Errno::EHOSTUNREACH, false),
            (Errno::EIO, false),
            (Errno::ENOSPC, false),
        ] {
            assert_eq!(is_resource_shortage(&errno.into()), is_shortage, "{errno}");
        }
        assert!(!is_resource_shortage(&io::Error::other("no errno")));
    }
}
