//! The checks of `doctor`: the id of each, the fact that it verifies, and the action that helps if
//! this is not so.

use super::{Advice, Text, reason_guidance};
use crate::common::string_enum;
use crate::model::Reason;

string_enum! {
    /// A check of `doctor`. Its id is stable.
    pub DoctorCheck {
        /// `program.version`
        ProgramVersion = "program.version",
        /// `settings.valid`
        SettingsValid = "settings.valid",
        /// `settings.sandbox`
        SettingsSandbox = "settings.sandbox",
        /// `state.writable`
        StateWritable = "state.writable",
        /// `state.space`
        StateSpace = "state.space",
        /// `state.key`
        StateKey = "state.key",
        /// `state.ledger`
        StateLedger = "state.ledger",
        /// `service.running`
        ServiceRunning = "service.running",
        /// `service.answers`
        ServiceAnswers = "service.answers",
        /// `service.clock`
        ServiceClock = "service.clock",
        /// `listen.tls`
        ListenTls = "listen.tls",
        /// `listen.reachable`
        ListenReachable = "listen.reachable",
        /// `auth.sessions`
        AuthSessions = "auth.sessions",
        /// `management.callback`
        ManagementCallback = "management.callback",
        /// `management.delivered`
        ManagementDelivered = "management.delivered",
        /// `management.agent_allow`
        ManagementAgentAllow = "management.agent_allow",
        /// `certificate.server`
        CertificateServer = "certificate.server",
        /// `certificate.client`
        CertificateClient = "certificate.client",
        /// `directory`
        Directory = "directory",
        /// `mount`
        Mount = "mount",
        /// `identity`
        Identity = "identity",
        /// `permission`
        Permission = "permission",
        /// `write`
        Write = "write",
        /// `space`
        Space = "space",
        /// `inodes`
        Inodes = "inodes",
        /// `quota`
        Quota = "quota",
        /// `ssh.resolve`
        SshResolve = "ssh.resolve",
        /// `ssh.connect`
        SshConnect = "ssh.connect",
        /// `ssh.host_key`
        SshHostKey = "ssh.host_key",
        /// `ssh.login`
        SshLogin = "ssh.login",
        /// `ssh.proof`
        SshProof = "ssh.proof",
        /// `reported`
        Reported = "reported",
    }
}

impl DoctorCheck {
    /// Returns true if the check is made for each store.
    pub fn is_of_store(self) -> bool {
        let id = self.as_str();
        !id.contains('.') || id.starts_with("ssh.")
    }

    /// Returns the fact that the check verifies, and the action that helps if this is not so.
    pub const fn advice(self) -> Advice {
        match self {
            Self::ProgramVersion => Advice {
                meaning: Text {
                    en: "The running daemon has the version of the installed program.",
                    zh: "正在运行的代理与已安装的程序版本一致。",
                },
                action: Text {
                    en: "restart the daemon with `systemctl restart imagestore-agent`, so that it runs the installed version",
                    zh: "执行 `systemctl restart imagestore-agent`，使其运行已安装的版本",
                },
            },
            Self::SettingsValid => Advice {
                meaning: Text {
                    en: "The settings file and the files that it names are valid.",
                    zh: "配置文件及其引用的文件有效。",
                },
                action: Text {
                    en: "correct the faults that `imagestore-agent check-config` lists",
                    zh: "更正 `imagestore-agent check-config` 列出的错误",
                },
            },
            Self::SettingsSandbox => Advice {
                meaning: Text {
                    en: "The service may write below every root in `storage.allowed_roots`.",
                    zh: "服务可以写入 `storage.allowed_roots` 中的每个根目录。",
                },
                action: Text {
                    en: "add the root to `ReadWritePaths` in a drop-in (`systemctl edit imagestore-agent`), then restart the service",
                    zh: "用 `systemctl edit imagestore-agent` 把该根目录加入 `ReadWritePaths`，然后重启服务",
                },
            },
            Self::StateWritable => Advice {
                meaning: Text {
                    en: "The daemon can write in `state.dir`.",
                    zh: "代理可以写入 `state.dir`。",
                },
                action: Text {
                    en: "give `state.dir` back to the daemon's user, and mount its disk read-write",
                    zh: "把 `state.dir` 的属主改回代理的运行用户，并以读写方式挂载其磁盘",
                },
            },
            Self::StateSpace => Advice {
                meaning: Text {
                    en: "The disk of `state.dir` has space for the records of the daemon.",
                    zh: "`state.dir` 所在磁盘有足够空间保存代理的数据。",
                },
                action: Text {
                    en: "free space on the disk (`df -h`): a full disk stops every change of a status",
                    zh: "清理该磁盘的空间（`df -h`）：磁盘写满后，连接状态的变化无法记录",
                },
            },
            Self::StateKey => Advice {
                meaning: Text {
                    en: "The master key opens the stored passwords and keys.",
                    zh: "主密钥可以解密已保存的密码和密钥。",
                },
                action: Text {
                    en: "restore the master key that sealed the secrets, or give each store its credentials again with `imagestore-agent update STORE`",
                    zh: "恢复加密时使用的主密钥，或用 `imagestore-agent update STORE` 为每个镜像服务器重新填写凭据",
                },
            },
            Self::StateLedger => Advice {
                meaning: Text {
                    en: "The installed program can read the ledger and the node id in `state.dir`.",
                    zh: "已安装的程序可以读取 `state.dir` 中的状态数据库和节点 id。",
                },
                action: Text {
                    en: "install the version that wrote a newer ledger, or restore a damaged one from a backup with all of its files",
                    zh: "状态数据库较新时，安装写入它的版本；损坏时，从备份恢复它的全部文件",
                },
            },
            Self::ServiceRunning => Advice {
                meaning: Text {
                    en: "The service runs and is not restarted again and again.",
                    zh: "服务正在运行，且没有反复重启。",
                },
                action: Text {
                    en: "read the cause with `systemctl status imagestore-agent` and `journalctl -u imagestore-agent`, then start the service",
                    zh: "用 `systemctl status imagestore-agent` 和 `journalctl -u imagestore-agent` 查明原因，然后启动服务",
                },
            },
            Self::ServiceAnswers => Advice {
                meaning: Text {
                    en: "The daemon answers on its Unix socket.",
                    zh: "代理在 Unix 套接字上有应答。",
                },
                action: Text {
                    en: "start the service, or restart it if it runs and does not answer (`systemctl restart imagestore-agent`)",
                    zh: "启动服务；若服务在运行但没有应答，则重启它（`systemctl restart imagestore-agent`）",
                },
            },
            Self::ServiceClock => Advice {
                meaning: Text {
                    en: "The clock of this node has not been set back below the epoch of the daemon.",
                    zh: "本节点的时钟没有回拨到代理已用的纪元之前。",
                },
                action: Text {
                    en: "correct the clock and its synchronization (`chronyc tracking`)",
                    zh: "校正时钟并检查时间同步（`chronyc tracking`）",
                },
            },
            Self::ListenTls => Advice {
                meaning: Text {
                    en: "Every address beyond loopback is served with TLS.",
                    zh: "回环地址以外的监听地址都启用了 TLS。",
                },
                action: Text {
                    en: "set `server.tls.cert` and `server.tls.key`, or listen on loopback only: without TLS a session can be read on the way",
                    zh: "设置 `server.tls.cert` 和 `server.tls.key`，或只监听回环地址：没有 TLS 时，会话可能在途中被窃取",
                },
            },
            Self::ListenReachable => Advice {
                meaning: Text {
                    en: "The daemon listens on an address that its clients can reach.",
                    zh: "代理监听的地址可供客户端访问。",
                },
                action: Text {
                    en: "add an address of this node to `server.listen`, and open the port in the firewall",
                    zh: "把本节点的地址加入 `server.listen`，并在防火墙上放行该端口",
                },
            },
            Self::AuthSessions => Advice {
                meaning: Text {
                    en: "Clients can log in: a token, an account, an access key, a client certificate, a check of management sessions or a network of the agent protocol is configured.",
                    zh: "客户端可以登录：已配置令牌、账号、AccessKey、客户端证书、管理节点会话检查或代理协议的网段。",
                },
                action: Text {
                    en: "add a line to `auth.tokens_file`, or use `imagestore-agent account add NAME`, then reload the daemon",
                    zh: "在 `auth.tokens_file` 中添加一行，或使用 `imagestore-agent account add NAME`，然后重新加载代理",
                },
            },
            Self::ManagementCallback => Advice {
                meaning: Text {
                    en: "The management node can be reached at `callback.urls`.",
                    zh: "通过 `callback.urls` 可以访问管理节点。",
                },
                action: Text {
                    en: "correct `callback.urls`, and check the name service, the network and the certificate on the way to the management node",
                    zh: "更正 `callback.urls`，并检查到管理节点的域名解析、网络和证书",
                },
            },
            Self::ManagementDelivered => Advice {
                meaning: Text {
                    en: "No notice waits for the management node for long.",
                    zh: "没有长时间等待送达管理节点的通知。",
                },
                action: Text {
                    en: "make the management node reachable; the daemon then delivers the waiting notices in order",
                    zh: "恢复与管理节点的网络连通；之后代理会按顺序送达排队的通知",
                },
            },
            Self::ManagementAgentAllow => Advice {
                meaning: Text {
                    en: "The management node may use the agent protocol.",
                    zh: "管理节点可以使用代理协议。",
                },
                action: Text {
                    en: "add the network of the management node to `server.agent_allow`",
                    zh: "把管理节点的网段加入 `server.agent_allow`",
                },
            },
            Self::CertificateServer => Advice {
                meaning: Text {
                    en: "The certificate of the daemon does not end soon.",
                    zh: "代理的服务端证书不会很快过期。",
                },
                action: Text {
                    en: "renew the certificate in `server.tls.cert`: clients refuse an expired one",
                    zh: "更新 `server.tls.cert` 中的证书：客户端会拒绝过期的证书",
                },
            },
            Self::CertificateClient => Advice {
                meaning: Text {
                    en: "The certificate that the daemon shows to the management node does not end soon.",
                    zh: "代理向管理节点出示的证书不会很快过期。",
                },
                action: Text {
                    en: "renew the certificate in `callback.client_cert`, then restart the daemon: an expired one stops the notices",
                    zh: "更新 `callback.client_cert` 中的证书并重启代理：证书过期后通知无法送达",
                },
            },
            Self::Directory => Advice {
                meaning: Text {
                    en: "The image directory exists, and lies below an allowed root.",
                    zh: "镜像目录存在，且位于允许的根目录之下。",
                },
                action: Text {
                    en: "create the directory, or mount the disk that contains it",
                    zh: "创建该目录，或挂载该目录所在的磁盘",
                },
            },
            Self::Mount => Advice {
                meaning: Text {
                    en: "The disk of the image directory is mounted.",
                    zh: "镜像目录所在的磁盘已挂载。",
                },
                action: Text {
                    en: "mount the disk that contains the image directory (`findmnt` lists the mounts)",
                    zh: "挂载镜像目录所在的磁盘（`findmnt` 可列出当前挂载）",
                },
            },
            Self::Identity => Advice {
                meaning: Text {
                    en: "The marker file says that the directory belongs to this store and to this node.",
                    zh: "标识文件表明该目录属于此镜像服务器和本节点。",
                },
                action: Text {
                    en: "mount the right disk, or restore `.imagestore-agent/identity.json` from a backup",
                    zh: "挂载正确的磁盘，或从备份恢复 `.imagestore-agent/identity.json`",
                },
            },
            Self::Permission => Advice {
                meaning: Text {
                    en: "The daemon's user may use the image directory.",
                    zh: "代理的运行用户有权使用镜像目录。",
                },
                action: Text {
                    en: "run `imagestore-agent init DIRECTORY` as root",
                    zh: "以 root 身份执行 `imagestore-agent init DIRECTORY`",
                },
            },
            Self::Write => Advice {
                meaning: Text {
                    en: "The daemon can write a file in the image directory.",
                    zh: "代理可以在镜像目录中写入文件。",
                },
                action: Text {
                    en: "check the kernel log (`dmesg`) and the disk, then remount the filesystem read-write",
                    zh: "检查内核日志（`dmesg`）和磁盘，然后以读写方式重新挂载文件系统",
                },
            },
            Self::Space => Advice {
                meaning: Text {
                    en: "Enough space is left for images; the management node subtracts its own reserve from it.",
                    zh: "剩余空间足以保存镜像；管理节点还会从中减去自己的保留容量。",
                },
                action: Text {
                    en: "remove images, or grow the filesystem",
                    zh: "删除镜像，或扩容文件系统",
                },
            },
            Self::Inodes => Advice {
                meaning: Text {
                    en: "The filesystem has inodes for new files.",
                    zh: "文件系统有可用于新文件的 inode。",
                },
                action: Text {
                    en: "remove files (`df -i` shows the inodes)",
                    zh: "删除文件（`df -i` 可查看 inode 用量）",
                },
            },
            Self::Quota => Advice {
                meaning: Text {
                    en: "No disk quota stops the writes of the daemon.",
                    zh: "没有磁盘配额阻止代理写入。",
                },
                action: Text {
                    en: "raise the quota of the daemon's user or project, or remove images",
                    zh: "调大代理运行用户或项目的配额，或删除镜像",
                },
            },
            Self::SshResolve => Advice {
                meaning: Text {
                    en: "The host name of the store has an address of this node.",
                    zh: "镜像服务器的物理机名能解析到本节点的地址。",
                },
                action: Text {
                    en: "correct the store's hostname, or repair the name resolution of this node",
                    zh: "更正镜像服务器的物理机名，或修复本节点的域名解析",
                },
            },
            Self::SshConnect => Advice {
                meaning: Text {
                    en: "An SSH server answers at the host name and port of the store.",
                    zh: "镜像服务器的物理机名和 SSH 端口上有 SSH 服务应答。",
                },
                action: Text {
                    en: "start sshd on this port (`ss -ltn` lists the ports), or correct the store's sshPort",
                    zh: "在该端口启动 sshd（`ss -ltn` 可列出监听端口），或更正镜像服务器的 SSH 端口",
                },
            },
            Self::SshHostKey => Advice {
                meaning: Text {
                    en: "The SSH server shows the recorded host key.",
                    zh: "SSH 服务端出示的主机密钥与记录一致。",
                },
                action: reason_guidance(Reason::HostKeyChanged).action,
            },
            Self::SshLogin => Advice {
                meaning: Text {
                    en: "The user name with its password or key is accepted.",
                    zh: "用户名及其密码或密钥可以登录。",
                },
                action: Text {
                    en: "correct the store's username, password or key with `imagestore-agent update STORE`",
                    zh: "用 `imagestore-agent update STORE` 更正镜像服务器的用户名、密码或密钥",
                },
            },
            Self::SshProof => Advice {
                meaning: Text {
                    en: "The login shows that the SSH server is this node.",
                    zh: "登录结果证实 SSH 服务端就是本节点。",
                },
                action: Text {
                    en: "let the user read `/proc/sys/kernel/random/boot_id` over SFTP, or correct the store's hostname",
                    zh: "允许该用户通过 SFTP 读取 `/proc/sys/kernel/random/boot_id`，或更正镜像服务器的物理机名",
                },
            },
            Self::Reported => Advice {
                meaning: Text {
                    en: "The management node was informed of the present status.",
                    zh: "当前的连接状态已通知管理节点。",
                },
                action: Self::ManagementDelivered.advice().action,
            },
        }
    }
}
