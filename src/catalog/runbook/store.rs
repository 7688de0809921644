//! The runbooks of the status of a store, and of its login.

use super::RunbookText;
use crate::catalog::Text;

pub(super) const STUCK_CONNECTING: RunbookText = RunbookText {
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

pub(super) const DISCONNECTED: RunbookText = RunbookText {
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

pub(super) const PASSWORD_CHANGED: RunbookText = RunbookText {
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

pub(super) const FLAPPING: RunbookText = RunbookText {
    title: Text {
        en: "A store changes its status again and again", zh: "连接状态反复变化"
    },
    situation: Text {
        en: "The store was Connected and not Connected several times within an hour. Usual causes are a server or a disk near its limits, two hosts with one address, or a time-out that is too short for the load.",
        zh: "一小时内，镜像服务器多次在已连接 (Connected) 与其他状态之间切换。常见原因：服务端或磁盘接近极限、两台机器使用同一地址，或超时时间对当前负载来说太短。",
    },
    steps: &[
        Text {
            en: "List the changes with their reasons: `imagestore-agent events STORE --since 2h`.",
            zh: "列出各次变化及其原因：`imagestore-agent events STORE --since 2h`。",
        },
        Text {
            en: "If the reason is always the same one, follow its action: `imagestore-agent explain REASON`.",
            zh: "如果每次都是同一个原因，按其处理办法操作：`imagestore-agent explain REASON`。",
        },
        Text {
            en: "For time-outs, compare the durations in `imagestore-agent show STORE` with `monitor.probe_deadline` and the time-outs of `[ssh]`. Remove the load, or raise the time that is too short.",
            zh: "若为超时，把 `imagestore-agent show STORE` 中的耗时与 `monitor.probe_deadline` 及 `[ssh]` 中的超时时间比较。减轻负载，或调大过短的时间。",
        },
        Text {
            en: "For lost connections, check the network and the log of the SSH server: `journalctl -u ssh`. On network storage, check its server too.",
            zh: "若为连接中断，检查网络和 SSH 服务端的日志：`journalctl -u ssh`。若为网络存储，还要检查存储服务端。",
        },
        Text {
            en: "Until the cause is found, a larger `monitor.fail_after` keeps short faults from disconnecting the store.",
            zh: "找到原因之前，可以调大 `monitor.fail_after`，避免短暂故障使镜像服务器失联 (Disconnected)。",
        },
    ],
};

pub(super) const NEW_HOST_KEY: RunbookText = RunbookText {
    title: Text { en: "The SSH server shows another host key", zh: "SSH 主机密钥变了" },
    situation: Text {
        en: "The store is Disconnected with `host_key_changed`. Either the server was reinstalled or its keys were renewed, or another machine answers at its address. The daemon sends no password to it.",
        zh: "镜像服务器因 `host_key_changed` 变为失联 (Disconnected)。要么是服务端重装过或更换了密钥，要么是另一台机器在使用该地址。代理不会把密码发给它。",
    },
    steps: &[
        Text {
            en: "Read both fingerprints: `imagestore-agent show STORE`.",
            zh: "查看新旧两个指纹：`imagestore-agent show STORE`。",
        },
        Text {
            en: "On the server itself, at its console, print the fingerprint: `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`.",
            zh: "在服务端本机的控制台上查看指纹：`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`。",
        },
        Text {
            en: "If it is the new one, accept it: `imagestore-agent accept-host-key STORE`. The store then reconnects.",
            zh: "如果与新指纹一致，接受它：`imagestore-agent accept-host-key STORE`。镜像服务器随后会重连。",
        },
        Text {
            en: "If it is not, accept nothing. Find the machine that answers at the address (`ip neigh`), and correct the address or the name.",
            zh: "如果不一致，不要接受。查明是哪台机器在使用该地址（`ip neigh`），并更正地址或域名。",
        },
    ],
};

pub(super) const UNVERIFIED_STORE: RunbookText = RunbookText {
    title: Text { en: "A check of a store is missing", zh: "缺少检查结果" },
    situation: Text {
        en: "A check that was due has not ended (`not_probed`), no check has ended since the start (`unverified`), or no login has shown that the SSH server is this node (`proof_unavailable`). The status may be outdated.",
        zh: "到期的检查没有完成（`not_probed`）、启动后还没有完成任何检查（`unverified`），或登录后无法证实 SSH 服务端就是本节点（`proof_unavailable`）。连接状态可能已过时。",
    },
    steps: &[
        Text {
            en: "Read which check it is, and what prevents it: `imagestore-agent show STORE`.",
            zh: "查看是哪项检查，以及受什么阻碍：`imagestore-agent show STORE`。",
        },
        Text {
            en: "For `not_probed` and `unverified`, run the check now: `imagestore-agent doctor STORE --fresh`. A probe that hangs belongs to the runbook `disk-hangs`.",
            zh: "若为 `not_probed` 或 `unverified`，立即检查：`imagestore-agent doctor STORE --fresh`。如果探测卡住，转到操作手册 `disk-hangs`。",
        },
        Text {
            en: "For `proof_unavailable`, let the user of the store read `/proc/sys/kernel/random/boot_id` over SFTP.",
            zh: "若为 `proof_unavailable`，允许该镜像服务器的用户通过 SFTP 读取 `/proc/sys/kernel/random/boot_id`。",
        },
        Text {
            en: "If that is not possible on this server, set `ssh.prove_host = false`. A name that leads to another machine is then not noticed.",
            zh: "如果该服务端无法做到，设置 `ssh.prove_host = false`。此后即使物理机名指向另一台机器也发现不了。",
        },
    ],
};
