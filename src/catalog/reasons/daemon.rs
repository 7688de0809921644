//! The reasons that lie in the daemon itself, and say nothing about the store.

use super::impact::{ADD_REFUSED, INTERRUPTED, NO_CHANGES, REQUEST_LOST, ZONES_STAY};
use crate::catalog::{Guidance, Text};

pub(super) const INTERRUPTED_BY_RESTART: Guidance = Guidance {
    meaning: Text {
        en: "The daemon was restarted while an attempt or a job ran.",
        zh: "连接尝试或任务进行时，代理被重启了。",
    },
    impact: INTERRUPTED,
    action: Text {
        en: "read the store, and repeat the request of a job with a new job uuid if it is needed: an attempt starts again automatically, a job does not",
        zh: "查看镜像服务器；若仍需要被中断的任务，用新的任务 uuid 再次发送请求：连接尝试会自动重新开始，任务不会",
    },
};

pub(super) const AGENT_STOPPING: Guidance = Guidance {
    meaning: Text {
        en: "The daemon is stopping and takes no more requests.",
        zh: "代理正在停止，不再接受请求。",
    },
    impact: REQUEST_LOST,
    action: Text {
        en: "repeat the request when the daemon runs again",
        zh: "等代理重新运行后再次发送请求",
    },
};

pub(super) const STORE_REMOVED: Guidance = Guidance {
    meaning: Text {
        en: "The store was removed while a request for it was waiting.",
        zh: "请求排队期间，该镜像服务器已被删除。",
    },
    impact: REQUEST_LOST,
    action: Text {
        en: "do nothing, or add the store again: the daemon no longer serves it",
        zh: "无需处理，或重新添加该镜像服务器：代理已不再为它提供服务",
    },
};

pub(super) const AGENT_BUSY: Guidance = Guidance {
    meaning: Text {
        en: "The daemon has too much to do, or lacks a process, a thread, a descriptor or memory.",
        zh: "代理过于繁忙，或缺少进程、线程、文件描述符或内存。",
    },
    impact: REQUEST_LOST,
    action: Text {
        en: "repeat the request after the time in `Retry-After`",
        zh: "等待 `Retry-After` 给出的时间后再次发送请求",
    },
};

pub(super) const STATE_DISK_TROUBLE: Guidance = Guidance {
    meaning: Text {
        en: "The daemon cannot read or write its own records in `state.dir`.",
        zh: "代理无法读写 `state.dir` 中自己的数据。",
    },
    impact: NO_CHANGES,
    action: Text {
        en: "free space on the disk of `state.dir`, or repair the disk; the change was not made",
        zh: "清理 `state.dir` 所在磁盘的空间，或修复该磁盘；本次更改没有生效",
    },
};

pub(super) const MANAGEMENT_UNREACHABLE: Guidance = Guidance {
    meaning: Text {
        en: "The management node did not say whether the session of the caller is valid.",
        zh: "管理节点没有答复调用方的会话是否有效。",
    },
    impact: REQUEST_LOST,
    action: Text {
        en: "check that the management node answers at `auth.session_check_url`, then repeat the request",
        zh: "确认管理节点在 `auth.session_check_url` 上有应答，然后再次发送请求",
    },
};

pub(super) const DUPLICATE_UUID: Guidance = Guidance {
    meaning: Text {
        en: "The daemon already serves a store with this uuid.",
        zh: "代理已在为该 uuid 的镜像服务器提供服务。",
    },
    impact: ADD_REFUSED,
    action: Text {
        en: "choose another `resourceUuid`, or reconnect the existing store",
        zh: "换一个 `resourceUuid`，或对已有的镜像服务器执行重连",
    },
};

pub(super) const DUPLICATE_DIRECTORY: Guidance = Guidance {
    meaning: Text {
        en: "The daemon already serves a store in this directory.",
        zh: "该目录已属于代理正在服务的另一个镜像服务器。",
    },
    impact: ADD_REFUSED,
    action: Text {
        en: "choose another url, or remove the store that has this directory",
        zh: "换一个 url，或删除占用该目录的镜像服务器",
    },
};

pub(super) const ZONE_ATTACHED: Guidance = Guidance {
    meaning: Text {
        en: "The store is already attached to this zone.",
        zh: "镜像服务器已经挂载到该区域。",
    },
    impact: ZONES_STAY,
    action: Text {
        en: "do nothing: the store is in this zone already",
        zh: "无需处理：镜像服务器已在该区域中",
    },
};

pub(super) const ZONE_NOT_ATTACHED: Guidance = Guidance {
    meaning: Text {
        en: "The store is not attached to this zone.",
        zh: "镜像服务器没有挂载到该区域。",
    },
    impact: ZONES_STAY,
    action: Text {
        en: "do nothing, or compare the uuid of the zone with `attachedZoneUuids` of the store",
        zh: "无需处理，或把该区域的 uuid 与镜像服务器的 `attachedZoneUuids` 比对",
    },
};

pub(super) const TOO_MANY_ZONES: Guidance = Guidance {
    meaning: Text {
        en: "The store is attached to as many zones as the daemon keeps for one.",
        zh: "镜像服务器挂载的区域数已达到代理的上限。",
    },
    impact: ZONES_STAY,
    action: Text {
        en: "detach the store from the zones that it does not need",
        zh: "把镜像服务器从不需要的区域卸载",
    },
};
