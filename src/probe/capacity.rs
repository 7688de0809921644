//! Conversion of the figures of one `fstatvfs(3)` call to a capacity, with a plausibility check.

use super::worker::protocol::FilesystemStats;
use crate::model::{Capacity, Fault, InodeCounts, Reason};

/// Returns space and inodes: `total = f_blocks * f_frsize` and `available = f_bavail * f_frsize`,
/// the space that an unprivileged writer may use. Filesystems without a fixed number of inodes
/// (btrfs) report 0 of them, and the inode counts are then `None`.
///
/// # Errors
/// `capacity_implausible` with the raw figures.
pub(super) fn check_capacity(
    stats: &FilesystemStats,
) -> Result<(Capacity, Option<InodeCounts>), Fault> {
    let implausible = |what: String| {
        Fault::new(Reason::CapacityImplausible, what)
            .with_detail("blocks", stats.blocks)
            .with_detail("blocksAvailable", stats.blocks_available)
            .with_detail("fragmentSize", stats.fragment_size)
    };
    let bytes = |blocks: u64| {
        blocks
            .checked_mul(stats.fragment_size)
            .ok_or_else(|| implausible("the filesystem's figures overflow 64 bits".to_owned()))
    };
    let (total, available) = (bytes(stats.blocks)?, bytes(stats.blocks_available)?);
    let capacity = Capacity::new(total, available).map_err(|why| implausible(why.to_string()))?;
    let inodes = (stats.files > 0).then(|| InodeCounts {
        total: stats.files,
        available: stats.files_available.min(stats.files),
    });
    Ok((capacity, inodes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(fragment_size: u64, blocks: u64, blocks_available: u64) -> FilesystemStats {
        FilesystemStats { fragment_size, blocks, blocks_available, files: 10, files_available: 4 }
    }

    #[test]
    fn fragments_count_and_not_blocks() {
        let (capacity, inodes) = check_capacity(&stats(1024, 100, 30)).unwrap();
        assert_eq!((capacity.total(), capacity.available()), (102_400, 30_720));
        assert_eq!(inodes, Some(InodeCounts { total: 10, available: 4 }));
    }

    #[test]
    fn no_inodes_are_none_and_not_zero() {
        let stats = FilesystemStats { files: 0, files_available: 0, ..stats(4096, 10, 5) };
        assert_eq!(check_capacity(&stats).unwrap().1, None);
    }

    #[test]
    fn impossible_figures_are_a_fault_with_the_figures() {
        for bad in
            [stats(4096, 0, 0), stats(0, 10, 5), stats(4096, 5, 10), stats(4096, u64::MAX, 1)]
        {
            let fault = check_capacity(&bad).unwrap_err();
            assert_eq!(fault.reason(), Reason::CapacityImplausible);
            assert!(fault.facts().contains_key("blocks"));
        }
    }

    #[test]
    fn a_full_disk_is_no_fault() {
        assert_eq!(check_capacity(&stats(4096, 10, 0)).unwrap().0.available(), 0);
    }
}
