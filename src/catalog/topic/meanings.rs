//! The meanings of the words of the model in the output. A word without one does not compile.

use crate::catalog::{Runbook, Text};
use crate::model::{
    Check, EventKind, GapCause, HostEvidence, Obstacle, RemoteMarker, State, Status, StoreCheck,
};

pub(super) const fn status_text(status: Status) -> (Text, Option<Runbook>) {
    match status {
        Status::Connecting => (
            Text {
                en: "An attempt to connect is running. It ends within `monitor.attempt_deadline`.",
                zh: "连接尝试正在进行，最长为 `monitor.attempt_deadline`。",
            },
            Some(Runbook::StuckConnecting),
        ),
        Status::Connected => (
            Text {
                en: "The last attempt succeeded, and no fault has disconnected the store since.",
                zh: "最近一次连接尝试成功，此后没有出现使它失联 (Disconnected) 的故障。",
            },
            None,
        ),
        Status::Disconnected => (
            Text {
                en: "An attempt failed, or a fault disconnected the store. `imagestore-agent show STORE` has the reason.",
                zh: "连接尝试失败，或者故障使镜像服务器失联。原因见 `imagestore-agent show STORE`。",
            },
            Some(Runbook::Disconnected),
        ),
    }
}

pub(super) const fn state_meaning(state: State) -> Text {
    match state {
        State::Enabled => Text {
            en: "The administrator allows new images in the store.",
            zh: "管理员允许向该镜像服务器保存新镜像。",
        },
        State::Disabled => Text {
            en: "The administrator allows no new images in the store. Probes and reconnects go on.",
            zh: "管理员不允许向该镜像服务器保存新镜像。探测和重连照常进行。",
        },
    }
}

pub(super) const fn store_check_meaning(check: StoreCheck) -> Text {
    match check {
        StoreCheck::Examine => Text {
            en: "The image directory is the right one, can be read, and has plausible figures.",
            zh: "镜像目录正确、可以读取，且容量数值合理。",
        },
        StoreCheck::Write => Text {
            en: "A file can be written in the image directory.",
            zh: "可以向镜像目录写入文件。",
        },
        StoreCheck::Ssh => Text {
            en: "The SSH login works, and the server is the right host.",
            zh: "SSH 登录正常，且服务端是正确的主机。",
        },
    }
}

pub(super) const fn subject_meaning(check: Check) -> Text {
    match check {
        Check::Identity => Text {
            en: "The fault concerns the identity of the directory: it is another one, or on another disk.",
            zh: "故障在于目录的身份：目录不对，或位于其他磁盘。",
        },
        Check::Storage => Text {
            en: "The fault concerns the directory or its disk, which cannot be read, written or measured.",
            zh: "故障在于目录或其磁盘：无法读取、写入或测量。",
        },
        Check::Ssh => Text {
            en: "The fault concerns the SSH login, or the host that it reaches.",
            zh: "故障在于 SSH 登录，或登录到的主机。",
        },
        Check::Agent => Text {
            en: "The fault concerns the daemon itself, and no store.",
            zh: "故障在于代理自身，与镜像服务器无关。",
        },
    }
}

pub(super) const fn event_meaning(event: EventKind) -> Text {
    match event {
        EventKind::AttemptBegan => Text { en: "An attempt began.", zh: "连接尝试开始。" },
        EventKind::Joined => Text {
            en: "A caller with tags joined the running attempt.",
            zh: "带标签的调用方加入了正在进行的连接尝试。",
        },
        EventKind::InterruptedByRestart => Text {
            en: "The daemon stopped or was killed while an attempt ran.",
            zh: "连接尝试进行期间，代理停止或被终止。",
        },
        EventKind::StatusChanged => Text {
            en: "The status of the store changed.",
            zh: "镜像服务器的连接状态发生变化。",
        },
        EventKind::Condition => {
            Text { en: "A condition was raised or cleared.", zh: "告警出现或消除。" }
        }
        EventKind::Measured => Text { en: "The space was measured.", zh: "测量了容量。" },
        EventKind::Moved => Text {
            en: "The directory is on another device or in another mount.",
            zh: "目录位于其他设备或其他挂载中。",
        },
        EventKind::Updated => Text {
            en: "A caller changed the definition of the store.",
            zh: "调用方更改了镜像服务器的定义。",
        },
        EventKind::HostKeyAccepted => Text {
            en: "An operator accepted another host key.",
            zh: "操作人员接受了另一个主机密钥。",
        },
        EventKind::Added => Text { en: "The store was added.", zh: "添加了镜像服务器。" },
        EventKind::Removed => Text {
            en: "The store was removed. This event stays.",
            zh: "删除了镜像服务器。该事件会保留。",
        },
        EventKind::Gap => {
            Text { en: "Events are missing at this place.", zh: "此处缺少事件。" }
        }
    }
}

pub(super) const fn gap_meaning(cause: GapCause) -> Text {
    match cause {
        GapCause::Pruned => Text {
            en: "The events were deleted because of their age or number, or with their store.",
            zh: "事件因时间或数量，或随镜像服务器一起被删除。",
        },
        GapCause::Restored => Text {
            en: "The ledger is a restored copy, or another one. The events after the copy was made are unknown.",
            zh: "状态数据库是恢复的备份，或是另一个。备份之后的事件未知。",
        },
        GapCause::Unknown => Text {
            en: "The position is after the newest event of the ledger.",
            zh: "位置在状态数据库的最新事件之后。",
        },
        GapCause::Damaged => Text {
            en: "The event cannot be read, because its row in the ledger is damaged.",
            zh: "事件在状态数据库中的记录已损坏，无法读取。",
        },
    }
}

pub(super) const fn evidence_meaning(evidence: HostEvidence) -> Text {
    match evidence {
        HostEvidence::HostKey => Text {
            en: "The server's host key is one of this node's keys.",
            zh: "服务端的主机密钥是本节点的密钥之一。",
        },
        HostEvidence::BootId => Text {
            en: "The server's kernel has the same boot id as this node.",
            zh: "服务端内核的启动 id 与本节点相同。",
        },
        HostEvidence::Marker => Text {
            en: "The server has the store's marker file in the image directory.",
            zh: "服务端的镜像目录中有该镜像服务器的标识文件。",
        },
    }
}

pub(super) const fn marker_meaning(marker: RemoteMarker) -> Text {
    match marker {
        RemoteMarker::Same => Text {
            en: "It is the marker file of the store.",
            zh: "是该镜像服务器的标识文件。",
        },
        RemoteMarker::Different => Text {
            en: "It is another marker file, because another disk is mounted there.",
            zh: "是另一个标识文件，因为该处挂载了其他磁盘。",
        },
        RemoteMarker::Missing => {
            Text { en: "There is no marker file.", zh: "没有标识文件。" }
        }
        RemoteMarker::Unreadable => Text {
            en: "The user has no permission to read the marker file.",
            zh: "该用户没有读取标识文件的权限。",
        },
        RemoteMarker::TimedOut => Text {
            en: "There was no answer in time, as with a disk that hangs.",
            zh: "没有及时应答，例如磁盘无响应。",
        },
    }
}

pub(super) const fn obstacle_meaning(obstacle: Obstacle) -> Text {
    match obstacle {
        Obstacle::NoSession => Text {
            en: "The server opens no session for the user.",
            zh: "服务端没有为该用户打开会话。",
        },
        Obstacle::NoSftp => Text {
            en: "The server offers no SFTP to the user.",
            zh: "服务端没有为该用户提供 SFTP。",
        },
        Obstacle::Nologin => Text {
            en: "The shell of the account permits no login (nologin).",
            zh: "该账号的 shell 不允许登录（nologin）。",
        },
        Obstacle::OtherProgram => Text {
            en: "The account starts another program instead of SFTP.",
            zh: "该账号启动的是其他程序，而不是 SFTP。",
        },
        Obstacle::NoOutput => Text {
            en: "The account starts a program that ends without output: a forced command, or a password that must be changed first.",
            zh: "该账号启动的程序没有输出就结束：强制命令，或必须先更改密码。",
        },
        Obstacle::ConnectionLost => Text {
            en: "The connection or the SFTP session ended.",
            zh: "连接或 SFTP 会话中断。",
        },
        Obstacle::Unreadable => Text {
            en: "SFTP works, but the user can read neither file: a chroot, a missing permission, or another path.",
            zh: "SFTP 可用，但该用户无法读取所需文件：chroot、缺少权限或路径不同。",
        },
        Obstacle::NoAnswer => Text {
            en: "The server started SFTP, which did not answer in time.",
            zh: "服务端启动了 SFTP，但没有及时应答。",
        },
    }
}
