//! The impacts that several reasons share.

use crate::catalog::Text;

/// Login faults, that may be temporary.
pub(super) const LOGIN_SOFT: Text = Text {
    en: "The images are untouched. After `monitor.fail_after` such failures in a row the store is Disconnected, and the management node uses it for no image.",
    zh: "镜像数据不受影响。连续失败 `monitor.fail_after` 次后，镜像服务器变为失联 (Disconnected)，管理节点不再使用它存取镜像。",
};

/// Login faults that stay until an operator acts.
pub(super) const LOGIN_HARD: Text = Text {
    en: "The images are untouched. The store is Disconnected at once, and the management node uses it for no image.",
    zh: "镜像数据不受影响。镜像服务器立即变为失联 (Disconnected)，管理节点不再使用它存取镜像。",
};

/// Faults of the identity of a directory.
pub(super) const STORE_LOST: Text = Text {
    en: "The images cannot be read or stored here, and the daemon writes nothing. The store is Disconnected at once, and the management node uses it for no image.",
    zh: "此处的镜像无法读取或保存，代理也不会写入任何数据。镜像服务器立即变为失联 (Disconnected)，管理节点不再使用它存取镜像。",
};

/// Faults of the storage that stay until an operator acts.
pub(super) const STORE_DOWN_HARD: Text = Text {
    en: "The images may be unreadable, and none can be stored. The store is Disconnected at once, and the management node uses it for no image.",
    zh: "镜像可能无法读取，也无法保存新镜像。镜像服务器立即变为失联 (Disconnected)，管理节点不再使用它存取镜像。",
};

/// Faults of the storage that may be temporary.
pub(super) const STORE_DOWN_SOFT: Text = Text {
    en: "The images may be unreadable for now. After `monitor.fail_after` such failures in a row the store is Disconnected, and the management node uses it for no image.",
    zh: "镜像可能暂时无法读取。连续失败 `monitor.fail_after` 次后，镜像服务器变为失联 (Disconnected)，管理节点不再使用它存取镜像。",
};

/// Faults that leave the images readable.
pub(super) const WRITES_FAIL: Text = Text {
    en: "The images stay readable, but none can be stored. The store is Disconnected at once, and the management node uses it for no image.",
    zh: "现有镜像仍可读取，但无法保存新镜像。镜像服务器立即变为失联 (Disconnected)，管理节点不再使用它存取镜像。",
};

/// Adds that are refused.
pub(super) const ADD_REFUSED: Text = Text {
    en: "The store was not added, and nothing was changed. The other stores are not concerned.",
    zh: "镜像服务器没有添加成功，任何内容都没有改变。其他镜像服务器不受影响。",
};

/// Requests that had no effect.
pub(super) const REQUEST_LOST: Text = Text {
    en: "The request had no effect. It says nothing about the store, whose status stays.",
    zh: "请求没有生效。这与镜像服务器本身无关，其连接状态保持不变。",
};

/// Interruptions by a restart: an attempt starts again, a job does not.
pub(super) const INTERRUPTED: Text = Text {
    en: "The images are untouched. An attempt starts again: the store is Connecting until it has ended, and the management node is informed of the result. A job does not start again, and its change may have been made.",
    zh: "镜像数据不受影响。连接尝试会重新开始：结束之前镜像服务器处于连接中 (Connecting)，结果会通知管理节点。任务不会重新开始，其更改可能已经生效。",
};

/// Trouble of the daemon's own disk.
pub(super) const NO_CHANGES: Text = Text {
    en: "The images are untouched and the last known status stays, but no change of it can be recorded or reported to the management node.",
    zh: "镜像数据不受影响，最后的连接状态保持不变，但状态变化无法记录，也无法通知管理节点。",
};

/// Refused changes of the zones.
pub(super) const ZONES_STAY: Text = Text {
    en: "The images and the status of the store are untouched. Its zones stay as they were.",
    zh: "镜像数据和连接状态不受影响，已挂载的区域保持不变。",
};
