//! The runbooks: what to do, step by step, in the situations that operators ask about.

use super::{Language, Text};
use crate::common::string_enum;

string_enum! {
    /// A situation with a runbook.
    pub Runbook {
        /// A store that stays Connecting.
        StuckConnecting = "stuck-connecting",
        /// A store that is Disconnected.
        Disconnected = "disconnected",
        /// A capacity that stays as it was after the filesystem has grown.
        CapacityUnchanged = "capacity-unchanged",
        /// A changed password or key of the SSH user.
        PasswordChanged = "password-changed",
        /// A replaced disk or a reinstalled node.
        DiskReplaced = "disk-replaced",
        /// A full disk.
        DiskFull = "disk-full",
        /// A management node that shows an outdated status.
        ManagementUninformed = "management-uninformed",
    }
}

/// The texts of a runbook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunbookText {
    /// The situation in a few words.
    pub title: Text,
    /// The signs of the situation, and its usual causes.
    pub situation: Text,
    /// The steps, in order.
    pub steps: &'static [Text],
}

impl RunbookText {
    /// Returns the steps in one language, with their backticks.
    pub fn marked_steps(&self, language: Language) -> impl Iterator<Item = &'static str> {
        self.steps.iter().map(move |step| step.marked(language))
    }
}

impl Runbook {
    /// Returns the texts of the runbook.
    pub const fn text(self) -> RunbookText {
        match self {
            Self::StuckConnecting => STUCK_CONNECTING,
            Self::Disconnected => DISCONNECTED,
            Self::CapacityUnchanged => CAPACITY_UNCHANGED,
            Self::PasswordChanged => PASSWORD_CHANGED,
            Self::DiskReplaced => DISK_REPLACED,
            Self::DiskFull => DISK_FULL,
            Self::ManagementUninformed => MANAGEMENT_UNINFORMED,
        }
    }
}

const STUCK_CONNECTING: RunbookText = RunbookText {
    title: Text { en: "A store stays Connecting", zh: "一直连接中" },
    situation: Text {
        en: "The management node shows Connecting and a reconnect reports an error. An attempt of the daemon ends within `monitor.attempt_deadline`, so either it just runs, or the result has not reached the management node.",
        zh: "管理节点一直显示连接中 (Connecting)，点击重连提示错误。代理的一次连接尝试最长为 `monitor.attempt_deadline`，所以要么尝试仍在进行，要么结果没有送达管理节点。",
    },
    steps: &[
        Text {
            en: "Read the status here: `imagestore-agent show STORE`. It names the failed check with its evidence and the times of the last attempts.",
            zh: "查看本节点上的状态：`imagestore-agent show STORE`。它会给出失败的检查项及其证据，以及最近几次尝试的时间。",
        },
        Text {
            en: "If the store is Connected or Disconnected here, the result has not reached the management node: go on with the runbook `management-uninformed`.",
            zh: "如果此处显示已连接 (Connected) 或失联 (Disconnected)，说明结果没有送达管理节点：转到操作手册 `management-uninformed`。",
        },
        Text {
            en: "If it is Connecting here too, wait for the end of the attempt and read the reason. For a time-out, the reason names the phase that was slow.",
            zh: "如果此处也是连接中 (Connecting)，等待这次尝试结束，再看故障原因。若为超时，原因会指出是哪个阶段慢。",
        },
        Text {
            en: "Follow the action of the reason (`imagestore-agent explain REASON`), then reconnect: `imagestore-agent reconnect STORE`.",
            zh: "按该原因的处理办法操作（`imagestore-agent explain REASON`），然后重连：`imagestore-agent reconnect STORE`。",
        },
    ],
};

const DISCONNECTED: RunbookText = RunbookText {
    title: Text { en: "A store is Disconnected", zh: "失联" },
    situation: Text {
        en: "A check of the store failed: the directory, the disk or the SSH login. The store has one root cause, which comes first.",
        zh: "镜像服务器的某项检查失败：目录、磁盘或 SSH 登录。根本原因只有一个，排在最前面。",
    },
    steps: &[
        Text {
            en: "Read the root cause and its action: `imagestore-agent show STORE`.",
            zh: "查看根本原因及其处理办法：`imagestore-agent show STORE`。",
        },
        Text {
            en: "Read what it means: `imagestore-agent explain REASON`.",
            zh: "查看该原因的含义：`imagestore-agent explain REASON`。",
        },
        Text {
            en: "Carry out the action. With `monitor.auto_reconnect` the daemon reconnects by itself once the check succeeds.",
            zh: "执行处理办法。启用 `monitor.auto_reconnect` 时，检查恢复正常后代理会自动重连。",
        },
        Text {
            en: "Else, or at once: `imagestore-agent reconnect STORE`, or the button of the management node.",
            zh: "未启用时，或需要立即恢复：执行 `imagestore-agent reconnect STORE`，或在管理节点界面点击重连。",
        },
    ],
};

const CAPACITY_UNCHANGED: RunbookText = RunbookText {
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

const PASSWORD_CHANGED: RunbookText = RunbookText {
    title: Text { en: "The password or key of the SSH user was changed", zh: "密码改了" },
    situation: Text {
        en: "The store is Disconnected with `credentials_refused`. After three rejections within 15 minutes the daemon pauses its logins, until the first of them is 15 minutes old. The server may lock the account at the third one.",
        zh: "镜像服务器因 `credentials_refused` 变为失联 (Disconnected)。15 分钟内被拒绝三次后，代理暂停登录，直到第一次拒绝已过 15 分钟。服务端可能在第三次拒绝时锁定账号。",
    },
    steps: &[
        Text {
            en: "Try the login by hand: `ssh -p PORT USER@HOST`. If the account is locked, unlock it on the server (`faillock --user USER --reset`).",
            zh: "手动登录确认：`ssh -p PORT USER@HOST`。如果账号已被锁定，在服务端解锁（`faillock --user USER --reset`）。",
        },
        Text {
            en: "Give the daemon the new password: `imagestore-agent update STORE --password`. It is asked for, and never an argument. The daemon logs in with it before it stores it.",
            zh: "把新密码告诉代理：`imagestore-agent update STORE --password`。密码以提示方式输入，不会作为参数。代理先用它登录成功，才会保存。",
        },
        Text {
            en: "For a key: `imagestore-agent update STORE --private-key-file FILE`.",
            zh: "若使用密钥：`imagestore-agent update STORE --private-key-file FILE`。",
        },
        Text {
            en: "Change it in the management node too, if it logs in to this host itself.",
            zh: "如果管理节点自己也登录该物理机，在管理节点上同样要更改。",
        },
    ],
};

const DISK_REPLACED: RunbookText = RunbookText {
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

const DISK_FULL: RunbookText = RunbookText {
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

const MANAGEMENT_UNINFORMED: RunbookText = RunbookText {
    title: Text { en: "The management node is not informed", zh: "管理节点收不到" },
    situation: Text {
        en: "The status here and the status in the management node differ. The daemon keeps each notice until it is delivered.",
        zh: "本节点上的状态与管理节点上的不一致。代理会保留每条通知，直到送达。",
    },
    steps: &[
        Text {
            en: "Read the conditions: `imagestore-agent show STORE`. `delivery_behind` means no answer, `delivery_refused` means an answer that rejects.",
            zh: "查看告警：`imagestore-agent show STORE`。`delivery_behind` 表示没有应答，`delivery_refused` 表示应答为拒绝。",
        },
        Text {
            en: "Check that this node reaches the address in `callback.urls`: name, port, firewall, certificate.",
            zh: "确认本节点能访问 `callback.urls` 中的地址：域名、端口、防火墙、证书。",
        },
        Text {
            en: "Read the log of the delivery: `journalctl -u imagestore-agent`.",
            zh: "查看送达的日志：`journalctl -u imagestore-agent`。",
        },
        Text {
            en: "After a restart of the daemon, the management node may say that the uuid of the agent has changed. A reconnect, by hand or by its own ping, brings both together again.",
            zh: "代理重启后，管理节点可能提示代理的 uuid 发生了改变。手动重连，或等管理节点自己重连后，双方即恢复一致。",
        },
    ],
};
