//! The runbooks of the daemon itself, and of its connection to the management node.

use super::RunbookText;
use crate::catalog::Text;

pub(super) const MANAGEMENT_UNINFORMED: RunbookText = RunbookText {
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

pub(super) const AGENT_DOWN: RunbookText = RunbookText {
    title: Text {
        en: "The daemon is down, or restarts again and again",
        zh: "代理停止运行或反复重启",
    },
    situation: Text {
        en: "The monitoring does not reach the daemon, or the daemon has started several times within an hour. While it is down, the management node shows the last known status of its stores.",
        zh: "监控系统访问不到代理，或代理一小时内启动了多次。代理停止期间，管理节点显示的是最后已知的连接状态。",
    },
    steps: &[
        Text {
            en: "Read the state of the service and its last exit code: `systemctl status imagestore-agent`.",
            zh: "查看服务状态和最近一次退出码：`systemctl status imagestore-agent`。",
        },
        Text {
            en: "Let the node examine itself; this also works while the daemon is down: `imagestore-agent doctor`.",
            zh: "让节点自查，代理停止时也能用：`imagestore-agent doctor`。",
        },
        Text {
            en: "Read the last lines of the log: `journalctl -u imagestore-agent -n 50`. They name the cause; for an exit code, `imagestore-agent explain 64` has its meaning.",
            zh: "查看日志的最后几行：`journalctl -u imagestore-agent -n 50`。其中有原因；退出码的含义可用 `imagestore-agent explain 64` 这样的命令查看。",
        },
        Text {
            en: "If the settings are at fault, correct them (`imagestore-agent check-config`), then run `systemctl restart imagestore-agent`.",
            zh: "如果是设置有误，更正后（`imagestore-agent check-config`）执行 `systemctl restart imagestore-agent`。",
        },
        Text {
            en: "If the service runs, the monitoring cannot reach it. A scrape from another host needs an address in `server.listen` that this host reaches, `[server.tls]` or `server.insecure_http = true`, the name of the target in `server.host_names` (otherwise the answer is 421), and a token with the role read (otherwise 401). Check the firewall too.",
            zh: "如果服务在运行，就是监控系统访问不到。从其他主机采集指标，需要：`server.listen` 中有该主机能访问的地址；配置 `[server.tls]` 或 `server.insecure_http = true`；`server.host_names` 中有采集目标的名称（否则返回 421）；令牌的角色为 read（否则返回 401）。还要检查防火墙。",
        },
        Text {
            en: "If the certificate in `server.tls.cert` has expired, the monitoring refuses the daemon: `imagestore-agent doctor --check certificate.server` shows it. Continue with the runbook `certificate-ends`.",
            zh: "如果 `server.tls.cert` 中的证书已到期，监控系统会拒绝连接：用 `imagestore-agent doctor --check certificate.server` 查看。若已到期，转到操作手册 `certificate-ends`。",
        },
    ],
};

pub(super) const STATE_DISK: RunbookText = RunbookText {
    title: Text {
        en: "The daemon cannot write its own records", zh: "代理无法写入自己的数据"
    },
    situation: Text {
        en: "The condition is `state_disk_trouble`. The images are untouched, but no change of a status can be recorded or reported.",
        zh: "告警为 `state_disk_trouble`。镜像数据不受影响，但连接状态的变化无法记录，也无法通知管理节点。",
    },
    steps: &[
        Text {
            en: "See if the disk of `state.dir` is full: `df -h /var/lib/imagestore-agent` and `df -i /var/lib/imagestore-agent`. Free space there.",
            zh: "查看 `state.dir` 所在磁盘是否已满：`df -h /var/lib/imagestore-agent` 和 `df -i /var/lib/imagestore-agent`。如果已满，清理空间。",
        },
        Text {
            en: "See if it is read-only or reports errors: `findmnt -T /var/lib/imagestore-agent` and `dmesg`. Repair or replace the disk.",
            zh: "查看磁盘是否只读或报错：`findmnt -T /var/lib/imagestore-agent` 和 `dmesg`。修复或更换磁盘。",
        },
        Text {
            en: "Check the permissions and the rest: `imagestore-agent doctor --check state.writable --check state.space`.",
            zh: "检查权限等其他情况：`imagestore-agent doctor --check state.writable --check state.space`。",
        },
        Text {
            en: "The daemon writes again by itself once the disk permits it. A restart is not needed.",
            zh: "磁盘恢复可写后，代理会自动继续写入，无需重启。",
        },
    ],
};

pub(super) const CERTIFICATE_ENDS: RunbookText = RunbookText {
    title: Text { en: "A certificate ends soon", zh: "证书快到期" },
    situation: Text {
        en: "The certificate of the daemon (`server`), or the one that it shows to the management node (`client`), is valid for a few days only. After its end, the two no longer talk to each other.",
        zh: "代理的服务端证书（`server`），或它向管理节点出示的客户端证书（`client`），有效期只剩几天。到期后，代理与管理节点将无法通信。",
    },
    steps: &[
        Text {
            en: "See which one it is, and its last day: `imagestore-agent doctor --check certificate.server --check certificate.client`.",
            zh: "查看是哪个证书及其到期日：`imagestore-agent doctor --check certificate.server --check certificate.client`。",
        },
        Text {
            en: "Renew the file in `server.tls.cert` or `callback.client_cert`, with its key.",
            zh: "更新 `server.tls.cert` 或 `callback.client_cert` 指定的文件，以及相应的私钥。",
        },
        Text {
            en: "The daemon loads a server certificate within 10 s, or at once: `systemctl reload imagestore-agent`. A client certificate needs `systemctl restart imagestore-agent`.",
            zh: "代理会在 10 秒内加载新的服务端证书，也可立即加载：`systemctl reload imagestore-agent`。客户端证书需要 `systemctl restart imagestore-agent`。",
        },
        Text {
            en: "Renew it automatically from now on, and let the tool reload the daemon.",
            zh: "之后改为自动更新证书，并让更新工具重新加载代理。",
        },
    ],
};
