//! The sentences of the observations about certificates, the clock, receivers, callers and the
//! unit.

use crate::catalog::Text;

pub(super) const NOTICES_WAIT_SINCE: Text = Text {
    en: "{pending} notices wait for {destination}, the oldest for {seconds} s",
    zh: "{pending} 条通知等待送达 {destination}，最早的一条已等待 {seconds} 秒",
};
pub(super) const LAST_FAILURE: Text =
    Text { en: "last failure: {reply}", zh: "最近一次失败：{reply}" };
pub(super) const CERTIFICATE_VALID: Text = Text {
    en: "the certificate is valid until {end}, {days} d",
    zh: "证书有效期至 {end}，剩余 {days} 天",
};
pub(super) const CERTIFICATE_ENDED: Text =
    Text { en: "the certificate has ended at {end}", zh: "证书已于 {end} 过期" };
pub(super) const CERTIFICATE_EARLY: Text = Text {
    en: "the certificate is not valid before {start}",
    zh: "证书在 {start} 之前无效",
};
pub(super) const OTHER_CERTIFICATE: Text = Text {
    en: "the file has another certificate, valid until {end}, which the daemon does not use",
    zh: "文件中是另一份证书，有效期至 {end}，代理没有使用它",
};
pub(super) const CERTIFICATE_KEPT: Text =
    Text { en: "a reload keeps it: {problem}", zh: "重新加载后仍使用它：{problem}" };
pub(super) const CERTIFICATE_UNUSED: Text = Text {
    en: "the daemon uses no certificate, although `{setting}` names one: it was set after the start",
    zh: "`{setting}` 指定了证书，但代理没有使用证书：该设置是在代理启动之后添加的",
};
pub(super) const CLOCK_GOOD: Text = Text {
    en: "the clock is behind neither the ledger nor this program",
    zh: "时钟不早于状态数据库，也不早于本程序",
};
pub(super) const CLOCK_BEFORE_PROGRAM: Text = Text {
    en: "the clock is at {now}, before this program was built",
    zh: "时钟为 {now}，早于本程序的构建时间",
};
pub(super) const CLOCK_BEHIND_LEDGER: Text = Text {
    en: "the clock is {seconds} s behind the newest time in the ledger",
    zh: "时钟比状态数据库中最新的时间慢 {seconds} 秒",
};
pub(super) const CLOCK_SET_FORWARD: Text = Text {
    en: "the clock was set forward by {seconds} s while the daemon ran",
    zh: "代理运行期间，时钟被调快了 {seconds} 秒",
};
pub(super) const CLOCK_SET_BACK: Text = Text {
    en: "the clock was set back by {seconds} s while the daemon ran",
    zh: "代理运行期间，时钟被调慢了 {seconds} 秒",
};
pub(super) const RECEIVER_REACHED: Text =
    Text { en: "{receiver} accepts connections", zh: "{receiver} 可以连接" };
pub(super) const RECEIVER_UP: Text = Text { en: "{receiver} is up", zh: "{receiver} 正常" };
pub(super) const RECEIVER_UNKNOWN: Text =
    Text { en: "nothing is known yet about {receiver}", zh: "尚不了解 {receiver} 的情况" };
pub(super) const RECEIVER_DOWN: Text =
    Text { en: "the daemon counts {receiver} as down", zh: "代理认为 {receiver} 不可用" };
pub(super) const RECEIVER_UNREACHED: Text = Text {
    en: "{receiver} cannot be reached: {problem}",
    zh: "{receiver} 无法访问：{problem}",
};
pub(super) const RECEIVER_NAME_LATE: Text = Text {
    en: "no name service answers for {receiver} within {seconds} s",
    zh: "名称服务未在 {seconds} 秒内给出 {receiver} 的地址",
};
pub(super) const RECEIVER_NO_ADDRESS: Text =
    Text { en: "the name of {receiver} has no address", zh: "{receiver} 的名称没有地址" };
pub(super) const RECEIVER_NO_PORT: Text =
    Text { en: "the port of {receiver} is invalid", zh: "{receiver} 的端口无效" };
pub(super) const RECEIVER_CONNECT_LATE: Text = Text {
    en: "{receiver} accepts no connection within {seconds} s",
    zh: "{receiver} 未在 {seconds} 秒内接受连接",
};
pub(super) const RECEIVER_TLS_LATE: Text = Text {
    en: "{receiver} completes no TLS handshake within {seconds} s",
    zh: "{receiver} 未在 {seconds} 秒内完成 TLS 握手",
};
pub(super) const LAST_REPLY: Text =
    Text { en: "last reply: {reply}", zh: "最近一次应答：{reply}" };
pub(super) const NEEDS_REPLY: Text =
    Text { en: "needs a connection or a first reply", zh: "需要建立连接或首次应答" };
pub(super) const NO_CALL_REFUSED: Text = Text {
    en: "no call of the agent protocol was refused",
    zh: "没有代理协议的调用被拒绝",
};
pub(super) const CALLS_REFUSED: Text = Text {
    en: "calls of the agent protocol from addresses outside `server.agent_allow` were refused: {calls}",
    zh: "`server.agent_allow` 之外的地址对代理协议的调用被拒绝：{calls}",
};
pub(super) const ROOTS_WRITABLE: Text = Text {
    en: "the unit lets the service write below every allowed root",
    zh: "服务单元允许服务写入每个允许的根目录",
};
pub(super) const ROOTS_READ_ONLY: Text = Text {
    en: "the unit lets the service not write below {roots}",
    zh: "服务单元不允许服务写入 {roots}",
};
pub(super) const ROOTS_HIDDEN: Text = Text {
    en: "the unit hides {roots} from the service (`ProtectHome` or `InaccessiblePaths`), which `ReadWritePaths` does not change",
    zh: "服务单元对服务隐藏了 {roots}（`ProtectHome` 或 `InaccessiblePaths`），`ReadWritePaths` 无法改变这一点",
};
pub(super) const NO_CALLER_LINE: Text = Text {
    en: "no caller over TCP can log in: {files} has no line",
    zh: "没有可以通过 TCP 登录的调用方：{files} 中没有条目",
};
