//! ZStack's error codes that the daemon answers with.

use super::{Advice, Text};
use crate::common::string_enum;

string_enum! {
    /// An error code of ZStack in the daemon's answers.
    pub ZstackCode {
        /// A store that cannot be connected.
        ConnectFailed = "BS.1500",
        /// A store that was not added.
        CreateFailed = "SYS.1002",
        /// An unknown store, job or path.
        NotFound = "SYS.1003",
        /// A store that was not removed.
        DeleteFailed = "SYS.1004",
        /// An operation that failed.
        OperationFailed = "SYS.1006",
        /// An invalid request.
        InvalidArgument = "SYS.1007",
        /// A management node that does not answer.
        ManagementUnavailable = "SYS.1012",
        /// A call that is not supported.
        NotSupported = "SYS.1014",
        /// A login that is refused.
        LoginRefused = "ID.1000",
        /// A session that is unknown or has expired.
        SessionInvalid = "ID.1001",
        /// A caller without the permission.
        NotPermitted = "ID.1002",
    }
}

impl ZstackCode {
    /// Returns the fixed text of the code in an error response (`conf/errorCodes/*.xml` of ZStack).
    pub const fn description(self) -> &'static str {
        match self {
            Self::ConnectFailed => "Unable to connect a backup storage",
            Self::CreateFailed => "Failed to create a resource",
            Self::NotFound => "Resource not found",
            Self::DeleteFailed => "Failed to delete a resource",
            Self::OperationFailed => "An operation failed",
            Self::InvalidArgument => "One or more API argument is invalid",
            Self::ManagementUnavailable => "The management node is unavailable",
            Self::NotSupported => "The operation is not implemented or not supported yet",
            Self::LoginRefused => "Unable to authenticate a user",
            Self::SessionInvalid => "The session is invalid or has expired",
            Self::NotPermitted => "Permission denied",
        }
    }

    /// Returns the meaning, and the action that helps.
    pub const fn advice(self) -> Advice {
        match self {
            Self::ConnectFailed => Advice {
                meaning: Text {
                    en: "The backup storage could not be connected.",
                    zh: "无法连接镜像服务器。",
                },
                action: Text {
                    en: "follow the remedy of the root cause, which is the deepest `cause`",
                    zh: "按根本原因（最内层的 `cause`）的处理办法操作",
                },
            },
            Self::CreateFailed => Advice {
                meaning: Text {
                    en: "The backup storage was not added, because its first connect failed.",
                    zh: "首次连接失败，镜像服务器没有添加。",
                },
                action: Text {
                    en: "follow the remedy of the root cause, then add the store again",
                    zh: "按根本原因的处理办法操作，然后重新添加镜像服务器",
                },
            },
            Self::NotFound => Advice {
                meaning: Text {
                    en: "The store, the job or the path does not exist here.",
                    zh: "此处不存在该镜像服务器、任务或路径。",
                },
                action: Text {
                    en: "compare the uuid with `imagestore-agent list`, and the path with `server.base_path`",
                    zh: "用 `imagestore-agent list` 核对 uuid，并把路径与 `server.base_path` 比对",
                },
            },
            Self::DeleteFailed => Advice {
                meaning: Text {
                    en: "The removal of the store could not be recorded. The store is still served.",
                    zh: "删除镜像服务器的操作没有记录成功。代理仍在为它提供服务。",
                },
                action: Text {
                    en: "follow the remedy of the root cause, then remove the store again",
                    zh: "按根本原因的处理办法操作，然后再次删除",
                },
            },
            Self::OperationFailed => Advice {
                meaning: Text {
                    en: "An operation failed; the reason is in `opaque.reason`.",
                    zh: "操作失败，原因见 `opaque.reason`。",
                },
                action: Text {
                    en: "read the reason with `imagestore-agent explain REASON`",
                    zh: "用 `imagestore-agent explain REASON` 查看该原因",
                },
            },
            Self::InvalidArgument => Advice {
                meaning: Text {
                    en: "A part of the request is invalid, or the caller sent too many requests. Nothing was changed.",
                    zh: "请求中有无效的内容，或者调用方的请求过多。任何内容都没有改变。",
                },
                action: Text {
                    en: "correct what `details` names, and send the request again",
                    zh: "更正 `details` 指出的内容，然后再次发送请求",
                },
            },
            Self::ManagementUnavailable => Advice {
                meaning: Text {
                    en: "The management node did not answer the question of the daemon about a session.",
                    zh: "管理节点没有答复代理关于会话的询问。",
                },
                action: Text {
                    en: "check that the management node answers at `auth.session_check_url`, then repeat the request",
                    zh: "确认管理节点在 `auth.session_check_url` 上有应答，然后再次发送请求",
                },
            },
            Self::NotSupported => Advice {
                meaning: Text {
                    en: "The call is known, but this daemon does not carry it out.",
                    zh: "该调用是已知的，但本代理不支持。",
                },
                action: Text {
                    en: "use the call that `elaboration` names",
                    zh: "使用 `elaboration` 中给出的调用",
                },
            },
            Self::LoginRefused => Advice {
                meaning: Text {
                    en: "The account name or the password is wrong, or no account may log in here.",
                    zh: "账号名或密码错误，或者此处不允许任何账号登录。",
                },
                action: Text {
                    en: "use an account of `auth.accounts_file` (`imagestore-agent account add NAME` makes a line for it)",
                    zh: "使用 `auth.accounts_file` 中的账号（`imagestore-agent account add NAME` 可生成其中一行）",
                },
            },
            Self::SessionInvalid => Advice {
                meaning: Text {
                    en: "The request has no session, or one that is unknown or has expired.",
                    zh: "请求没有携带会话，或者会话未知或已过期。",
                },
                action: Text {
                    en: "log in again, or compare the token with `auth.tokens_file`",
                    zh: "重新登录，或把令牌与 `auth.tokens_file` 比对",
                },
            },
            Self::NotPermitted => Advice {
                meaning: Text {
                    en: "The session, the address or the URL is known, but not allowed to do this.",
                    zh: "该会话、地址或 URL 没有执行此操作的权限。",
                },
                action: Text {
                    en: "use a session with a higher role, or add the network of the management node to `server.agent_allow`",
                    zh: "使用角色更高的会话，或把管理节点的网段加入 `server.agent_allow`",
                },
            },
        }
    }
}
