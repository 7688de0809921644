//! The runbooks of the disk of a store.

use super::RunbookText;
use crate::catalog::Text;

pub(super) const CAPACITY_UNCHANGED: RunbookText = RunbookText {
    title: Text {
        en: "The capacity is unchanged after the disk has grown", zh: "扩容后容量不变"
    },
    situation: Text {
        en: "The disk or the volume has grown, but the total capacity in the management node is the old one. Most often only the block device has grown, and not the filesystem on it.",
        zh: "磁盘或卷已扩容，但管理节点上的总容量没有变化。多数情况下只扩了块设备，没有扩其上的文件系统。",
    },
    steps: &[
        Text {
            en: "Compare the device with the filesystem: `lsblk` and `df -h DIRECTORY`.",
            zh: "比较块设备与文件系统的大小：`lsblk` 和 `df -h DIRECTORY`。",
        },
        Text {
            en: "If the filesystem is smaller, grow it with the tool of its type (`xfs_growfs DIRECTORY`, `resize2fs DEVICE`).",
            zh: "如果文件系统较小，用对应的工具扩容（`xfs_growfs DIRECTORY`、`resize2fs DEVICE`）。",
        },
        Text {
            en: "Reconnect, which measures again and reports: `imagestore-agent reconnect STORE`. The monitor does the same within `monitor.interval`.",
            zh: "执行重连，会重新测量并上报：`imagestore-agent reconnect STORE`。监控也会在 `monitor.interval` 内重新测量并上报。",
        },
        Text {
            en: "Compare the figures: `imagestore-agent show STORE`. The management node takes total and available capacity from the reconnect, and subtracts its own reserve only when it allocates.",
            zh: "核对数值：`imagestore-agent show STORE`。管理节点在重连时取得总容量和可用容量，分配时才减去自己的保留容量。",
        },
    ],
};

pub(super) const DISK_REPLACED: RunbookText = RunbookText {
    title: Text { en: "A disk was replaced, or the node was reinstalled", zh: "换盘/重装后" },
    situation: Text {
        en: "After a new disk the reason is `marker_missing`, `not_mounted` or `wrong_store`; after a new system it is `host_key_changed` or `taken_over`.",
        zh: "换盘后，原因通常是 `marker_missing`、`not_mounted` 或 `wrong_store`；重装系统后，通常是 `host_key_changed` 或 `taken_over`。",
    },
    steps: &[
        Text {
            en: "See which disk is mounted: `findmnt -T DIRECTORY`. Mount the right one, also in `/etc/fstab`.",
            zh: "查看挂载的是哪块磁盘：`findmnt -T DIRECTORY`。挂载正确的磁盘，并写入 `/etc/fstab`。",
        },
        Text {
            en: "If the images were copied to the new disk, copy `.imagestore-agent/identity.json` with them. It says which store the directory is.",
            zh: "如果镜像已复制到新磁盘，把 `.imagestore-agent/identity.json` 一并复制。它表明该目录属于哪个镜像服务器。",
        },
        Text {
            en: "If the host key is new, compare it on the server (`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`), then run `imagestore-agent accept-host-key STORE`.",
            zh: "如果主机密钥是新的，先在服务端核对（`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`），再执行 `imagestore-agent accept-host-key STORE`。",
        },
        Text {
            en: "If `state.dir` was lost, add the directory again with its uuid: `imagestore-agent add --uuid UUID --take-over --name NAME --path DIRECTORY --hostname HOST --username USER`.",
            zh: "如果 `state.dir` 已丢失，用原来的 uuid 重新添加该目录：`imagestore-agent add --uuid UUID --take-over --name NAME --path DIRECTORY --hostname HOST --username USER`。",
        },
    ],
};

pub(super) const DISK_FULL: RunbookText = RunbookText {
    title: Text { en: "A disk is full", zh: "磁盘满" },
    situation: Text {
        en: "The store has the condition `full`, `quota_exceeded` or `inodes_full`. It stays Connected, because its images can still be read.",
        zh: "镜像服务器出现告警 `full`、`quota_exceeded` 或 `inodes_full`。它仍是已连接 (Connected)，因为镜像还可以读取。",
    },
    steps: &[
        Text {
            en: "See what is used up: `df -h DIRECTORY` for space, `df -i DIRECTORY` for inodes.",
            zh: "查看用完的是什么：空间用 `df -h DIRECTORY`，inode 用 `df -i DIRECTORY`。",
        },
        Text {
            en: "Delete images in the management node, and expunge them there; do not delete files below `registry/` by hand.",
            zh: "在管理节点上删除并彻底删除镜像；不要手动删除 `registry/` 下的文件。",
        },
        Text {
            en: "Or grow the filesystem, then follow the runbook `capacity-unchanged`.",
            zh: "或扩容文件系统，然后按操作手册 `capacity-unchanged` 操作。",
        },
        Text {
            en: "The disk of `state.dir` is another matter: if it is full (`df -h /var/lib/imagestore-agent`), free it first.",
            zh: "`state.dir` 所在磁盘要另外查看：如果它满了（`df -h /var/lib/imagestore-agent`），先清理它。",
        },
    ],
};

pub(super) const DISK_HANGS: RunbookText = RunbookText {
    title: Text { en: "A disk hangs or is slow", zh: "磁盘卡住或变慢" },
    situation: Text {
        en: "A probe of the directory does not end (`probe_timeout`, `probe_stuck`), or it takes long (`slow_probe`). Other stores and the daemon itself are not affected.",
        zh: "目录探测没有结束（`probe_timeout`、`probe_stuck`），或耗时过长（`slow_probe`）。其他镜像服务器和代理自身不受影响。",
    },
    steps: &[
        Text {
            en: "Read the duration of the probes and the process id of a stuck worker: `imagestore-agent show STORE`.",
            zh: "查看探测耗时，以及卡住的工作进程的进程号：`imagestore-agent show STORE`。",
        },
        Text {
            en: "Find the cause of the wait: `cat /proc/PID/stack`, the kernel log (`dmesg`), and the health of the disk (`smartctl -a DEVICE`).",
            zh: "查找等待的原因：`cat /proc/PID/stack`、内核日志（`dmesg`），以及磁盘的健康状况（`smartctl -a DEVICE`）。",
        },
        Text {
            en: "Bring the disk or its server back. For a network mount whose server stays away, release it: `umount -f DIRECTORY`, then `umount -l DIRECTORY`.",
            zh: "恢复磁盘或存储服务端。若为网络挂载且服务端无法恢复，释放挂载：`umount -f DIRECTORY`，再执行 `umount -l DIRECTORY`。",
        },
        Text {
            en: "The stuck worker then ends, and the daemon reconnects the store after `monitor.recover_after` good probes.",
            zh: "卡住的工作进程随后会结束；连续 `monitor.recover_after` 次探测正常后，代理会自动重连。",
        },
    ],
};
