//! The texts of the conditions.

use super::{Guidance, Text};
use crate::model::Condition;

/// Returns the texts of a condition.
pub const fn condition_guidance(condition: Condition) -> Guidance {
    match condition {
        Condition::Unverified => Guidance {
            meaning: Text {
                en: "The store has not been probed since the daemon started.",
                zh: "代理启动后还没有探测过该镜像服务器。",
            },
            impact: Text {
                en: "The status is the last one known before the start.",
                zh: "当前的连接状态是启动前最后一次的状态。",
            },
            action: Text {
                en: "do nothing: the first probe follows within seconds",
                zh: "无需处理：首次探测会在几秒内进行",
            },
        },
        Condition::NotProbed => Guidance {
            meaning: Text {
                en: "A check that was due has not ended for several of its intervals.",
                zh: "到期的检查已有数个周期没有完成。",
            },
            impact: Text {
                en: "The state of the store is unknown, and its status may be outdated.",
                zh: "镜像服务器的真实情况未知，连接状态可能已过时。",
            },
            action: Text {
                en: "remove the obstacle in the message: the state of the store is unknown until the check ends",
                zh: "排除消息中所述的障碍：在该检查完成之前，镜像服务器的情况未知",
            },
        },
        Condition::NearFull => Guidance {
            meaning: Text {
                en: "Little space is left: less than `storage.near_full` allows.",
                zh: "剩余空间不多，已低于 `storage.near_full` 的要求。",
            },
            impact: Text {
                en: "Images can still be stored, but soon no longer.",
                zh: "目前仍可保存镜像，但很快就不行了。",
            },
            action: Text {
                en: "remove images, or grow the filesystem before it is full",
                zh: "删除镜像，或在写满之前扩容文件系统",
            },
        },
        Condition::FillingUp => Guidance {
            meaning: Text {
                en: "The forecast of the use reaches the end of the space within `storage.filling_up`.",
                zh: "按用量预测，空间将在 `storage.filling_up` 内写满。",
            },
            impact: Text {
                en: "Images can still be stored, but soon no longer.",
                zh: "目前仍可保存镜像，但很快就不行了。",
            },
            action: Text {
                en: "remove images, or grow the filesystem before the date of the forecast; if its inodes run out, remove files",
                zh: "在预测的日期之前删除镜像，或扩容文件系统；若即将用尽的是 inode，则删除文件",
            },
        },
        Condition::Full => Guidance {
            meaning: Text {
                en: "No space is left for images.", zh: "已没有空间保存镜像。"
            },
            impact: Text {
                en: "The images stay readable, but none can be stored. The management node reports too little capacity.",
                zh: "现有镜像仍可读取，但无法保存新镜像。管理节点会提示容量不足。",
            },
            action: Text {
                en: "remove images, or grow the filesystem; nothing can be stored until then",
                zh: "删除镜像，或扩容文件系统；在此之前无法保存任何内容",
            },
        },
        Condition::QuotaExceeded => Guidance {
            meaning: Text {
                en: "A write failed because of a disk quota.",
                zh: "写入因磁盘配额已满而失败。",
            },
            impact: Text {
                en: "The images stay readable, but none can be stored, although the disk has space left.",
                zh: "现有镜像仍可读取；磁盘虽有剩余空间，却无法保存新镜像。",
            },
            action: Text {
                en: "raise the quota of the daemon's user or project, or remove images",
                zh: "调大代理运行用户或项目的配额，或删除镜像",
            },
        },
        Condition::InodesFull => Guidance {
            meaning: Text {
                en: "The filesystem has no inode left for a new file.",
                zh: "文件系统的 inode 已用完，无法新建文件。",
            },
            impact: Text {
                en: "The images stay readable, but none can be stored, although space is left.",
                zh: "现有镜像仍可读取；虽有剩余空间，却无法保存新镜像。",
            },
            action: Text {
                en: "remove files: space is left, but no inode for a new file; mkfs sets the number of inodes",
                zh: "删除文件：空间还有，但没有 inode 可用于新文件；inode 数量由 mkfs 决定",
            },
        },
        Condition::SyncUnsupported => Guidance {
            meaning: Text {
                en: "The filesystem cannot write a file durably to the disk (fsync).",
                zh: "文件系统无法把文件可靠地写入磁盘（fsync）。",
            },
            impact: Text {
                en: "A crash or a power failure may lose images that were reported as stored.",
                zh: "宕机或断电时，已报告保存成功的镜像可能丢失。",
            },
            action: Text {
                en: "use a filesystem, or a version or option of its server, that supports fsync: a crash may lose images that are reported as stored",
                zh: "改用支持 fsync 的文件系统，或其服务端的相应版本或选项：宕机可能丢失已报告保存成功的镜像",
            },
        },
        Condition::SlowProbe => Guidance {
            meaning: Text {
                en: "The probes of the directory succeed, but slowly.",
                zh: "目录探测能成功，但很慢。",
            },
            impact: Text {
                en: "Images can be read and stored, but slowly.",
                zh: "镜像可以读写，但速度慢。",
            },
            action: Text {
                en: "check the load and the health of the disk and, if it is remote, its network",
                zh: "检查磁盘的负载和健康状况；若为远程存储，还要检查网络",
            },
        },
        Condition::SharedFilesystem => Guidance {
            meaning: Text {
                en: "Another store lies on the same filesystem, so that both report the same space.",
                zh: "另一个镜像服务器位于同一文件系统，两者报告的是同一份空间。",
            },
            impact: Text {
                en: "The management node counts this space several times, and may allocate more than there is.",
                zh: "管理节点会重复计算这份空间，分配的容量可能超过实际容量。",
            },
            action: Text {
                en: "count the space once, or give each store its own filesystem",
                zh: "这份空间只计算一次，或为每个镜像服务器使用单独的文件系统",
            },
        },
        Condition::ProofUnavailable => Guidance {
            meaning: Text {
                en: "The login works, but it could not show that the SSH server is this node.",
                zh: "登录成功，但无法证实 SSH 服务端就是本节点。",
            },
            impact: Text {
                en: "The store stays in use. A host name that leads to another machine would not be noticed.",
                zh: "镜像服务器照常使用，但即使物理机名指向另一台机器也发现不了。",
            },
            action: Text {
                en: "let the user read `/proc/sys/kernel/random/boot_id` over SFTP, or set `ssh.prove_host = false`",
                zh: "允许该用户通过 SFTP 读取 `/proc/sys/kernel/random/boot_id`，或设置 `ssh.prove_host = false`",
            },
        },
        Condition::StaleNamespace => Guidance {
            meaning: Text {
                en: "The daemon runs in a container that does not see the present mounts of the node.",
                zh: "代理运行在容器中，看不到节点当前的挂载。",
            },
            impact: Text {
                en: "The daemon may judge a disk that the node no longer uses. Status and capacity may be wrong.",
                zh: "代理检查的可能是节点已不再使用的磁盘，连接状态和容量可能不准。",
            },
            action: Text {
                en: "restart the daemon's container, and pass the image directories to it with `rslave`",
                zh: "重启代理的容器，并以 `rslave` 方式把镜像目录传入容器",
            },
        },
        Condition::LegacyAlgorithms => Guidance {
            meaning: Text {
                en: "`ssh.legacy` enables weak SSH algorithms.",
                zh: "`ssh.legacy` 启用了弱 SSH 算法。",
            },
            impact: Text {
                en: "The stores work, but their logins are protected less well.",
                zh: "镜像服务器可以使用，但登录过程的保护较弱。",
            },
            action: Text {
                en: "update the SSH servers, then empty `ssh.legacy`",
                zh: "升级 SSH 服务端，然后清空 `ssh.legacy`",
            },
        },
        Condition::AcceptsAnyHostKey => Guidance {
            meaning: Text {
                en: "The daemon accepts every host key.",
                zh: "代理接受任何主机密钥。",
            },
            impact: Text {
                en: "The stores work, but another machine at the address would receive the password.",
                zh: "镜像服务器可以使用，但若有其他机器冒用该地址，密码会发给它。",
            },
            action: Text {
                en: "set `ssh.host_key_policy` to `pin-on-first-use`: the daemon now trusts any server that answers",
                zh: "把 `ssh.host_key_policy` 设为 `pin-on-first-use`：目前代理信任任何应答的服务端",
            },
        },
        Condition::DeliveryRefused => Guidance {
            meaning: Text {
                en: "The management node rejects a notice of the daemon, or has no handler for it.",
                zh: "管理节点拒绝了代理的通知，或者没有处理该通知的程序。",
            },
            impact: Text {
                en: "The management node may show an outdated status. The daemon keeps the notice and repeats it.",
                zh: "管理节点显示的连接状态可能已过时。代理保留该通知并会重发。",
            },
            action: Text {
                en: "check the responses of the management node, `callback.urls` and `callback.format`",
                zh: "检查管理节点的应答以及 `callback.urls` 和 `callback.format`",
            },
        },
        Condition::DeliveryBehind => Guidance {
            meaning: Text {
                en: "Notices wait for a management node that does not answer.",
                zh: "管理节点没有应答，通知正在排队。",
            },
            impact: Text {
                en: "The management node shows an outdated status until the notices are delivered. None is lost.",
                zh: "通知送达之前，管理节点显示的连接状态是过时的。通知不会丢失。",
            },
            action: Text {
                en: "make the management node reachable; the daemon then delivers the waiting notices in order",
                zh: "恢复与管理节点的网络连通；之后代理会按顺序送达排队的通知",
            },
        },
        Condition::StateDiskTrouble => Guidance {
            meaning: Text {
                en: "The daemon cannot write its own records in `state.dir`.",
                zh: "代理无法写入 `state.dir` 中自己的数据。",
            },
            impact: Text {
                en: "The images are untouched, but no change of a status can be recorded or reported.",
                zh: "镜像数据不受影响，但连接状态的变化无法记录，也无法通知管理节点。",
            },
            action: Text {
                en: "free space on the disk of `state.dir`, or repair the disk",
                zh: "清理 `state.dir` 所在磁盘的空间，或修复该磁盘",
            },
        },
    }
}
