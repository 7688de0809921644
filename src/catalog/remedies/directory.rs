//! The remedies of the image directory: of the way to it, its owner and its mount.

use crate::catalog::Text;

pub(super) const RETURN_DIRECTORY: Text = Text {
    en: "check as root that {path} belongs to this store; if it does, run `chown {uid}:{gid} {path}`, else move it away; then repeat the command",
    zh: "以 root 身份确认 {path} 属于该镜像服务器；若属于，执行 `chown {uid}:{gid} {path}`，否则把它移走；然后再次执行该命令",
};

pub(super) const INIT_DIRECTORY: Text = Text {
    en: "as root: `imagestore-agent init {dir}` (the daemon runs as uid {uid})",
    zh: "以 root 身份执行：`imagestore-agent init {dir}`（代理以 uid {uid} 运行）",
};

pub(super) const LIST_ATTRIBUTES: Text = Text {
    en: "if that does not help, run `lsattr -d {path}`: an attribute may forbid it",
    zh: "若无效，执行 `lsattr -d {path}`：可能有文件属性禁止该操作",
};

pub(super) const CLEAR_ATTRIBUTE: Text = Text {
    en: "as root: `chattr -{flag} {path}` (it has the attribute {attribute}, which `lsattr -d {path}` shows)",
    zh: "以 root 身份执行：`chattr -{flag} {path}`（它带有属性 {attribute}，可用 `lsattr -d {path}` 查看）",
};

pub(super) const GRANT_WAY: Text = Text {
    en: "as root: `setfacl -m u:{uid}:{rights} {path}` (or grant the daemon's user, uid {uid}, these rights by group and mode)",
    zh: "以 root 身份执行：`setfacl -m u:{uid}:{rights} {path}`（或通过属组和权限位，为代理的运行用户 uid {uid} 授予这些权限）",
};

pub(super) const PERMIT_WRITES: Text = Text {
    en: "the filesystem is writable, but the daemon's view of it is not: run `systemctl edit imagestore-agent` and add `ReadWritePaths=-{place}` under `[Service]`, then restart; in a container mount the volume with `:rw`; if it was mounted read-only on purpose, remount it",
    zh: "文件系统可写，但代理看到的视图是只读的：执行 `systemctl edit imagestore-agent`，在 `[Service]` 下添加 `ReadWritePaths=-{place}`，然后重启；若在容器中，以 `:rw` 挂载该卷；若有意以只读方式挂载，则重新挂载",
};

pub(super) const RENAME_TO_UTF8: Text = Text {
    en: "rename the directory or the symbolic link so that its path is UTF-8",
    zh: "重命名该目录或符号链接，使其路径为 UTF-8",
};

pub(super) const CORRECT_LINKS: Text = Text {
    en: "correct the symbolic links on the way to {path}: they form a loop, or are too many",
    zh: "更正通往 {path} 的符号链接：它们形成了循环，或数量过多",
};

pub(super) const SHORTEN_PATH: Text = Text {
    en: "choose a shorter path or shorter names: {path} is too long for its filesystem",
    zh: "使用更短的路径或名称：{path} 超过了文件系统的长度限制",
};

pub(super) const FIND_OTHER_ADD: Text = Text {
    en: "find the other process or node that adds this directory, then add it again",
    zh: "找出同时在添加该目录的另一个进程或节点，然后重新添加",
};

pub(super) const PASS_DATA_DISK: Text = Text {
    en: "mount a data disk at the directory on the host, and pass its mount point, or the directory above it with `rslave`, to the container; or set `storage.allow_root_disk = true` to permit {device}, the disk of {file}",
    zh: "在宿主机的该目录上挂载数据盘，并把其挂载点，或以 `rslave` 方式把其上级目录传入容器；或设置 `storage.allow_root_disk = true`，以允许 {device}，即 {file} 所在的磁盘",
};

pub(super) const PASS_MOUNT_POINT: Text = Text {
    en: "pass the mount point of the data disk, or the directory above it with `rslave`, to the container; or set `storage.allow_root_disk = true` to permit the folder {folder} of {device}",
    zh: "把数据盘的挂载点，或以 `rslave` 方式把其上级目录传入容器；或设置 `storage.allow_root_disk = true`，以允许 {device} 上的目录 {folder}",
};

pub(super) const FIND_REPEATED_MOUNTS: Text = Text {
    en: "find what mounts and unmounts the disk of this directory again and again, for example in the system log; the store recovers when the disk stays mounted",
    zh: "查明是什么在反复挂载和卸载该目录的磁盘，例如查看系统日志；磁盘保持挂载后，镜像服务器会恢复",
};

pub(super) const CHECK_PROC: Text = Text {
    en: "check that `/proc` is mounted where the daemon runs; if the filesystem was just unmounted or mounted, the next probe repeats the check",
    zh: "确认代理的运行环境挂载了 `/proc`；若文件系统刚刚卸载或挂载，下一次探测会再次检查",
};
