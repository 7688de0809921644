//! The exit codes of the commands and of the daemon.

use super::{Advice, Text};
use crate::common::string_enum;

string_enum! {
    /// The cause of an exit code, with the code as its text.
    pub ExitCause {
        /// Success.
        Success = "0",
        /// A command failed.
        Failure = "1",
        /// Invalid arguments.
        Usage = "2",
        /// Invalid settings.
        Settings = "64",
        /// A damaged or newer ledger.
        Ledger = "65",
        /// A socket that cannot be opened.
        Bind = "69",
        /// An internal error.
        Internal = "70",
        /// A state directory that is in use.
        Locked = "75",
        /// SIGINT.
        Interrupted = "130",
        /// SIGTERM.
        Terminated = "143",
    }
}

impl ExitCause {
    /// Returns the name that systemd prints behind the code (`64/USAGE`), in lower case, or `None`
    /// if it has none.
    pub(super) const fn system_name(self) -> Option<&'static str> {
        match self {
            Self::Success => Some("success"),
            Self::Failure => Some("failure"),
            Self::Usage => Some("invalidargument"),
            Self::Settings => Some("usage"),
            Self::Ledger => Some("dataerr"),
            Self::Bind => Some("unavailable"),
            Self::Internal => Some("software"),
            Self::Locked => Some("tempfail"),
            Self::Interrupted | Self::Terminated => None,
        }
    }

    /// Returns the meaning, and the action that helps.
    pub const fn advice(self) -> Advice {
        match self {
            Self::Success => Advice {
                meaning: Text {
                    en: "The command succeeded, or the daemon stopped on request. `doctor` found nothing wrong, at most warnings.",
                    zh: "命令成功，或代理按要求停止。`doctor` 没有发现错误，最多只有警告。",
                },
                action: Text { en: "do nothing", zh: "无需处理" },
            },
            Self::Failure => Advice {
                meaning: Text {
                    en: "The command failed and printed the reason. `doctor` found something wrong, `healthcheck` found the daemon not ready, `explain` does not know the word.",
                    zh: "命令失败，并已输出原因。`doctor` 发现了错误，`healthcheck` 发现代理未就绪，`explain` 不认识该词。",
                },
                action: Text {
                    en: "follow the remedy in the output",
                    zh: "按输出中的处理办法操作",
                },
            },
            Self::Usage => Advice {
                meaning: Text {
                    en: "The arguments are invalid. Nothing was read or sent.",
                    zh: "命令参数无效。没有读取或发送任何内容。",
                },
                action: Text {
                    en: "compare the arguments with the help of the command (`imagestore-agent help`)",
                    zh: "对照命令的帮助检查参数（`imagestore-agent help`）",
                },
            },
            Self::Settings => Advice {
                meaning: Text {
                    en: "The settings, or a file that they name, are invalid, or another user can read or replace a file. The daemon did not start, and systemd does not restart it.",
                    zh: "配置或其引用的文件无效，或者有文件可被其他用户读取或替换。代理没有启动，systemd 也不会重启它。",
                },
                action: Text {
                    en: "correct the faults that `imagestore-agent check-config` lists, then start the service",
                    zh: "更正 `imagestore-agent check-config` 列出的错误，然后启动服务",
                },
            },
            Self::Ledger => Advice {
                meaning: Text {
                    en: "The ledger in `state.dir` is damaged or was written by a newer version, or the node id is damaged. Both stay as they are, and systemd does not restart the daemon.",
                    zh: "`state.dir` 中的状态数据库已损坏或由更新的版本写入，或者节点 id 已损坏。二者均保持原样，systemd 不会重启代理。",
                },
                action: Text {
                    en: "read the message in the log (`journalctl -u imagestore-agent`): install the newer version again, put back the copy of the ledger that it names (`ledger.sqlite.formatN`, kept before the migration), or restore a backup of `state.dir`",
                    zh: "查看日志（`journalctl -u imagestore-agent`）：重新安装较新的版本，或放回日志中给出的状态数据库副本（`ledger.sqlite.formatN`，在格式迁移之前保留），或恢复 `state.dir` 的备份",
                },
            },
            Self::Bind => Advice {
                meaning: Text {
                    en: "A socket cannot be opened, most often because another process has the port.",
                    zh: "无法打开监听套接字，多半是端口已被其他进程占用。",
                },
                action: Text {
                    en: "find the process that has the port (`ss -ltnp`), or change `server.listen`",
                    zh: "找出占用端口的进程（`ss -ltnp`），或更改 `server.listen`",
                },
            },
            Self::Internal => Advice {
                meaning: Text {
                    en: "An internal error, or the system denies the daemon a basic resource.",
                    zh: "内部错误，或者系统没有给代理提供基本资源。",
                },
                action: Text {
                    en: "read the message in the log (`journalctl -u imagestore-agent`), and check the limits of the service",
                    zh: "查看日志（`journalctl -u imagestore-agent`），并检查该服务的资源限制",
                },
            },
            Self::Locked => Advice {
                meaning: Text {
                    en: "Another daemon uses the same `state.dir`.",
                    zh: "另一个代理正在使用同一个 `state.dir`。",
                },
                action: Text {
                    en: "stop the other daemon, or give this one another `state.dir`",
                    zh: "停止另一个代理，或为本代理设置不同的 `state.dir`",
                },
            },
            Self::Interrupted => Advice {
                meaning: Text {
                    en: "SIGINT ended a command, as Ctrl-C sends it. The code is 128 and the number of the signal.",
                    zh: "命令被 SIGINT 终止，例如按下了 Ctrl-C。退出码是 128 加信号编号。",
                },
                action: Text {
                    en: "run the command again if its result is needed",
                    zh: "如果需要结果，再次运行该命令",
                },
            },
            Self::Terminated => Advice {
                meaning: Text {
                    en: "SIGTERM ended a command, as a time limit or a service manager sends it. The code is 128 and the number of the signal.",
                    zh: "命令被 SIGTERM 终止，例如超出了时限，或由服务管理器终止。退出码是 128 加信号编号。",
                },
                action: Text {
                    en: "run the command again with a longer time limit if its result is needed",
                    zh: "如果需要结果，放宽时限后再次运行该命令",
                },
            },
        }
    }
}
