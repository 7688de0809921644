//! The remedies of the daemon itself: its workers, its state directory and its callers.

use crate::catalog::Text;

pub(super) const CHECK_HANGING_DISKS: Text = Text {
    en: "check the disks of the stores with `probe_timeout`; the daemon repeats the probe",
    zh: "检查原因为 `probe_timeout` 的镜像服务器的磁盘；代理会再次探测",
};

pub(super) const CREATE_NULL_DEVICE: Text = Text {
    en: "create `/dev/null` in the root of this service (`mknod -m 666 /dev/null c 1 3`), or mount `/dev` there",
    zh: "在本服务的根目录中创建 `/dev/null`（`mknod -m 666 /dev/null c 1 3`），或在其中挂载 `/dev`",
};

pub(super) const MOUNT_PROC: Text = Text {
    en: "mount /proc in the root of this service (`mount -t proc proc /proc`)",
    zh: "在本服务的根目录中挂载 /proc（`mount -t proc proc /proc`）",
};

pub(super) const PERMIT_EXECUTION: Text = Text {
    en: "let the user of this service execute the program, and check the options `noexec` and `hidepid` of the mounts",
    zh: "允许本服务的用户执行该程序，并检查各挂载的 `noexec` 和 `hidepid` 选项",
};

pub(super) const CHECK_MACHINE_LOAD: Text = Text {
    en: "check the load of this machine and the CPU limits of this service",
    zh: "检查本机的负载和本服务的 CPU 限制",
};

pub(super) const CHECK_KILLED_PROCESS: Text = Text {
    en: "check the kernel log (`dmesg`) for a killed process, and the limits of this service",
    zh: "在内核日志（`dmesg`）中查找被终止的进程，并检查本服务的资源限制",
};

pub(super) const RESTORE_STATE_FILES: Text = Text {
    en: "put the former files back at `state.dir`; if they are lost, stop the daemon, restore a copy and start it",
    zh: "把原来的文件放回 `state.dir`；若已丢失，停止代理，恢复备份，再启动代理",
};

pub(super) const REPEAT_REQUEST: Text = Text {
    en: "check the disk of `state.dir`, and repeat the request when the disk responds",
    zh: "检查 `state.dir` 所在的磁盘，等磁盘有响应后再次发送请求",
};

pub(super) const READ_STORE_AGAIN: Text = Text {
    en: "check the disk of `state.dir`, and read the store again when the disk responds",
    zh: "检查 `state.dir` 所在的磁盘，等磁盘有响应后重新查看镜像服务器",
};

pub(super) const REPAIR_STATE_DISK: Text = Text {
    en: "check the disk of `state.dir` and repair it",
    zh: "检查并修复 `state.dir` 所在的磁盘",
};

pub(super) const REPORT_LOG: Text = Text {
    en: "report the log of the daemon to the developers",
    zh: "把代理的日志反馈给开发者",
};

pub(super) const CORRECT_SESSION_URL: Text = Text {
    en: "set `auth.session_check_url` to an address of the management node: it leads to this daemon",
    zh: "把 `auth.session_check_url` 设为管理节点的地址：目前它指向本代理",
};

pub(super) const READ_INTERRUPTED_STORE: Text = Text {
    en: "read the store, and repeat the request with a new job uuid if it is needed",
    zh: "查看镜像服务器；若仍然需要，用新的任务 uuid 再次发送请求",
};

pub(super) const REPEAT_WITH_JOB_UUID: Text = Text {
    en: "repeat the same request with its job uuid, or read the store",
    zh: "用原来的任务 uuid 再次发送同一请求，或查看镜像服务器",
};

pub(super) const CLOSE_STREAM: Text = Text {
    en: "close a stream, or read pages of events with `Accept: application/json`",
    zh: "关闭一个事件流，或用 `Accept: application/json` 分页读取事件",
};

pub(super) const CHECK_REPLY_RECEIVER: Text = Text {
    en: "check that the receiver at `callbackurl` answers: replies wait for it",
    zh: "确认 `callbackurl` 上的接收端有应答：发往它的回复正在排队",
};
