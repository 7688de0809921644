//! The sentences of the observations about the state directory, its ledger and its master key.

use crate::catalog::Text;

pub(super) const STATE_DIR_ABSENT: Text = Text {
    en: "{path} does not exist yet: the first start creates it",
    zh: "{path} 尚不存在：首次启动时会创建",
};
pub(super) const STATE_DIR_UNUSABLE: Text = Text {
    en: "the daemon cannot write in the state directory: {problem}",
    zh: "代理无法写入状态目录：{problem}",
};
pub(super) const KEY_READABLE: Text = Text {
    en: "the daemon's user can read the master key, and no secret is stored yet",
    zh: "代理的运行用户可以读取主密钥，且尚未保存任何凭据",
};
pub(super) const KEY_OPENS: Text = Text {
    en: "the master key opens each stored secret ({count})",
    zh: "主密钥可以解密每一项已保存的凭据（{count}）",
};
pub(super) const KEY_UNCONTESTED: Text = Text {
    en: "the daemon's user can read the master key, and no login of the daemon lacked a secret",
    zh: "代理的运行用户可以读取主密钥，代理的登录都没有缺少凭据",
};
pub(super) const SECRETS_LOCKED: Text = Text {
    en: "the daemon cannot open the secret of {stores} of its stores: see ssh.login",
    zh: "代理无法解密其中 {stores} 个镜像服务器的凭据：参见 ssh.login",
};
pub(super) const CREDENTIAL_FIRST: Text = Text {
    en: "if the service has a credential `master-key`, it uses that and not this file",
    zh: "如果服务有凭据 `master-key`，则使用它而不使用此文件",
};
pub(super) const LEDGER_LOST: Text = Text {
    en: "{path} does not exist, although this installation has its node id: the ledger is lost, and the next start would have no store",
    zh: "{path} 不存在，但本机已有节点标识：状态数据库已丢失，下次启动后没有任何镜像服务器",
};
pub(super) const STATE_WRITABLE: Text = Text {
    en: "the daemon's user can write in the state directory",
    zh: "代理的运行用户可以写入状态目录",
};
pub(super) const KEY_FILE_MISSING: Text = Text {
    en: "the file of `state.master_key_file` does not exist",
    zh: "`state.master_key_file` 指定的文件不存在",
};
pub(super) const KEY_NOT_NEEDED: Text = Text {
    en: "no secret is stored yet, and no key is needed",
    zh: "尚未保存任何凭据，不需要密钥",
};
pub(super) const KEY_OF_SERVICE: Text = Text {
    en: "the state directory has no master key: the stored secrets are readable only if the service gets the credential `master-key`",
    zh: "状态目录中没有主密钥：只有服务获得凭据 `master-key` 时，才能读取已保存的凭据",
};
pub(super) const NODE_ID_MISSING: Text = Text {
    en: "{path} does not exist: the next start would create another id, and each of the {stores} stores would count as taken over",
    zh: "{path} 不存在：下次启动会生成另一个标识，{stores} 个镜像服务器都会被视为已被接管",
};
pub(super) const LEDGER_STORES: Text = Text {
    en: "the ledger has {count} stores",
    zh: "状态数据库中有 {count} 个镜像服务器",
};
