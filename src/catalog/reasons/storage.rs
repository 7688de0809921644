//! The reasons why the directory cannot be used.

use super::impact::{STORE_DOWN_HARD, STORE_DOWN_SOFT, WRITES_FAIL};
use crate::catalog::{Guidance, Text};

pub(super) const PERMISSION_DENIED: Guidance = Guidance {
    meaning: Text {
        en: "The daemon's user may not access the image directory.",
        zh: "代理的运行用户无权访问镜像目录。",
    },
    impact: STORE_DOWN_HARD,
    action: Text {
        en: "run `imagestore-agent init DIRECTORY` as root, to give the daemon's user access to it",
        zh: "以 root 身份执行 `imagestore-agent init DIRECTORY`，为代理的运行用户授权",
    },
};

pub(super) const READ_ONLY: Guidance = Guidance {
    meaning: Text {
        en: "The filesystem is read-only, which the kernel often does after a disk error.",
        zh: "文件系统处于只读状态，通常是内核在磁盘出错后所为。",
    },
    impact: WRITES_FAIL,
    action: Text {
        en: "check the kernel log (`dmesg`) and the disk, then remount the filesystem read-write",
        zh: "检查内核日志（`dmesg`）和磁盘，然后以读写方式重新挂载文件系统",
    },
};

pub(super) const NAMESPACE_READ_ONLY: Guidance = Guidance {
    meaning: Text {
        en: "The filesystem is writable, but the sandbox of the daemon sees it read-only.",
        zh: "文件系统可写，但代理所在的沙箱看到的是只读。",
    },
    impact: WRITES_FAIL,
    action: Text {
        en: "add the directory to `ReadWritePaths`, or mount the volume `:rw`: the filesystem is writable, but this sandbox sees it read-only",
        zh: "把该目录加入 `ReadWritePaths`，或以 `:rw` 挂载卷：文件系统本身可写，只是沙箱内为只读",
    },
};

pub(super) const IO_ERROR: Guidance = Guidance {
    meaning: Text {
        en: "The disk answered with an input/output error.",
        zh: "磁盘返回了输入输出错误。",
    },
    impact: STORE_DOWN_SOFT,
    action: Text {
        en: "check the kernel log (`dmesg`) and the disk",
        zh: "检查内核日志（`dmesg`）和磁盘",
    },
};

pub(super) const STALE_HANDLE: Guidance = Guidance {
    meaning: Text {
        en: "The server of the network filesystem no longer knows the image directory.",
        zh: "网络文件系统的服务端已不认识该镜像目录（句柄失效）。",
    },
    impact: STORE_DOWN_SOFT,
    action: Text {
        en: "unmount the network filesystem and mount it again",
        zh: "卸载该网络文件系统，再重新挂载",
    },
};

pub(super) const FILESYSTEM_SERVER_GONE: Guidance = Guidance {
    meaning: Text {
        en: "The process that serves the filesystem has ended.",
        zh: "提供该文件系统的进程已退出。",
    },
    impact: STORE_DOWN_SOFT,
    action: Text {
        en: "unmount the filesystem and mount it again: the process that serves it (FUSE) or its session has ended",
        zh: "卸载该文件系统，再重新挂载：提供它的进程（FUSE）或会话已结束",
    },
};

pub(super) const FILESYSTEM_SERVER_UNREACHABLE: Guidance = Guidance {
    meaning: Text {
        en: "This node cannot reach the server of the network filesystem.",
        zh: "本节点无法访问网络文件系统的服务端。",
    },
    impact: STORE_DOWN_SOFT,
    action: Text {
        en: "check the server of the network filesystem, and the network and the firewall on the way to it",
        zh: "检查网络文件系统的服务端，以及沿途的网络和防火墙",
    },
};

pub(super) const DISK_REMOVED: Guidance = Guidance {
    meaning: Text {
        en: "The disk of the image directory is gone.",
        zh: "镜像目录所在的磁盘已被移除。",
    },
    impact: STORE_DOWN_SOFT,
    action: Text {
        en: "connect the disk again or replace it, then unmount the filesystem and mount it again",
        zh: "重新接入或更换磁盘，然后卸载并重新挂载文件系统",
    },
};

pub(super) const FILESYSTEM_CORRUPT: Guidance = Guidance {
    meaning: Text {
        en: "The filesystem found damage in its own structures.",
        zh: "文件系统发现自身结构已损坏。",
    },
    impact: STORE_DOWN_HARD,
    action: Text {
        en: "unmount the filesystem and repair it (`fsck DEVICE`, `xfs_repair DEVICE`, `btrfs check DEVICE`): its structures are damaged; check the disk too",
        zh: "卸载文件系统并修复（`fsck DEVICE`、`xfs_repair DEVICE`、`btrfs check DEVICE`）：其结构已损坏；同时检查磁盘",
    },
};

pub(super) const FILESYSTEM_KEY_MISSING: Guidance = Guidance {
    meaning: Text {
        en: "The image directory is encrypted, and its key is missing or no longer valid.",
        zh: "镜像目录已加密，而密钥缺失或已失效。",
    },
    impact: STORE_DOWN_HARD,
    action: Text {
        en: "unlock the encrypted directory (`fscrypt unlock DIRECTORY`), or add its key to the kernel again",
        zh: "解锁加密目录（`fscrypt unlock DIRECTORY`），或重新把密钥加载到内核",
    },
};

pub(super) const NAME_IN_USE: Guidance = Guidance {
    meaning: Text {
        en: "Another object has the name of a file that the daemon needs.",
        zh: "代理所需的文件名已被其他对象占用。",
    },
    impact: STORE_DOWN_HARD,
    action: Text {
        en: "move the object at this path away: the daemon needs the name for its own file",
        zh: "移走该路径上的对象：代理需要用这个名称存放自己的文件",
    },
};

pub(super) const OPERATION_UNSUPPORTED: Guidance = Guidance {
    meaning: Text {
        en: "The filesystem does not support an operation that an image store needs.",
        zh: "文件系统不支持镜像仓库所需的操作。",
    },
    impact: STORE_DOWN_SOFT,
    action: Text {
        en: "use another filesystem, or update its driver or server: it does not support an operation that a store needs",
        zh: "改用其他文件系统，或升级其驱动或服务端：它不支持镜像仓库所需的操作",
    },
};

pub(super) const PROBE_TIMEOUT: Guidance = Guidance {
    meaning: Text {
        en: "The disk did not answer a probe within `monitor.probe_deadline`.",
        zh: "磁盘在 `monitor.probe_deadline` 内没有响应探测。",
    },
    impact: STORE_DOWN_SOFT,
    action: Text {
        en: "check the disk or its server, which does not answer, or raise `monitor.probe_deadline`",
        zh: "检查没有响应的磁盘或存储服务端，或调大 `monitor.probe_deadline`",
    },
};

pub(super) const PROBE_STUCK: Guidance = Guidance {
    meaning: Text {
        en: "A probe hangs in the kernel, and no other one starts until it ends.",
        zh: "一次探测卡在内核中，在它结束之前不会启动新的探测。",
    },
    impact: STORE_DOWN_SOFT,
    action: Text {
        en: "restore the disk or its server, or run `umount -f MOUNTPOINT`: a probe hangs in the kernel",
        zh: "恢复磁盘或存储服务端，或执行 `umount -f MOUNTPOINT`：有探测卡在内核中",
    },
};

pub(super) const CAPACITY_IMPLAUSIBLE: Guidance = Guidance {
    meaning: Text {
        en: "The filesystem reports figures that cannot be true, so that no capacity is known.",
        zh: "文件系统报告的数值不可能成立，因此总容量和可用容量未知。",
    },
    impact: STORE_DOWN_HARD,
    action: Text {
        en: "check the filesystem, and report its type to the developers: it reports impossible figures",
        zh: "检查文件系统，并把其类型告知开发者：它报告的数值不可能成立",
    },
};
