//! The process that holds a lock, as the kernel names it to this PID namespace.
#![expect(clippy::disallowed_methods, reason = "procfs does not hang")]

/// Returns true if the process of this PID namespace holds a lock of `flock(2)` on the file with
/// this inode. The id that a daemon has written is one of its own namespace. The device is not
/// compared, because that of `stat(2)` is another one on btrfs.
pub(super) fn holds_lock(pid: u32, inode: u64) -> bool {
    std::fs::read_to_string("/proc/locks").is_ok_and(|table| is_holder(&table, pid, inode))
}

/// Looks for a line such as `1: FLOCK  ADVISORY  WRITE 1234 fe:00:6291828 0 EOF`.
fn is_holder(table: &str, pid: u32, inode: u64) -> bool {
    let (pid, inode) = (pid.to_string(), inode.to_string());
    table.lines().any(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let kind = words.next();
        let (holder, file) = (words.nth(2), words.next());
        let found = file.and_then(|file| file.rsplit(':').next());
        (kind, holder, found) == (Some("FLOCK"), Some(pid.as_str()), Some(inode.as_str()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_process_that_the_kernel_names_holds_the_lock() {
        let table = "1: POSIX  ADVISORY  WRITE 7 fe:00:5 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 1234 fe:00:6291828 0 EOF\n\
                     2: -> FLOCK  ADVISORY  READ 99 fe:00:6291828 0 EOF\n";
        assert!(is_holder(table, 1234, 6_291_828));
        for (pid, inode) in [(1, 6_291_828), (99, 6_291_828), (1234, 828), (7, 5)] {
            assert!(!is_holder(table, pid, inode), "{pid} {inode}");
        }
        assert!(!is_holder("", 1, 1));
    }
}
