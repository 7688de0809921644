//! The reasons why no SSH session with the right server is established.

use super::impact::{LOGIN_HARD, LOGIN_SOFT};
use crate::catalog::{Guidance, Text};

pub(super) const NAME_NOT_FOUND: Guidance = Guidance {
    meaning: Text {
        en: "The host name of the store has no address, or the name service did not answer within `ssh.resolve_timeout`.",
        zh: "镜像服务器的物理机名解析不到地址，或者名字服务在 `ssh.resolve_timeout` 内没有应答。",
    },
    impact: LOGIN_SOFT,
    action: Text {
        en: "correct the store's hostname, or repair the name resolution of this node",
        zh: "更正镜像服务器的物理机名，或修复本节点的域名解析",
    },
};

pub(super) const TARGET_NOT_ALLOWED: Guidance = Guidance {
    meaning: Text {
        en: "The host name of the store leads to another machine, and the daemon logs in to this node only.",
        zh: "镜像服务器的物理机名指向另一台机器，而代理只登录本节点。",
    },
    impact: LOGIN_HARD,
    action: Text {
        en: "give an address of this node as hostname, or add the address to `ssh.allowed_targets`",
        zh: "把物理机名改为本节点的地址，或把该地址加入 `ssh.allowed_targets`",
    },
};

pub(super) const CONNECTION_REFUSED: Guidance = Guidance {
    meaning: Text {
        en: "Nothing listens on the SSH port.", zh: "SSH 端口上没有服务在监听。"
    },
    impact: LOGIN_SOFT,
    action: Text {
        en: "start sshd on this port, or correct the store's sshPort",
        zh: "在该端口启动 sshd，或更正镜像服务器的 SSH 端口",
    },
};

pub(super) const UNREACHABLE: Guidance = Guidance {
    meaning: Text {
        en: "This node has no route to the address, or a firewall rejects the connection.",
        zh: "本节点没有到该地址的路由，或者连接被防火墙拒绝。",
    },
    impact: LOGIN_SOFT,
    action: Text {
        en: "check the route (`ip route get ADDRESS`) and the firewall between this node and the address",
        zh: "检查路由（`ip route get ADDRESS`）以及本节点与该地址之间的防火墙",
    },
};

pub(super) const CONNECT_TIMEOUT: Guidance = Guidance {
    meaning: Text {
        en: "The TCP connection to the SSH port was not established in time.",
        zh: "到 SSH 端口的 TCP 连接超时。",
    },
    impact: LOGIN_SOFT,
    action: Text {
        en: "check that the host is up, and that no firewall drops the packets",
        zh: "确认该物理机已开机，且没有防火墙丢弃报文",
    },
};

pub(super) const BANNER_TIMEOUT: Guidance = Guidance {
    meaning: Text {
        en: "The SSH port accepts connections, but the server does not send its first line.",
        zh: "SSH 端口能连上，但服务端迟迟不发送版本信息。",
    },
    impact: LOGIN_SOFT,
    action: Text {
        en: "check the load of the SSH server, or restart sshd: it accepts connections but does not answer",
        zh: "检查 SSH 服务端的负载，或重启 sshd：它接受连接却不应答",
    },
};

pub(super) const HANDSHAKE_TIMEOUT: Guidance = Guidance {
    meaning: Text {
        en: "The SSH server stopped answering during the key exchange.",
        zh: "SSH 服务端在密钥交换过程中停止应答。",
    },
    impact: LOGIN_SOFT,
    action: Text {
        en: "check the load and the log of the SSH server: it stopped answering during the key exchange",
        zh: "检查 SSH 服务端的负载和日志：它在密钥交换过程中停止应答",
    },
};

pub(super) const CONNECTION_LOST: Guidance = Guidance {
    meaning: Text {
        en: "The SSH server closed or reset the connection.",
        zh: "SSH 服务端关闭或重置了连接。",
    },
    impact: LOGIN_SOFT,
    action: Text {
        en: "check the log of sshd for the reason why it closed the connection",
        zh: "查看 sshd 日志，找出它关闭连接的原因",
    },
};

pub(super) const NOT_SSH: Guidance = Guidance {
    meaning: Text {
        en: "The service on the SSH port does not speak SSH.",
        zh: "该端口上的服务不是 SSH。",
    },
    impact: LOGIN_SOFT,
    action: Text {
        en: "correct the store's sshPort: another service listens on this port",
        zh: "更正镜像服务器的 SSH 端口：监听该端口的是另一个服务",
    },
};

pub(super) const NO_COMMON_ALGORITHM: Guidance = Guidance {
    meaning: Text {
        en: "The daemon and the SSH server have no algorithm in common.",
        zh: "代理与 SSH 服务端没有共同支持的算法。",
    },
    impact: LOGIN_HARD,
    action: Text {
        en: "update the SSH server, or enable the algorithm again under `ssh.legacy`",
        zh: "升级 SSH 服务端，或在 `ssh.legacy` 中重新启用该算法",
    },
};

pub(super) const THROTTLED: Guidance = Guidance {
    meaning: Text {
        en: "The SSH server turns connections away for now, because it has too many.",
        zh: "SSH 服务端因连接过多，暂时拒绝新连接。",
    },
    impact: LOGIN_SOFT,
    action: Text {
        en: "find the client that opens too many connections to sshd, or relax its limits (`MaxStartups`, `PerSourcePenalties`)",
        zh: "找出连接过多的客户端，或放宽 sshd 的限制（`MaxStartups`、`PerSourcePenalties`）",
    },
};

pub(super) const DIFFERENT_HOST: Guidance = Guidance {
    meaning: Text {
        en: "The login works, but the machine behind the host name is proven to be another one.",
        zh: "登录成功，但已证实物理机名指向的是另一台机器。",
    },
    impact: LOGIN_HARD,
    action: Text {
        en: "correct the store's hostname: the login works, but on another machine",
        zh: "更正镜像服务器的物理机名：登录虽然成功，但登录的是另一台机器",
    },
};
