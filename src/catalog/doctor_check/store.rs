//! The texts of the checks of each store.

use crate::catalog::{Guidance, Text, reason_guidance};
use crate::model::Reason;

pub(super) const DIRECTORY: Guidance = Guidance {
    meaning: Text {
        en: "The image directory exists, and lies below an allowed root.",
        zh: "镜像目录存在，且位于允许的根目录之下。",
    },
    impact: Text {
        en: "Images may be unreadable, and none can be stored. If this lasts, then the store is Disconnected.",
        zh: "镜像可能无法读取，也无法保存新镜像。如果持续如此，镜像服务器会失联 (Disconnected)。",
    },
    action: Text {
        en: "create the directory, or mount the disk that contains it",
        zh: "创建该目录，或挂载该目录所在的磁盘",
    },
};

pub(super) const MOUNT: Guidance = Guidance {
    meaning: Text {
        en: "The disk of the image directory is mounted.",
        zh: "镜像目录所在的磁盘已挂载。",
    },
    impact: DIRECTORY.impact,
    action: Text {
        en: "mount the disk that contains the image directory (`findmnt` lists the mounts)",
        zh: "挂载镜像目录所在的磁盘（`findmnt` 可列出当前挂载）",
    },
};

pub(super) const IDENTITY: Guidance = Guidance {
    meaning: Text {
        en: "The marker file says that the directory belongs to this store and to this node.",
        zh: "标识文件表明该目录属于此镜像服务器和本节点。",
    },
    impact: DIRECTORY.impact,
    action: Text {
        en: "mount the right disk, or restore `.imagestore-agent/identity.json` from a backup",
        zh: "挂载正确的磁盘，或从备份恢复 `.imagestore-agent/identity.json`",
    },
};

pub(super) const PERMISSION: Guidance = Guidance {
    meaning: Text {
        en: "The daemon's user may use the image directory.",
        zh: "代理的运行用户有权使用镜像目录。",
    },
    impact: DIRECTORY.impact,
    action: Text {
        en: "run `imagestore-agent init DIRECTORY` as root",
        zh: "以 root 身份执行 `imagestore-agent init DIRECTORY`",
    },
};

pub(super) const WRITE: Guidance = Guidance {
    meaning: Text {
        en: "The daemon can write a file in the image directory.",
        zh: "代理可以在镜像目录中写入文件。",
    },
    impact: Text {
        en: "The images stay readable, but none can be stored. If this lasts, then the store is Disconnected.",
        zh: "现有镜像仍可读取，但无法保存新镜像。如果持续如此，镜像服务器会失联 (Disconnected)。",
    },
    action: Text {
        en: "check the kernel log (`dmesg`) and the disk, then remount the filesystem read-write",
        zh: "检查内核日志（`dmesg`）和磁盘，然后以读写方式重新挂载文件系统",
    },
};

pub(super) const SPACE: Guidance = Guidance {
    meaning: Text {
        en: "Enough space is left for images; the management node subtracts its own reserve from it.",
        zh: "剩余空间足以保存镜像；管理节点还会从中减去自己的保留容量。",
    },
    impact: Text {
        en: "An image that needs more than the remaining space cannot be stored.",
        zh: "超过剩余空间的镜像无法保存。",
    },
    action: Text {
        en: "remove images, or grow the filesystem", zh: "删除镜像，或扩容文件系统"
    },
};

pub(super) const INODES: Guidance = Guidance {
    meaning: Text {
        en: "The filesystem has inodes for new files.",
        zh: "文件系统有可用于新文件的 inode。",
    },
    impact: Text {
        en: "Without an inode no new file can be created, so no image can be stored.",
        zh: "没有可用的 inode 就无法创建新文件，因此无法保存镜像。",
    },
    action: Text {
        en: "remove files (`df -i` shows the inodes)",
        zh: "删除文件（`df -i` 可查看 inode 用量）",
    },
};

pub(super) const QUOTA: Guidance = Guidance {
    meaning: Text {
        en: "No disk quota stops the writes of the daemon.",
        zh: "没有磁盘配额阻止代理写入。",
    },
    impact: Text {
        en: "Writes fail although the disk has space, so no image can be stored.",
        zh: "磁盘虽有空间但写入会失败，因此无法保存镜像。",
    },
    action: Text {
        en: "raise the quota of the daemon's user or project, or remove images",
        zh: "调大代理运行用户或项目的配额，或删除镜像",
    },
};

pub(super) const SSH_RESOLVE: Guidance = Guidance {
    meaning: Text {
        en: "The host name of the store has an address of this node.",
        zh: "镜像服务器的物理机名能解析到本节点的地址。",
    },
    impact: Text {
        en: "The images are untouched. If the login keeps failing, then the store is Disconnected.",
        zh: "镜像数据不受影响。如果一直无法登录，镜像服务器会失联 (Disconnected)。",
    },
    action: Text {
        en: "correct the store's hostname, or repair the name resolution of this node",
        zh: "更正镜像服务器的物理机名，或修复本节点的域名解析",
    },
};

pub(super) const SSH_CONNECT: Guidance = Guidance {
    meaning: Text {
        en: "An SSH server answers at the host name and port of the store.",
        zh: "镜像服务器的物理机名和 SSH 端口上有 SSH 服务应答。",
    },
    impact: SSH_RESOLVE.impact,
    action: Text {
        en: "start sshd on this port (`ss -ltn` lists the ports), or correct the store's sshPort",
        zh: "在该端口启动 sshd（`ss -ltn` 可列出监听端口），或更正镜像服务器的 SSH 端口",
    },
};

pub(super) const SSH_HOST_KEY: Guidance = Guidance {
    meaning: Text {
        en: "The SSH server shows the recorded host key.",
        zh: "SSH 服务端出示的主机密钥与记录一致。",
    },
    impact: SSH_RESOLVE.impact,
    action: reason_guidance(Reason::HostKeyChanged).action,
};

pub(super) const SSH_LOGIN: Guidance = Guidance {
    meaning: Text {
        en: "The user name with its password or key is accepted.",
        zh: "用户名及其密码或密钥可以登录。",
    },
    impact: SSH_RESOLVE.impact,
    action: Text {
        en: "correct the store's username, password or key with `imagestore-agent update STORE`",
        zh: "用 `imagestore-agent update STORE` 更正镜像服务器的用户名、密码或密钥",
    },
};

pub(super) const SSH_PROOF: Guidance = Guidance {
    meaning: Text {
        en: "The login shows that the SSH server is this node.",
        zh: "登录结果证实 SSH 服务端就是本节点。",
    },
    impact: Text {
        en: "It is not certain that the login reaches the host that holds the images.",
        zh: "不能确定登录的就是保存镜像的主机。",
    },
    action: Text {
        en: "let the user read `/proc/sys/kernel/random/boot_id` over SFTP, or correct the store's hostname",
        zh: "允许该用户通过 SFTP 读取 `/proc/sys/kernel/random/boot_id`，或更正镜像服务器的物理机名",
    },
};

pub(super) const REPORTED: Guidance = Guidance {
    meaning: Text {
        en: "The management node was informed of the present status.",
        zh: "当前的连接状态已通知管理节点。",
    },
    impact: super::daemon::MANAGEMENT_DELIVERED.impact,
    action: super::daemon::MANAGEMENT_DELIVERED.action,
};
