//! The systems: their base, and a repository in them, because a machine has no network.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::machine::Machine;
use crate::old_systems::build;
use crate::support::requirements::run;

/// Name of the package.
pub(crate) const AGENT: &str = "imagestore-agent";

/// Folder of the repository in a machine.
const REPOSITORY: &str = "srv/repository";

/// The package manager of a system.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manager {
    Apt,
    Dnf,
    Yum,
}

/// A kind of machine.
#[derive(Clone, Copy)]
pub(crate) struct System {
    pub(crate) base: &'static str,
    pub(crate) manager: Manager,
    /// The version of ansible-core that works with the Python of the system.
    pub(crate) ansible: &'static str,
}

/// Ubuntu 16.04 with the yum of CentOS 7, and its Python 2.7.
pub(crate) const YUM: System = System { base: "old-base", manager: Manager::Yum, ansible: "2.16" };
/// Debian 12 with the dnf of RHEL 9.
pub(crate) const DNF: System = System { base: "dnf-base", manager: Manager::Dnf, ansible: "2.19" };
/// Ubuntu 18.04 with the Python of RHEL 8.
pub(crate) const BIONIC: System =
    System { base: "bionic-base", manager: Manager::Apt, ansible: "2.16" };

/// The package of everything that the agent requires: dpkg installed the programs, so that the
/// database of rpm is empty.
const SYSTEM_SPEC: &str = "\
Name: system
Version: 1
Release: 1
Summary: The packages of the system
License: none
BuildArch: noarch
Provides: systemd = 219, shadow-utils, coreutils, sed, /bin/sh
Provides: centos-release = RELEASE, system-release = RELEASE
%description
The packages of the system.
%files
";

/// The option of yum that its release 3.4.3 does not have and the yum of CentOS 7 has, as there: it
/// ends with 0, and copies the file of a repository with a file:// URL only with keepcache.
const DOWNLOAD_ONLY: &str = "\
import sys
from yum.plugins import TYPE_INTERACTIVE
requires_api_version = '2.1'
plugin_type = (TYPE_INTERACTIVE,)
def config_hook(conduit):
    parser = conduit.getOptParser()
    parser.add_option('--downloadonly', dest='dlonly', action='store_true', default=False)
    parser.add_option('--downloaddir', dest='dldir', default=None)
def postreposetup_hook(conduit):
    opts, _ = conduit.getCmdLine()
    if opts.dlonly:
        for repo in conduit.getRepos().listEnabled():
            repo.copy_local = conduit._base.conf.keepcache
            if opts.dldir:
                repo.pkgdir = opts.dldir
def postdownload_hook(conduit):
    opts, _ = conduit.getCmdLine()
    if opts.dlonly and not conduit.getErrors():
        conduit._base.closeRpmDB()
        conduit._base.doUnlock()
        sys.exit(0)
";

impl System {
    fn release(self) -> &'static str {
        if self.manager == Manager::Yum { "7" } else { "9" }
    }

    /// Makes the root directory one of the distribution whose package manager it has. Ansible goes
    /// by these files.
    pub(crate) fn prepare(self, root: &Path) {
        fs::create_dir_all(root.join(REPOSITORY)).unwrap();
        if self.manager == Manager::Apt {
            let source = format!("deb [trusted=yes] file:/{REPOSITORY} ./\n");
            fs::write(root.join("etc/apt/sources.list"), source).unwrap();
            return;
        }
        let release = self.release();
        let names = format!(
            "NAME=\"CentOS Linux\"\nID=centos\nID_LIKE=\"rhel fedora\"\nVERSION_ID={release}\n\
             VERSION={release}\nPRETTY_NAME=\"CentOS Linux {release}\"\n"
        );
        fs::remove_file(root.join("etc/os-release")).unwrap();
        fs::write(root.join("etc/os-release"), names).unwrap();
        fs::write(
            root.join("etc/centos-release"),
            format!("CentOS Linux release {release}.9.0 (Core)\n"),
        )
        .unwrap();
        symlink("centos-release", root.join("etc/redhat-release")).unwrap();
        let spec = root.join("root/system.spec");
        fs::write(&spec, SYSTEM_SPEC.replace("RELEASE", release)).unwrap();
        let built = format!("_rpmdir {}", root.join("root").display());
        run("rpmbuild", &["-bb", "--quiet", "--define", &built, spec.to_str().unwrap()]);
        let repository =
            format!("[local]\nname=local\nbaseurl=file:///{REPOSITORY}\ngpgcheck=0\nenabled=1\n");
        fs::create_dir_all(root.join("etc/yum.repos.d")).unwrap();
        fs::write(root.join("etc/yum.repos.d/local.repo"), repository).unwrap();
        if self.manager == Manager::Dnf {
            // That of RHEL.
            let settings = "[main]\ngpgcheck=1\ninstallonly_limit=3\n\
                            clean_requirements_on_remove=True\nbest=True\nskip_if_unavailable=False\n";
            fs::write(root.join("etc/dnf/dnf.conf"), settings).unwrap();
            return;
        }
        // That of CentOS 7.
        let settings = "[main]\ncachedir=/var/cache/yum/$basearch/$releasever\nkeepcache=0\n\
             debuglevel=2\nlogfile=/var/log/yum.log\nexactarch=1\nobsoletes=1\ngpgcheck=1\nplugins=1\n\
             installonly_limit=5\ndistroverpkg=centos-release\n";
        fs::remove_file(root.join("etc/yum/yum.conf")).unwrap();
        fs::write(root.join("etc/yum.conf"), settings).unwrap();
        for (file, text) in [
            ("etc/yum/pluginconf.d/downloadonly.conf", "[main]\nenabled=1\n"),
            ("usr/lib/yum-plugins/downloadonly.py", DOWNLOAD_ONLY),
        ] {
            fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
            fs::write(root.join(file), text).unwrap();
        }
    }

    /// Lets the package manager know what the system has, and that its repository is empty.
    pub(crate) fn furnish(self, machine: &Machine) {
        if self.manager != Manager::Apt {
            machine.sh("rpm -i /root/noarch/system-1-1.noarch.rpm");
        }
        self.index(machine);
    }

    fn index(self, machine: &Machine) {
        let folder = machine.root().join(REPOSITORY);
        let command = if self.manager == Manager::Apt {
            "dpkg-scanpackages -m . > Packages 2>/dev/null"
        } else {
            "createrepo_c -q ."
        };
        run("sh", &["-c", &format!("cd {} && {command}", folder.display())]);
    }

    /// Builds a package of this version and returns its path.
    pub(crate) fn package(self, version: &str, into: &Path) -> PathBuf {
        let kind = if self.manager == Manager::Apt { "deb" } else { "rpm" };
        fs::create_dir_all(into).unwrap();
        build(version, into, &[kind]);
        let name = format!(
            "ls {}/{kind}/{AGENT}_{version}_*.deb {0}/{kind}/*/{AGENT}-{version}-1.*.rpm 2>/dev/null || true",
            into.display()
        );
        PathBuf::from(run("sh", &["-c", &name]).trim())
    }

    /// Adds a package to the repository of the machine.
    pub(crate) fn publish(self, machine: &Machine, package: &Path) {
        let name = package.file_name().unwrap();
        fs::copy(package, machine.root().join(REPOSITORY).join(name)).unwrap();
        self.index(machine);
    }

    /// Returns the state of the package in the words of its manager.
    pub(crate) fn installed(self, machine: &Machine) -> String {
        let query = if self.manager == Manager::Apt {
            format!("dpkg-query -W -f '${{Status}} ${{Version}}' {AGENT} || true")
        } else {
            format!("rpm -q --qf '%{{VERSION}}-%{{RELEASE}} ' {AGENT} || true")
        };
        machine.sh(&query).replace("install ok installed ", "")
    }

    /// Returns the version as the package manager shows it.
    pub(crate) fn full(self, version: &str) -> String {
        if self.manager == Manager::Apt { version.to_owned() } else { format!("{version}-1") }
    }

    /// Returns the command that installs this version over another one.
    pub(crate) fn change_to(self, version: &str, is_later: bool) -> String {
        match self.manager {
            Manager::Apt => format!(
                "apt-get update && apt-get -y -o Dpkg::Options::=--force-confold \
                 --allow-downgrades install {AGENT}={version}"
            ),
            Manager::Dnf | Manager::Yum => {
                let (manager, verb) =
                    (self.program(), if is_later { "update" } else { "downgrade" });
                format!("{manager} clean expire-cache && {manager} -y {verb} {AGENT}-{version}")
            }
        }
    }

    /// Returns the words of the package manager about a version that it does not have.
    pub(crate) fn no_version(self) -> &'static str {
        match self.manager {
            Manager::Apt => "Version '0.0.9' for 'imagestore-agent' was not found",
            Manager::Dnf => "No match for argument: imagestore-agent-0.0.9",
            Manager::Yum => "No package imagestore-agent-0.0.9 available",
        }
    }

    pub(crate) fn program(self) -> &'static str {
        match self.manager {
            Manager::Apt => "apt-get",
            Manager::Dnf => "dnf",
            Manager::Yum => "yum",
        }
    }
}
