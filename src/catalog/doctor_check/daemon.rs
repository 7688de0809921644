//! The texts of the checks of the daemon, its settings and its files.

use crate::catalog::{Guidance, Text};

pub(super) const PROGRAM_VERSION: Guidance = Guidance {
    meaning: Text {
        en: "The running daemon has the version of the installed program.",
        zh: "正在运行的代理与已安装的程序版本一致。",
    },
    impact: Text {
        en: "The daemon may lack corrections and checks of the installed version.",
        zh: "代理可能缺少已安装版本中的修正和检查项。",
    },
    action: Text {
        en: "restart the daemon with `systemctl restart imagestore-agent`, so that it runs the installed version",
        zh: "执行 `systemctl restart imagestore-agent`，使其运行已安装的版本",
    },
};

pub(super) const SETTINGS_VALID: Guidance = Guidance {
    meaning: Text {
        en: "The settings file and the files that it names are valid.",
        zh: "配置文件及其引用的文件有效。",
    },
    impact: Text {
        en: "With an error the daemon does not start again, and a reload keeps the old settings.",
        zh: "存在错误时，代理无法再次启动，重新加载也只会保留旧配置。",
    },
    action: Text {
        en: "correct the faults that `imagestore-agent check-config` lists",
        zh: "更正 `imagestore-agent check-config` 列出的错误",
    },
};

pub(super) const SETTINGS_SANDBOX: Guidance = Guidance {
    meaning: Text {
        en: "The service can write below every root in `storage.allowed_roots`.",
        zh: "服务可以写入 `storage.allowed_roots` 中的每个根目录。",
    },
    impact: Text {
        en: "A store below this root cannot be added, and one that exists is Disconnected: no image can be stored in it.",
        zh: "该根目录下无法添加镜像服务器，已有的会失联 (Disconnected)：无法向其中保存镜像。",
    },
    action: Text {
        en: "in a drop-in (`systemctl edit imagestore-agent`), set `ProtectHome=no` for a root in `/home`, `/root` or `/run/user`, remove any other root from `InaccessiblePaths` and `ReadOnlyPaths`, and add it to `ReadWritePaths`; then restart the service",
        zh: "用 `systemctl edit imagestore-agent` 修改服务单元，根目录位于 `/home`、`/root` 或 `/run/user` 时设置 `ProtectHome=no`；否则把它从 `InaccessiblePaths` 和 `ReadOnlyPaths` 中移除，并加入 `ReadWritePaths`；然后重启服务",
    },
};

pub(super) const STATE_WRITABLE: Guidance = Guidance {
    meaning: Text {
        en: "The daemon can write in `state.dir`.", zh: "代理可以写入 `state.dir`。"
    },
    impact: Text {
        en: "No status can be recorded, so the daemon reports no change and accepts no request that changes a store.",
        zh: "连接状态无法记录，因此代理不会报告任何变化，也不接受修改镜像服务器的请求。",
    },
    action: Text {
        en: "make `state.dir` a directory of the daemon's user, give its files back to that user, and mount its disk read-write",
        zh: "确保 `state.dir` 是代理运行用户的目录，把其中文件的属主改回该用户，并以读写方式挂载其磁盘",
    },
};

pub(super) const STATE_SPACE: Guidance = Guidance {
    meaning: Text {
        en: "The disk of `state.dir` has space for the records of the daemon.",
        zh: "`state.dir` 所在磁盘有足够空间保存代理的数据。",
    },
    impact: Text {
        en: "A full disk stops every change of a status, every add and every notice.",
        zh: "磁盘写满后，连接状态无法变化，无法添加镜像服务器，也无法发送通知。",
    },
    action: Text {
        en: "free space on the disk (`df -h`): a full disk stops every change of a status",
        zh: "清理该磁盘的空间（`df -h`）：磁盘写满后，连接状态的变化无法记录",
    },
};

pub(super) const STATE_KEY: Guidance = Guidance {
    meaning: Text {
        en: "The master key opens the stored passwords and keys.",
        zh: "主密钥可以解密已保存的密码和密钥。",
    },
    impact: Text {
        en: "A store whose password or key cannot be opened has no login, and becomes Disconnected.",
        zh: "密码或密钥无法解密的镜像服务器无法登录，并会失联 (Disconnected)。",
    },
    action: Text {
        en: "restore the master key that sealed the secrets, or give each store its credentials again with `imagestore-agent update STORE`",
        zh: "恢复加密时使用的主密钥，或用 `imagestore-agent update STORE` 为每个镜像服务器重新填写凭据",
    },
};

pub(super) const STATE_LEDGER: Guidance = Guidance {
    meaning: Text {
        en: "The installed program can read the ledger and the node id in `state.dir`.",
        zh: "已安装的程序可以读取 `state.dir` 中的状态数据库和节点 id。",
    },
    impact: Text {
        en: "The daemon does not start, and the management node can use no store of this node.",
        zh: "代理无法启动，管理节点不能使用本节点的任何镜像服务器。",
    },
    action: Text {
        en: "install the version that wrote a newer ledger, or restore a damaged or lost one from a backup with all of its files; restore `node-id` from a backup, or write the `nodeId` into it that the markers of the stores contain",
        zh: "状态数据库较新时，安装写入它的版本；损坏或丢失时，从备份恢复它的全部文件；`node-id` 则从备份恢复，或写入镜像服务器标记文件中的 `nodeId`",
    },
};

pub(super) const SERVICE_RUNNING: Guidance = Guidance {
    meaning: Text {
        en: "The service runs and is not restarted again and again.",
        zh: "服务正在运行，且没有反复重启。",
    },
    impact: Text {
        en: "While the service is down, no status is checked or reported, and no store can be reconnected.",
        zh: "服务停止期间，不会检查或报告连接状态，也无法重连任何镜像服务器。",
    },
    action: Text {
        en: "read the cause with `systemctl status imagestore-agent` and `journalctl -u imagestore-agent`, then start the service",
        zh: "用 `systemctl status imagestore-agent` 和 `journalctl -u imagestore-agent` 查明原因，然后启动服务",
    },
};

pub(super) const SERVICE_ANSWERS: Guidance = Guidance {
    meaning: Text {
        en: "The daemon answers on its Unix socket.",
        zh: "代理在 Unix 套接字上有应答。",
    },
    impact: Text {
        en: "While the daemon does not answer or is not ready, the management node can neither ping nor reconnect a store.",
        zh: "代理没有应答或未就绪期间，管理节点既不能 ping 也不能重连镜像服务器。",
    },
    action: Text {
        en: "start the service, or restart it if it runs and does not answer (`systemctl restart imagestore-agent`)",
        zh: "启动服务；若服务在运行但没有应答，则重启它（`systemctl restart imagestore-agent`）",
    },
};

pub(super) const SERVICE_CLOCK: Guidance = Guidance {
    meaning: Text {
        en: "The clock of this node is not behind the ledger, nor behind this program, and it does not jump.",
        zh: "本节点的时钟不早于状态数据库中的时间，不早于本程序的发布时间，也没有跳变。",
    },
    impact: Text {
        en: "The times in the history and in the notices are wrong, receivers refuse signatures with a wrong time, and certificates look expired.",
        zh: "历史和通知中的时间不正确，接收方会拒绝时间不正确的签名，证书也会显得已过期。",
    },
    action: Text {
        en: "correct the clock and its synchronization (`timedatectl`, `chronyc tracking`)",
        zh: "校正时钟并检查时间同步（`timedatectl`、`chronyc tracking`）",
    },
};

pub(super) const LISTEN_TLS: Guidance = Guidance {
    meaning: Text {
        en: "Every address beyond loopback is served with TLS.",
        zh: "回环地址以外的监听地址都启用了 TLS。",
    },
    impact: Text {
        en: "A session, a password or a token can be read on the way, and others can use it.",
        zh: "会话、密码或令牌可能在途中被读取，并被他人使用。",
    },
    action: Text {
        en: "set `server.tls.cert` and `server.tls.key`, or listen on loopback only: without TLS a session can be read on the way",
        zh: "设置 `server.tls.cert` 和 `server.tls.key`，或只监听回环地址：没有 TLS 时，会话可能在途中被窃取",
    },
};

pub(super) const LISTEN_REACHABLE: Guidance = Guidance {
    meaning: Text {
        en: "The daemon listens on an address that its clients can reach.",
        zh: "代理监听的地址可供客户端访问。",
    },
    impact: Text {
        en: "The management node and other clients cannot connect to this node.",
        zh: "管理节点和其他客户端无法连接本节点。",
    },
    action: Text {
        en: "add an address of this node to `server.listen`, and open the port in the firewall",
        zh: "把本节点的地址加入 `server.listen`，并在防火墙上放行该端口",
    },
};

pub(super) const AUTH_SESSIONS: Guidance = Guidance {
    meaning: Text {
        en: "Clients can log in: a token, an account, an access key, a client certificate, a check of management sessions or a network of the agent protocol is configured.",
        zh: "客户端可以登录：已配置令牌、账号、AccessKey、客户端证书、管理节点会话检查或代理协议的网段。",
    },
    impact: Text {
        en: "Every caller over TCP is refused; only the Unix socket can be used.",
        zh: "所有 TCP 调用方都会被拒绝，只能使用 Unix 套接字。",
    },
    action: Text {
        en: "add a line to `auth.tokens_file`, or use `imagestore-agent account add NAME`, then reload the daemon",
        zh: "在 `auth.tokens_file` 中添加一行，或使用 `imagestore-agent account add NAME`，然后重新加载代理",
    },
};

pub(super) const MANAGEMENT_CALLBACK: Guidance = Guidance {
    meaning: Text {
        en: "Each receiver in `callback.urls` has an address, accepts a connection, and shows a trusted certificate.",
        zh: "`callback.urls` 中的每个接收方都能解析到地址、能建立连接，且证书可信。",
    },
    impact: Text {
        en: "The management node learns of a change only when it asks. The notices wait, in their order.",
        zh: "管理节点只有在主动查询时才知道状态变化。通知会按顺序排队等待。",
    },
    action: Text {
        en: "correct `callback.urls` and `callback.ca_file`, or repair the name service, the firewall or the receiver; then `imagestore-agent doctor --check management.callback` tries it again",
        zh: "更正 `callback.urls` 和 `callback.ca_file`，或修复域名解析、防火墙或接收方；然后用 `imagestore-agent doctor --check management.callback` 再次检查",
    },
};

pub(super) const MANAGEMENT_DELIVERED: Guidance = Guidance {
    meaning: Text {
        en: "No notice waits for the management node for long.",
        zh: "没有长时间等待送达管理节点的通知。",
    },
    impact: Text {
        en: "The management node shows an old status until the notices have arrived.",
        zh: "通知送达之前，管理节点显示的是旧的连接状态。",
    },
    action: Text {
        en: "make the management node reachable (`imagestore-agent doctor --check management.callback` shows where the way to it ends); the daemon then delivers the waiting notices in order",
        zh: "恢复与管理节点的网络连通（`imagestore-agent doctor --check management.callback` 可显示中断之处）；之后代理会按顺序送达排队的通知",
    },
};

pub(super) const MANAGEMENT_AGENT_ALLOW: Guidance = Guidance {
    meaning: Text {
        en: "No caller of the agent protocol is refused because of its address.",
        zh: "没有代理协议的调用方因其地址被拒绝。",
    },
    impact: Text {
        en: "The refused caller gets 403 from `connect`, `ping` and `echo`. If it is the management node, then its stores of this node are Disconnected there.",
        zh: "被拒绝的调用方调用 `connect`、`ping` 和 `echo` 时得到 403。如果它是管理节点，则本节点的镜像服务器在那里显示为失联 (Disconnected)。",
    },
    action: Text {
        en: "if the refused caller is the management node, add its network to `server.agent_allow`, then restart the daemon (`systemctl restart imagestore-agent`); else stop the caller",
        zh: "如果被拒绝的调用方是管理节点，把其网段加入 `server.agent_allow`，然后重启代理（`systemctl restart imagestore-agent`）；否则停用该调用方",
    },
};

pub(super) const CERTIFICATE_SERVER: Guidance = Guidance {
    meaning: Text {
        en: "The certificate of the daemon is valid for 21 days or more, and the daemon serves the one of the file.",
        zh: "代理的服务端证书有效期不少于 21 天，且代理使用的就是文件中的证书。",
    },
    impact: Text {
        en: "Clients refuse an expired certificate, so the management node can no longer call this node.",
        zh: "客户端会拒绝过期的证书，管理节点将无法再调用本节点。",
    },
    action: Text {
        en: "renew the certificate in `server.tls.cert`, then load it with `systemctl reload imagestore-agent`; the first certificate needs a restart (`systemctl restart imagestore-agent`)",
        zh: "更新 `server.tls.cert` 中的证书，然后用 `systemctl reload imagestore-agent` 加载；首次配置证书需要重启（`systemctl restart imagestore-agent`）",
    },
};

pub(super) const CERTIFICATE_CLIENT: Guidance = Guidance {
    meaning: Text {
        en: "The certificate that the daemon shows to the management node is valid for 21 days or more, and is the one of the file.",
        zh: "代理向管理节点出示的证书有效期不少于 21 天，且就是文件中的证书。",
    },
    impact: Text {
        en: "The receiver refuses an expired certificate, and the notices wait.",
        zh: "接收方会拒绝过期的证书，通知将排队等待。",
    },
    action: Text {
        en: "renew the certificate in `callback.client_cert`, then restart the daemon (`systemctl restart imagestore-agent`)",
        zh: "更新 `callback.client_cert` 中的证书，然后重启代理（`systemctl restart imagestore-agent`）",
    },
};
