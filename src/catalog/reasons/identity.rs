//! The reasons why the directory is not the one of the store.

use super::impact::{ADD_REFUSED, STORE_LOST};
use crate::catalog::{Guidance, Text};

pub(super) const DIRECTORY_MISSING: Guidance = Guidance {
    meaning: Text { en: "The image directory does not exist.", zh: "镜像目录不存在。" },
    impact: STORE_LOST,
    action: Text {
        en: "create the directory, or mount the disk that contains it",
        zh: "创建该目录，或挂载该目录所在的磁盘",
    },
};

pub(super) const NOT_A_DIRECTORY: Guidance = Guidance {
    meaning: Text {
        en: "The path of the store leads to a file and not to a directory.",
        zh: "镜像服务器的路径是文件，不是目录。",
    },
    impact: STORE_LOST,
    action: Text { en: "give the path of a directory as url", zh: "url 须填写目录的路径" },
};

pub(super) const OUTSIDE_ALLOWED_ROOTS: Guidance = Guidance {
    meaning: Text {
        en: "A symbolic link leads from the path to a directory outside `storage.allowed_roots`.",
        zh: "路径中的符号链接指向了 `storage.allowed_roots` 之外的目录。",
    },
    impact: STORE_LOST,
    action: Text {
        en: "give the path without symbolic links, or add its root to `storage.allowed_roots`: a symbolic link leads out of the allowed roots",
        zh: "填写不含符号链接的路径，或把其根目录加入 `storage.allowed_roots`：有符号链接指向了允许范围之外",
    },
};

pub(super) const PATH_UNUSABLE: Guidance = Guidance {
    meaning: Text {
        en: "The path cannot lead to a directory on any disk.",
        zh: "该路径在任何磁盘上都不可用。",
    },
    impact: STORE_LOST,
    action: Text {
        en: "correct the path: its symbolic links form a loop, or it is too long, or its text cannot be stored",
        zh: "更正路径：符号链接成环、路径过长，或其文字无法保存",
    },
};

pub(super) const NOT_MOUNTED: Guidance = Guidance {
    meaning: Text {
        en: "The disk of the image directory is not mounted; the directory below its mount point is another one.",
        zh: "镜像目录所在的磁盘没有挂载；挂载点下现在看到的是另一个目录。",
    },
    impact: STORE_LOST,
    action: Text {
        en: "mount the disk that contains the image directory",
        zh: "挂载镜像目录所在的磁盘",
    },
};

pub(super) const ON_ROOT_DISK: Guidance = Guidance {
    meaning: Text {
        en: "The directory lies on the root disk of this node, which images would fill.",
        zh: "该目录位于本节点的根磁盘上，镜像会占满根磁盘。",
    },
    impact: ADD_REFUSED,
    action: Text {
        en: "mount a data disk at the directory first, or set `storage.allow_root_disk = true` to permit the root disk",
        zh: "先把数据盘挂载到该目录，或设置 `storage.allow_root_disk = true` 以允许使用根磁盘",
    },
};

pub(super) const MARKER_MISSING: Guidance = Guidance {
    meaning: Text {
        en: "The image directory no longer has the marker file that identifies the store.",
        zh: "镜像目录中用于识别镜像服务器的标识文件不见了。",
    },
    impact: STORE_LOST,
    action: Text {
        en: "check that the right disk is mounted; if the marker was deleted, restore `.imagestore-agent/identity.json` from a backup",
        zh: "确认挂载的磁盘正确；若标识文件被删除，从备份恢复 `.imagestore-agent/identity.json`",
    },
};

pub(super) const MARKER_UNREADABLE: Guidance = Guidance {
    meaning: Text {
        en: "The marker file of the image directory is damaged.",
        zh: "镜像目录的标识文件已损坏。",
    },
    impact: STORE_LOST,
    action: Text {
        en: "restore `.imagestore-agent/identity.json` from a backup; the daemon never rewrites it",
        zh: "从备份恢复 `.imagestore-agent/identity.json`；代理不会重写它",
    },
};

pub(super) const WRONG_STORE: Guidance = Guidance {
    meaning: Text {
        en: "The mounted disk belongs to another image store.",
        zh: "当前挂载的磁盘属于另一个镜像服务器。",
    },
    impact: STORE_LOST,
    action: Text {
        en: "mount the right disk: the mounted one belongs to another store",
        zh: "挂载正确的磁盘：当前挂载的磁盘属于另一个镜像服务器",
    },
};

pub(super) const TAKEN_OVER: Guidance = Guidance {
    meaning: Text {
        en: "The image directory belongs to the daemon of another node.",
        zh: "该镜像目录属于另一个节点的代理。",
    },
    impact: STORE_LOST,
    action: Text {
        en: "add the directory with `takeOver` to move it to this node; another daemon owns it",
        zh: "添加目录时带上 `takeOver`，把它迁移到本节点；目前它归另一个代理所有",
    },
};

pub(super) const REGISTRY_MISSING: Guidance = Guidance {
    meaning: Text {
        en: "The image directory had image data, and now has neither `registry/` nor `export/`.",
        zh: "镜像目录原本有镜像数据，现在 `registry/` 和 `export/` 都不见了。",
    },
    impact: STORE_LOST,
    action: Text {
        en: "check the directory before anything is written to it: image metadata may be lost",
        zh: "在写入任何数据之前先检查该目录：镜像元数据可能已丢失",
    },
};
