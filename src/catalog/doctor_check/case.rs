//! The texts of an observation for which those of its check are wrong.

use crate::catalog::{Guidance, Text};
use crate::common::string_enum;

string_enum! {
    /// An observation whose impact and action are not those of its check.
    pub CheckCase {
        /// The daemon answers, and does not accept the credentials of the command.
        CredentialsDenied = "credentials_denied",
        /// The user of the command may not open the Unix socket.
        SocketDenied = "socket_denied",
        /// An attempt to connect is running, and has not failed.
        AttemptRunning = "attempt_running",
    }
}

impl CheckCase {
    /// Returns the texts.
    pub const fn guidance(self) -> Guidance {
        match self {
            Self::CredentialsDenied => CREDENTIALS_DENIED,
            Self::SocketDenied => SOCKET_DENIED,
            Self::AttemptRunning => ATTEMPT_RUNNING,
        }
    }
}

const CREDENTIALS_DENIED: Guidance = Guidance {
    meaning: Text {
        en: "The daemon answers, and does not accept the token of this command.",
        zh: "代理有应答，但不接受此命令的令牌。",
    },
    impact: Text {
        en: "This command cannot see the stores. The daemon itself may be well.",
        zh: "此命令无法查看镜像服务器。代理本身可能一切正常。",
    },
    action: Text {
        en: "name a token that the daemon accepts and that may read the stores, with `--token-file` or `IMAGESTORE_AGENT_TOKEN`",
        zh: "用 `--token-file` 或 `IMAGESTORE_AGENT_TOKEN` 指定代理接受且有权读取镜像服务器的令牌",
    },
};

const SOCKET_DENIED: Guidance = Guidance {
    meaning: Text {
        en: "The user of this command may not open the Unix socket of the daemon.",
        zh: "此命令的用户无权打开代理的 Unix 套接字。",
    },
    impact: Text {
        en: "This command cannot see the stores. The daemon itself may be well.",
        zh: "此命令无法查看镜像服务器。代理本身可能一切正常。",
    },
    action: Text {
        en: "run the command as root, or add its user to the group of the daemon",
        zh: "以 root 身份执行此命令，或把其用户加入代理的用户组",
    },
};

const ATTEMPT_RUNNING: Guidance = Guidance {
    meaning: Text {
        en: "An attempt to connect is running, and has not failed.",
        zh: "连接尝试正在进行，尚未失败。",
    },
    impact: Text {
        en: "The store is Connecting until the attempt ends, at the latest after `monitor.attempt_deadline`.",
        zh: "在尝试结束之前（最迟到 `monitor.attempt_deadline`），镜像服务器处于连接中 (Connecting)。",
    },
    action: Text {
        en: "wait for the result with `imagestore-agent wait STORE --for connected`",
        zh: "用 `imagestore-agent wait STORE --for connected` 等待结果",
    },
};
