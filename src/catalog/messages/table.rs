//! The table of the messages.

use crate::catalog::{Runbook, Text};
use crate::model::{Condition, Reason};

/// A message of the management node.
#[derive(Clone, Copy, Debug)]
pub struct KnownMessage {
    /// The forms of the message in ZStack's own words, with its placeholders (`%s`, `{0}`).
    pub forms: &'static [&'static str],
    /// The meaning of the message for an image store of this daemon.
    pub meaning: Text,
    /// The reasons behind the message, the most likely one first.
    pub reasons: &'static [Reason],
    /// The conditions behind the message, the most likely one first.
    pub conditions: &'static [Condition],
    /// The first action.
    pub action: Text,
    /// The runbook for the situation.
    pub runbook: Option<Runbook>,
}

/// The reasons of a store that is not connected, the most likely one first.
const NOT_CONNECTED: &[Reason] = &[
    Reason::NotMounted,
    Reason::ConnectionRefused,
    Reason::CredentialsRefused,
    Reason::HostKeyChanged,
    Reason::ProbeTimeout,
    Reason::ReadOnly,
    Reason::ConnectTimeout,
];

/// The conditions of a store without room, the most likely one first.
const NO_ROOM: &[Condition] =
    &[Condition::Full, Condition::NearFull, Condition::QuotaExceeded, Condition::SharedFilesystem];

/// The messages.
pub const KNOWN_MESSAGES: &[KnownMessage] = &[
    KnownMessage {
        forms: &[
            "User name or password or port number may be problematic",
            "用户名、密码或者端口可能是错误的",
            "The problem may be caused by an incorrect user name or password or SSH port or unstable network environment",
            "该问题可能是由不正确的用户名、密码、SSH端口或者不稳定的网络环境引起的",
        ],
        meaning: Text {
            en: "The management node has this one text for every trouble of an SSH login. The daemon tells the causes apart: the reason is in `opaque.reason` and in `imagestore-agent show STORE`.",
            zh: "管理节点对所有 SSH 登录问题都只有这一种提示。代理能区分具体原因，见 `opaque.reason` 和 `imagestore-agent show STORE`。",
        },
        reasons: &[
            Reason::CredentialsRefused,
            Reason::ConnectionRefused,
            Reason::ConnectTimeout,
            Reason::HostKeyChanged,
            Reason::MethodNotOffered,
            Reason::NameNotFound,
            Reason::Unreachable,
            Reason::Throttled,
            Reason::NotSsh,
            Reason::AuthTimeout,
            Reason::BannerTimeout,
            Reason::NoCommonAlgorithm,
        ],
        conditions: &[],
        action: Text {
            en: "read the reason with `imagestore-agent show STORE`, then `imagestore-agent explain REASON`",
            zh: "用 `imagestore-agent show STORE` 查看原因，再用 `imagestore-agent explain REASON` 查看说明",
        },
        runbook: Some(Runbook::PasswordChanged),
    },
    KnownMessage {
        forms: &[
            "the uuid of imagestoreBackupStorage agent changed[expected:%s, actual:%s], it's most likely the agent was manually restarted. Issue a reconnect to sync the status",
            "the uuid of sftpBackupStorage agent changed[expected:%s, actual:%s], it's most likely the agent was manually restarted. Issue a reconnect to sync the status",
            "镜像镜像服务器的代理的uuid发生了改变[期望: {0}，实际: {1}]，很有可能代理被手动重启了，需要重连同步状态",
            "Sftp镜像镜像服务器的代理的uuid发生了改变[期望: {0}，实际: {1}]，很有可能代理被手动重启了，需要重连同步状态",
        ],
        meaning: Text {
            en: "A ping was answered without the uuid that the management node gave with its last connect, as after a restart of the daemon. The next reconnect gives it again.",
            zh: "代理对 ping 的应答中没有管理节点上次连接时下发的 uuid，代理重启后就会这样。下一次重连会重新下发。",
        },
        reasons: &[Reason::InterruptedByRestart, Reason::AgentStopping],
        conditions: &[Condition::Unverified],
        action: Text {
            en: "do nothing, or reconnect the store: the management node reconnects by itself after its next ping",
            zh: "无需处理，或手动重连：管理节点会在下一次 ping 之后自动重连",
        },
        runbook: Some(Runbook::ManagementUninformed),
    },
    KnownMessage {
        forms: &[
            "the backup storage[uuid:%s] is not in status of Connected, current status is %s",
            "镜像服务器[uuid:{0}]不是Connected状态，当前状态为{1}",
            "backup storage cannot proceed message[%s] because its status is %s",
            "镜像服务器无法处理消息[{0}]因为它的状态为{1}",
            "Backup storage[uuid: %s] is not connected",
            "备份存储[uuid：{0}]未连接",
            "backup storage[uuid:%s] is not enabled and connected",
            "备份存储[uuid：{0}]未启用和连接",
            "target backup storage[uuid:%s] became unavailable",
            "目标备份存储[uuid：{0}]变得不可用",
            "One of the backup storage[uuid: %s] is in the state of %s, can not do sync operation",
            "镜像服务器[uuid: {0}]处于状态{1}, 无法执行同步操作",
        ],
        meaning: Text {
            en: "The management node refuses the operation, because the store is not Connected (or is disabled) in its own records.",
            zh: "管理节点拒绝该操作，因为在它的记录中镜像服务器不是已连接 (Connected)，或者已停用。",
        },
        reasons: NOT_CONNECTED,
        conditions: &[Condition::DeliveryBehind],
        action: Text {
            en: "read the status and the reason here with `imagestore-agent show STORE`, then reconnect with `imagestore-agent reconnect STORE`",
            zh: "用 `imagestore-agent show STORE` 查看本节点上的状态和原因，然后用 `imagestore-agent reconnect STORE` 重连",
        },
        runbook: Some(Runbook::Disconnected),
    },
    KnownMessage {
        forms: &[
            "check below: 2. if the backup storage is in connected status, if not, try reconnecting it",
            "2. if the backup storage is in connected status, if not, try reconnecting it",
            "2. whether the backup storage is in connected status; try to reconnect it if not",
            "如果镜像服务器不是处于连接状态，请尝试重连",
            "如果镜像服务器不是处于Connected状态，请尝试重连",
            "镜像服务器是否是已连接状态，如果不是尝试重新连接",
            "No connected backup storage found for image[uuid:%s, name:%s]",
            "在所有 Connected 状态的镜像服务器上都找不到镜像[uuid:{0}, name:{1}]",
            "No available backup storage found",
            "没有可用的镜像服务器",
            "找不到可用的备份存储，请跳过此作业",
            "no backup storage specified in uuids%s is available for adding this image; they are not in status %s or not in state %s, or the uuid is invalid backup storage uuid",
            "镜像服务器uuids{0}不满足添加镜像的条件；它们的状态不同时满足{1}和{2},亦或者是无效的uuid",
            "cannot find a backup storage on which the image[uuid:%s] is that satisfies all conditions of: 1. has state Enabled 2. has status Connected. 3 has attached to zone",
            "无法找到一个镜像[uuid:{0}]所在的镜像服务器符合全部的下列条件: 状态启动[state:Enabled]，已连接[status:Connected]，被挂载到主存储",
        ],
        meaning: Text {
            en: "The management node found no store with this image that is Connected, enabled and attached to the zone.",
            zh: "管理节点没有找到同时满足以下条件且存有该镜像的镜像服务器：已连接 (Connected)、已启用、已挂载到该区域。",
        },
        reasons: NOT_CONNECTED,
        conditions: &[Condition::DeliveryBehind],
        action: Text {
            en: "compare status, state and zones in `imagestore-agent show STORE`, then reconnect with `imagestore-agent reconnect STORE`",
            zh: "在 `imagestore-agent show STORE` 中核对连接状态、可用状态和区域，然后用 `imagestore-agent reconnect STORE` 重连",
        },
        runbook: Some(Runbook::Disconnected),
    },
    KnownMessage {
        forms: &[
            "the backup storage[uuid:%s, name:%s] has not enough capacity to download the image[%s].Required size:%s, available size:%s",
            "镜像服务器[uuid:{0}, name:{1}]没有足够的容量可供下载镜像[{2}]。需要的大小: {3}，可用的大小: {4}",
            "cannot reserve %s on the backup storage[uuid:%s], it only has %s available",
            "无法在镜像服务器{1}保留{0}，它仅有{2}可用容量",
            "capacity reservation on all backup storage failed",
            "在所有镜像服务器上保留容量失败",
            "after subtracting reserved capacity, no backup storage has required capacity[%s bytes]",
            "减去保留容量后，没有备份存储具有所需容量[{0}字节]",
            "the backup storage[uuid:%s] has not enough capacity[%s] to export",
            "备份存储[uuid：{0}]没有足够的容量[{1}]用于导出",
        ],
        meaning: Text {
            en: "The available capacity is too small for the image. The management node subtracts its own reserve (`reservedCapacity`, 1 GiB by default) from what the daemon reports.",
            zh: "可用容量不足以存放该镜像。管理节点会从代理上报的容量中减去自己的保留容量（`reservedCapacity`，默认 1 GiB）。",
        },
        reasons: &[],
        conditions: NO_ROOM,
        action: Text {
            en: "compare total and available capacity in `imagestore-agent show STORE` with `df -h DIRECTORY`, then remove images or grow the filesystem",
            zh: "把 `imagestore-agent show STORE` 中的总容量、可用容量与 `df -h DIRECTORY` 对照，然后删除镜像或扩容文件系统",
        },
        runbook: Some(Runbook::DiskFull),
    },
    KnownMessage {
        forms: &[
            "More than one BackupStorage on the same host identified by hostname. There has been an ImageStoreBackupStorage [hostname:%s] existing. The BackupStorage type to be added is %s.",
            "More than one BackupStorage on the same host identified by hostname. There has been a SftpBackupStorage [hostname:%s] existing. The BackupStorage type to be added is %s.",
            "有超过一个镜像服务器拥有相同的物理机名，已经存在一个镜像服务器 [物理机名:{0}]，被添加的镜像服务器类型为 {1}",
            "有超过一个镜像服务器拥有相同的物理机名，已经存在一个 SFTP 镜像服务器 [物理机名:{0}]，被添加的镜像服务器类型为 {1}",
            "duplicate backup storage. There has been an image store backup storage[hostname:%s]",
            "重复的镜像服务器。已经存在一个镜像服务器[物理机名: {0}]",
        ],
        meaning: Text {
            en: "The management node allows one backup storage for each host name. This limit is its own; the daemon serves several stores on one node.",
            zh: "管理节点只允许每个物理机名对应一个镜像服务器。这是管理节点的限制，代理可以在一个节点上服务多个镜像服务器。",
        },
        reasons: &[],
        conditions: &[],
        action: Text {
            en: "add the second store under another address or name of this node",
            zh: "用本节点的另一个地址或名称添加第二个镜像服务器",
        },
        runbook: None,
    },
    KnownMessage {
        forms: &[
            "System can't find imagestore backup Storage. Please do not set imagestore backup Storage server IP to localhost(127.*.*.*)",
            "系统找不到镜像仓库镜像服务器。请不要设置镜像服务器IP为localhost(127.*.*.*)",
        ],
        meaning: Text {
            en: "The store was added with a loopback address. The hosts of the cloud use this address, and reach themselves with it.",
            zh: "镜像服务器是用回环地址添加的。云平台的物理机会使用该地址，结果连到了它们自己。",
        },
        reasons: &[Reason::DifferentHost, Reason::ConnectionRefused],
        conditions: &[],
        action: Text {
            en: "give the store an address of this node that the hosts reach: `imagestore-agent update STORE --hostname ADDRESS`",
            zh: "为镜像服务器填写物理机可访问的本节点地址：`imagestore-agent update STORE --hostname ADDRESS`",
        },
        runbook: None,
    },
    KnownMessage {
        forms: &["unable to echo %s in %sms", "无法在{1}ms内返回{0}"],
        meaning: Text {
            en: "The management node called the daemon and got no answer in time: it does not run, listens on another address, or a firewall is between the two.",
            zh: "管理节点调用代理，但没有及时得到应答：代理没有运行、监听了其他地址，或中间有防火墙。",
        },
        reasons: &[Reason::AgentStopping, Reason::AgentBusy],
        conditions: &[],
        action: Text {
            en: "check `systemctl status imagestore-agent`, `server.listen`, `server.agent_allow` and the firewall",
            zh: "检查 `systemctl status imagestore-agent`、`server.listen`、`server.agent_allow` 和防火墙",
        },
        runbook: Some(Runbook::StuckConnecting),
    },
    KnownMessage {
        forms: &[
            "backup storage[uuid:%s] has not been attached to zone[uuid:%s]",
            "镜像服务器[uuid:{0}]没有被加载到zone[uuid:{1}]",
            "the image[uuid:%s] is not on any backup storage that has been attached to the zone[uuid:%s]",
            "镜像[uuid:{0}]不在任何加载到区域[uuid:{1}]的镜像服务器上",
        ],
        meaning: Text {
            en: "The store is not attached to the zone. This is no fault of its connection.",
            zh: "镜像服务器没有挂载到该区域。这不是连接故障。",
        },
        reasons: &[Reason::ZoneNotAttached],
        conditions: &[],
        action: Text {
            en: "attach the backup storage to the zone in the management node",
            zh: "在管理节点上把镜像服务器挂载到该区域",
        },
        runbook: None,
    },
    KnownMessage {
        forms: &["wrong account name or password", "错误的帐号或密码"],
        meaning: Text {
            en: "A login to the API was refused. It concerns an account, and not the SSH login of a store.",
            zh: "登录 API 被拒绝。这与账号有关，与镜像服务器的 SSH 登录无关。",
        },
        reasons: &[],
        conditions: &[],
        action: Text {
            en: "use an account of `auth.accounts_file` (`imagestore-agent account add NAME` makes a line for it)",
            zh: "使用 `auth.accounts_file` 中的账号（`imagestore-agent account add NAME` 可生成其中一行）",
        },
        runbook: None,
    },
];
