//! The remedies of logins, and of what comes before them.

use crate::catalog::Text;

pub(super) const CHECK_SERVICE_LIMITS: Text = Text {
    en: "check the limits of descriptors, processes, threads and memory of this service",
    zh: "检查本服务的文件描述符、进程、线程和内存限制",
};

pub(super) const PERMIT_CONNECTION: Text = Text {
    en: "permit the daemon to connect to this address: a security module of this node or a firewall denies it",
    zh: "允许代理连接该地址：本节点的安全模块或防火墙拒绝了连接",
};

pub(super) const PERMIT_ADDRESS_FAMILY: Text = Text {
    en: "permit the family of this address (`RestrictAddressFamilies` of the unit, IPv6 of the kernel), or give the store an address of another family",
    zh: "允许该地址的地址族（服务单元的 `RestrictAddressFamilies`、内核的 IPv6），或为镜像服务器换用另一地址族的地址",
};

pub(super) const CHECK_LOCAL_ADDRESSES: Text = Text {
    en: "check that IPv6 is on for an IPv6 address, and that local ports are free (`net.ipv4.ip_local_port_range`)",
    zh: "若为 IPv6 地址，确认 IPv6 已启用；并确认还有空闲的本地端口（`net.ipv4.ip_local_port_range`）",
};

pub(super) const UPDATE_SSH_SERVER: Text = Text {
    en: "update the SSH server: this daemon supports only version 2 of SSH",
    zh: "升级 SSH 服务端：本代理只支持第 2 版 SSH",
};

pub(super) const USE_UTF8_TEXTS: Text = Text {
    en: "let the server send its texts in UTF-8: the file of `Banner` in sshd_config, and the messages of its PAM modules",
    zh: "让服务端以 UTF-8 发送文本：sshd_config 中 `Banner` 指定的文件，以及 PAM 模块的消息",
};

pub(super) const PERMIT_THIS_HOST: Text = Text {
    en: "permit the address of this node in the access rules of the SSH server: it refuses this host",
    zh: "在 SSH 服务端的访问规则中允许本节点的地址：它拒绝了本节点",
};

pub(super) const USE_SMALLER_RSA_KEY: Text = Text {
    en: "give the server an ed25519 or ecdsa host key, or an RSA key of at most {bits} bits (`HostKey` in sshd_config)",
    zh: "为服务端配置 ed25519 或 ecdsa 主机密钥，或不超过 {bits} 位的 RSA 密钥（sshd_config 中的 `HostKey`）",
};

pub(super) const USE_SMALLER_RSA_EXPONENT: Text = Text {
    en: "give the server an ed25519 or ecdsa host key, or an RSA key with a public exponent of at most {bits} bits (`HostKey` in sshd_config)",
    zh: "为服务端配置 ed25519 或 ecdsa 主机密钥，或公钥指数不超过 {bits} 位的 RSA 密钥（sshd_config 中的 `HostKey`）",
};

pub(super) const USE_OTHER_GROUPS: Text = Text {
    en: "give the server groups of {min} to {max} bits (moduli(5)), or enable another key exchange on it (`KexAlgorithms` in sshd_config)",
    zh: "为服务端配置 {min} 到 {max} 位的群（见 moduli 手册页），或启用另一种密钥交换算法（sshd_config 中的 `KexAlgorithms`）",
};

pub(super) const RAISE_LOGIN_TIME: Text = Text {
    en: "check the SSH server, which did not answer within {given} ms; if it needs longer, raise {setting}, which left this phase less than the {own} ms of {phase}",
    zh: "检查 SSH 服务端，它在 {given} 毫秒内没有应答；若它需要更长时间，调大 {setting}，该设置使本阶段的时间少于 {phase} 的 {own} 毫秒",
};

pub(super) const CHECK_SLOW_SERVER: Text = Text {
    en: "check why sshd on that host answers slowly; the daemon repeats the login",
    zh: "查明该主机上的 sshd 为何响应缓慢；代理会再次登录",
};

pub(super) const CHECK_OTHER_LOGINS: Text = Text {
    en: "check why other logins on that host take long; the login is repeated",
    zh: "查明该主机上的其他登录为何耗时过长；代理会再次登录",
};

pub(super) const CHECK_ACCOUNT_RULES: Text = Text {
    en: "check the log of sshd: the rules for accounts on the server (PAM, an expired account, `/run/nologin`) refuse the user, even if the credentials are right",
    zh: "查看 sshd 日志：服务端的账号规则（PAM、账号过期、`/run/nologin`）拒绝了该用户，即使凭据正确",
};

pub(super) const CHANGE_EXPIRED_PASSWORD: Text = Text {
    en: "change the user's password on the server, then give the store the new one: `imagestore-agent update STORE`",
    zh: "在服务端修改该用户的密码，再把新密码配置给镜像服务器：`imagestore-agent update STORE`",
};

pub(super) const CHECK_PASSWORD_AGE: Text = Text {
    en: "change the password on the server if it has expired, and give the store the new one (`imagestore-agent update STORE`); if it has not, check the log of sshd and its PAM modules",
    zh: "若密码已过期，在服务端修改，并把新密码配置给镜像服务器（`imagestore-agent update STORE`）；若未过期，检查 sshd 日志及其 PAM 模块",
};

pub(super) const CHECK_NEW_ADDRESS: Text = Text {
    en: "check that the store's server is at the new address; if it has another host key there, send the password or the private key with the new address",
    zh: "确认新地址上就是该镜像服务器的服务端；若它在新地址上使用另一个主机密钥，更新地址时一并发送密码或私钥",
};

pub(super) const SEND_FINGERPRINT: Text = Text {
    en: "compare the fingerprint on the server itself (`ssh-keygen -lf FILE`), and send it with the new address as `hostKeyFingerprint`, with the role admin",
    zh: "在服务端本机核对指纹（`ssh-keygen -lf FILE`），并以 admin 角色把它作为 `hostKeyFingerprint` 随新地址一起发送",
};

pub(super) const RETRY_WITH_FORCE: Text = Text {
    en: "if the account was repaired on the server, retry with `--force`",
    zh: "若账号已在服务端修复，加 `--force` 重试",
};

pub(super) const RECONNECT_REPAIRED: Text = Text {
    en: "the last login before a lockout is kept for attempts: if the account was repaired, reconnect the store",
    zh: "账号锁定前的最后一次登录留给连接尝试：若账号已修复，对镜像服务器执行重连",
};
