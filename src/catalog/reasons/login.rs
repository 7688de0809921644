//! The reasons why the login is refused, or the server is not trusted.

use super::impact::{LOGIN_HARD, LOGIN_SOFT};
use crate::catalog::{Guidance, Text};

pub(super) const AUTH_TIMEOUT: Guidance = Guidance {
    meaning: Text {
        en: "The SSH server did not decide about the login in time.",
        zh: "SSH 服务端没有及时给出登录结果。",
    },
    impact: LOGIN_SOFT,
    action: Text {
        en: "check the log of sshd and its PAM modules, which decide slowly, or raise `ssh.auth_timeout`",
        zh: "检查 sshd 日志和响应缓慢的 PAM 模块，或调大 `ssh.auth_timeout`",
    },
};

pub(super) const HOST_KEY_CHANGED: Guidance = Guidance {
    meaning: Text {
        en: "The SSH server shows another host key than the one that was recorded.",
        zh: "SSH 服务端出示的主机密钥与已记录的不一致。",
    },
    impact: LOGIN_HARD,
    action: Text {
        en: "compare the fingerprint on the server itself (`ssh-keygen -lf FILE`): if it is the same, run `imagestore-agent accept-host-key STORE`; if not, identify the host that answers at this address",
        zh: "在服务端本机核对指纹（`ssh-keygen -lf FILE`）：若一致，执行 `imagestore-agent accept-host-key STORE`；若不一致，查明是哪台机器在使用该地址",
    },
};

pub(super) const HOST_KEY_UNKNOWN: Guidance = Guidance {
    meaning: Text {
        en: "The host key of the SSH server is not one of those that are trusted for this store.",
        zh: "SSH 服务端的主机密钥不在该镜像服务器的信任范围内。",
    },
    impact: LOGIN_HARD,
    action: Text {
        en: "add the store with `hostKeyFingerprint`, as `ssh-keygen -lf FILE` prints it on the server; for an existing store, run `imagestore-agent accept-host-key STORE`",
        zh: "添加镜像服务器时填写 `hostKeyFingerprint`，其值为服务端上 `ssh-keygen -lf FILE` 的输出；对已有的镜像服务器，执行 `imagestore-agent accept-host-key STORE`",
    },
};

pub(super) const CREDENTIALS_REFUSED: Guidance = Guidance {
    meaning: Text {
        en: "The SSH server rejected the user name with its password or key.",
        zh: "SSH 服务端拒绝了用户名及其密码或密钥。",
    },
    impact: LOGIN_HARD,
    action: Text {
        en: "correct the store's username, password or key with `imagestore-agent update STORE`",
        zh: "用 `imagestore-agent update STORE` 更正镜像服务器的用户名、密码或密钥",
    },
};

pub(super) const METHOD_NOT_OFFERED: Guidance = Guidance {
    meaning: Text {
        en: "The SSH server does not offer the login method that the store has credentials for.",
        zh: "SSH 服务端不支持该镜像服务器凭据对应的登录方式。",
    },
    impact: LOGIN_HARD,
    action: Text {
        en: "give the store credentials for a method that the server offers, or enable the method in sshd_config",
        zh: "为镜像服务器配置服务端支持的凭据，或在 sshd_config 中启用该登录方式",
    },
};

pub(super) const SECOND_FACTOR_MISSING: Guidance = Guidance {
    meaning: Text {
        en: "The SSH server accepted the first login method and requires a second one.",
        zh: "SSH 服务端通过了第一种登录方式，还要求第二种。",
    },
    impact: LOGIN_HARD,
    action: Text {
        en: "give the store both a password and a private key, or relax `AuthenticationMethods` for this user in sshd_config",
        zh: "为镜像服务器同时配置密码和私钥，或在 sshd_config 中为该用户放宽 `AuthenticationMethods`",
    },
};

pub(super) const KEY_UNUSABLE: Guidance = Guidance {
    meaning: Text {
        en: "The private key of the store cannot be read, or its passphrase is wrong.",
        zh: "镜像服务器的私钥无法读取，或者私钥口令不正确。",
    },
    impact: LOGIN_HARD,
    action: Text {
        en: "give the store an OpenSSH or PEM private key (ed25519, ecdsa or rsa) and its passphrase",
        zh: "为镜像服务器提供 OpenSSH 或 PEM 格式的私钥（ed25519、ecdsa 或 rsa）及其口令",
    },
};

pub(super) const SECRET_UNREADABLE: Guidance = Guidance {
    meaning: Text {
        en: "The stored password or key cannot be decrypted with the present master key.",
        zh: "已保存的密码或密钥无法用当前主密钥解密。",
    },
    impact: LOGIN_HARD,
    action: Text {
        en: "restore the master key that sealed the secret, or give the store its credentials again with `imagestore-agent update STORE`",
        zh: "恢复加密时使用的主密钥，或用 `imagestore-agent update STORE` 重新填写镜像服务器的凭据",
    },
};

pub(super) const CREDENTIALS_OUT_OF_SCOPE: Guidance = Guidance {
    meaning: Text {
        en: "The stored credentials were given for another host name or port, and no recorded host key identifies the server.",
        zh: "已保存的凭据是为另一个物理机名或端口提供的，且没有已记录的主机密钥能确认该服务端。",
    },
    impact: LOGIN_HARD,
    action: Text {
        en: "give the store its password or private key again with `imagestore-agent update STORE`: without a pinned key, a stored secret is sent only to the hostname and port that it was given for",
        zh: "用 `imagestore-agent update STORE` 重新填写镜像服务器的密码或私钥：没有已记录的主机密钥时，保存的凭据只发送给当初指定的物理机名和端口",
    },
};
