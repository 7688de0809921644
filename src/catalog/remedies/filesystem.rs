//! The remedies of errors of a filesystem, and of its disk.

use crate::catalog::Text;

pub(super) const FREE_SPACE_FOR_MARKER: Text = Text {
    en: "free space on the disk: an add must write the marker",
    zh: "清理磁盘空间：添加镜像服务器时必须写入标记文件",
};

pub(super) const MOUNT_SERVED_AGAIN: Text = Text {
    en: "unmount the filesystem and mount it again: the process that serves it (FUSE) or its session has ended; `findmnt -T {path}` names the mount point, and `umount -l MOUNTPOINT` unmounts it although it is in use",
    zh: "卸载文件系统后重新挂载：为它提供服务的进程（FUSE）或其会话已结束；`findmnt -T {path}` 可查出挂载点，`umount -l MOUNTPOINT` 可在使用中卸载",
};

pub(super) const INSERT_MEDIUM: Text = Text {
    en: "insert the medium, then unmount the filesystem and mount it again",
    zh: "插入介质，然后卸载文件系统并重新挂载",
};

pub(super) const CHECK_BLOCK_SUMS: Text = Text {
    en: "check the kernel log (`dmesg`): the checksum of a block is wrong; check the cables and the memory, then unmount the filesystem and check it (`fsck DEVICE`, `xfs_repair DEVICE`)",
    zh: "检查内核日志（`dmesg`）：有数据块的校验和错误；检查线缆和内存，然后卸载文件系统并检查（`fsck DEVICE`、`xfs_repair DEVICE`）",
};

pub(super) const RENEW_TICKET: Text = Text {
    en: "renew the ticket or the key: run `kinit` as the user of the daemon for NFS with Kerberos, or add a new key to its keyring",
    zh: "更新票据或密钥：使用 Kerberos 的 NFS，以代理的运行用户执行 `kinit`，或向其密钥环添加新密钥",
};

pub(super) const GIVE_VALID_KEY: Text = Text {
    en: "give the server or the encrypted directory a valid key: it rejects the present one",
    zh: "为服务端或加密目录提供有效的密钥：当前密钥被拒绝",
};

pub(super) const UNMOUNT_NAME: Text = Text {
    en: "unmount what is mounted at {path}: the daemon needs this name for its own file",
    zh: "卸载挂载在 {path} 上的文件系统：代理自己的文件需要使用该名称",
};

pub(super) const MOVE_NAME_AWAY: Text = Text {
    en: "move {path} away: the daemon needs this name for its own file",
    zh: "把 {path} 移走：代理自己的文件需要使用该名称",
};

pub(super) const REMOVE_FOLDERS: Text = Text {
    en: "remove folders: the parent has as many as its filesystem permits",
    zh: "删除一些目录：上级目录中的目录数已达到文件系统的上限",
};

pub(super) const RAISE_FILE_SIZE: Text = Text {
    en: "raise `LimitFSIZE=` of the daemon, or the maximum file size of the filesystem",
    zh: "调大代理的 `LimitFSIZE=`，或文件系统的最大文件大小",
};

pub(super) const USE_OTHER_FILESYSTEM: Text = Text {
    en: "use another filesystem, or update its driver or server: this one does not support {operation} ({errno})",
    zh: "换用其他文件系统，或升级其驱动或服务端：当前文件系统不支持 {operation}（{errno}）",
};

pub(super) const RAISE_OPEN_FILES: Text =
    Text { en: "raise `LimitNOFILE=` of the daemon", zh: "调大代理的 `LimitNOFILE=`" };

pub(super) const RAISE_MACHINE_FILES: Text = Text {
    en: "raise the limit of open files of the machine (`sysctl fs.file-max`)",
    zh: "调大整机的打开文件数上限（`sysctl fs.file-max`）",
};

pub(super) const FREE_MEMORY: Text = Text {
    en: "free memory on this node, or raise `MemoryMax=` of the daemon; the check is then repeated",
    zh: "释放本节点的内存，或调大代理的 `MemoryMax=`；之后会再次检查",
};

pub(super) const RESTART_LOCK_SERVICE: Text = Text {
    en: "restart the lock service of the network filesystem (rpc.statd) on client and server",
    zh: "在客户端和服务端重启网络文件系统的锁服务（rpc.statd）",
};

pub(super) const CHECK_DEADLOCK: Text = Text {
    en: "check the server or driver of the filesystem: two of its operations wait for each other",
    zh: "检查文件系统的服务端或驱动：它的两个操作在互相等待",
};

pub(super) const FIND_INTERRUPTION: Text = Text {
    en: "do nothing if this happens once, because the daemon repeats the check; otherwise find what interrupts or occupies {path}",
    zh: "若只发生一次则无需处理，代理会再次检查；否则查明是什么中断或占用了 {path}",
};

pub(super) const RELEASE_RESERVATION: Text = Text {
    en: "release the reservation of the disk: another host has reserved it, which `sg_persist --in --read-reservation DEVICE` shows",
    zh: "释放磁盘的预留：另一台主机预留了它，可用 `sg_persist --in --read-reservation DEVICE` 查看",
};

pub(super) const REPLACE_DISK: Text = Text {
    en: "replace the disk: it cannot read one of its blocks (`smartctl -a DEVICE`, `dmesg`)",
    zh: "更换磁盘：它有数据块无法读取（`smartctl -a DEVICE`、`dmesg`）",
};

pub(super) const REPLACE_MEMORY: Text = Text {
    en: "replace the memory module: a page of memory is damaged (`dmesg`, rasdaemon)",
    zh: "更换内存条：有内存页损坏（`dmesg`、rasdaemon）",
};

pub(super) const MAKE_PRIMARY: Text = Text {
    en: "make this node the primary of the replicated disk, or insert the right medium",
    zh: "把本节点设为复制磁盘的主节点，或插入正确的介质",
};

pub(super) const CHECK_DISK_PATH: Text = Text {
    en: "check the path to the disk (cables, controller, multipath) and the kernel log: the disk does not answer ({errno})",
    zh: "检查到磁盘的链路（线缆、控制器、多路径）和内核日志：磁盘没有响应（{errno}）",
};

pub(super) const CHECK_FILESYSTEM_LOG: Text = Text {
    en: "check the log of the driver or server of the filesystem: it returned an error that is not documented for {operation}",
    zh: "检查文件系统的驱动或服务端的日志：它对 {operation} 返回了文档中没有的错误",
};
