//! Workers in a mount namespace whose root is an overlay, with binds as a container runtime makes
//! them.

use std::fs;
use std::path::{Path, PathBuf};

use imagestore_agent::model::{MountLocation, MountedPart, Reason};
use imagestore_agent::probe::{ProbeOptions, Prober};

use crate::probe::{AGENT, add, claim, claimed, examine, names, options, serve, text_fact};
use crate::support::failures::english_action;
use crate::support::filesystems::MountedFs;
use crate::support::requirements::needs_root;

/// Makes a namespace with an overlay as its root and the binds `FROM:TO`, and runs a program in it.
const SCRIPT: &str = r#"set -e
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
base=$1 root=$1/root
shift
mount -t tmpfs tmpfs "$base/layers"
mkdir "$base/layers/upper" "$base/layers/work"
mount -t overlay overlay -o "lowerdir=/,upperdir=$base/layers/upper,workdir=$base/layers/work" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
while [ "$1" != -- ]; do
    mkdir -p "$(dirname "$root${1#*:}")"
    if [ -d "${1%%:*}" ]; then mkdir -p "$root${1#*:}"; else : >> "$root${1#*:}"; fi
    mount --bind "${1%%:*}" "$root${1#*:}"
    shift
done
shift
exec chroot "$root" "$@"
"#;

/// A folder on the root disk for the parts of a container.
pub(crate) struct Container {
    base: tempfile::TempDir,
}

impl Container {
    pub(crate) fn new() -> Self {
        let container = Self { base: tempfile::tempdir().unwrap() };
        for folder in ["layers", "root", "folder", "disk"] {
            fs::create_dir(container.path(folder)).unwrap();
        }
        fs::write(container.path("hosts"), "127.0.0.1 localhost\n").unwrap();
        container
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.base.path().join(name)
    }

    /// Returns the words that run a program in a container with these binds.
    pub(crate) fn words(&self, binds: &[(&Path, &str)]) -> Vec<String> {
        let mut words = ["unshare", "-m", "sh", "-c", SCRIPT, "sh"].map(str::to_owned).to_vec();
        words.push(self.base.path().display().to_string());
        words.extend(binds.iter().map(|(from, to)| format!("{}:{to}", from.display())));
        words.push("--".to_owned());
        words
    }

    /// Returns a prober whose workers run in a container with these binds.
    fn prober(&self, options: ProbeOptions, binds: &[(&Path, &str)]) -> Prober {
        let mut words = self.words(binds);
        words.extend([AGENT, "probe-worker"].map(str::to_owned));
        Prober::new(options).with_program("/usr/bin/unshare".into(), words.split_off(1))
    }
}

/// The image directory in the container.
const IMAGES: &str = "/srv/images";

fn in_srv() -> ProbeOptions {
    options(Path::new("/srv"))
}

#[tokio::test]
async fn the_root_disk_of_the_host_is_recognized_by_the_files_of_the_runtime() {
    needs_root!();
    let container = Container::new();
    let (folder, hosts) = (container.path("folder"), container.path("hosts"));
    for file in ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"] {
        let binds = [(hosts.as_path(), file), (folder.as_path(), IMAGES)];
        let prober = container.prober(in_srv(), &binds);
        let fault = examine(&prober, Path::new(IMAGES), &add()).await.unwrap_err();
        assert_eq!(fault.reason(), Reason::OnRootDisk, "{fault}");
        assert_eq!(text_fact(&fault, "file"), file);
        for word in [file, &text_fact(&fault, "device"), "storage.allow_root_disk"] {
            assert!(english_action(&fault).contains(word), "{word}: {}", english_action(&fault));
        }
        assert_eq!(names(&folder), Vec::<String>::new(), "nothing was written");
    }
    // The operator may permit it.
    let binds = [(hosts.as_path(), "/etc/hosts"), (folder.as_path(), IMAGES)];
    let permitted = ProbeOptions { allow_root_disk: true, ..in_srv() };
    let prober = container.prober(permitted, &binds);
    let place = claimed(&prober, Path::new(IMAGES)).await;
    assert!(place.on_root_disk);
    examine(&prober, Path::new(IMAGES), &serve(place, true)).await.unwrap();
}

#[tokio::test]
async fn a_bound_folder_of_an_unknown_disk_is_not_a_mount_of_its_own() {
    needs_root!();
    let (container, disk) = (Container::new(), MountedFs::of("ext4"));
    let folder = container.path("folder");
    fs::create_dir(disk.path().join("images")).unwrap();
    let inside = disk.path().join("images");
    for from in [&folder, &inside] {
        let prober = container.prober(in_srv(), &[(from, IMAGES)]);
        let fault = examine(&prober, Path::new(IMAGES), &add()).await.unwrap_err();
        assert_eq!(fault.reason(), Reason::OnRootDisk, "{fault}");
        assert!(
            english_action(&fault).contains("storage.allow_root_disk"),
            "{}",
            english_action(&fault)
        );
        assert_eq!(names(from), Vec::<String>::new());
    }
    // The disk itself, or its folder beside it.
    let of_disk = inside.clone();
    let whole = [(disk.path(), "/srv"), (inside, IMAGES)];
    for count in [1, 2] {
        let binds: Vec<_> = whole[..count].iter().map(|(from, to)| (from.as_path(), *to)).collect();
        let prober = container.prober(in_srv(), &binds);
        let examined = examine(&prober, Path::new(IMAGES), &add()).await.unwrap();
        assert!(!examined.place.on_root_disk);
    }
    // A file of the runtime shows that its disk is another one.
    let hosts = container.path("hosts");
    let binds = [(hosts.as_path(), "/etc/hosts"), (of_disk.as_path(), IMAGES)];
    let prober = container.prober(in_srv(), &binds);
    let place = claimed(&prober, Path::new(IMAGES)).await;
    assert!(!place.on_root_disk);
    assert_eq!(place.part, Some(MountedPart::Folder("/images".to_owned())));
    examine(&prober, Path::new(IMAGES), &serve(place, true)).await.unwrap();
}

#[tokio::test]
async fn a_folder_of_the_disk_of_the_runtime_counts_as_root_disk_wherever_that_disk_is() {
    needs_root!();
    let (container, disk) = (Container::new(), MountedFs::of("xfs"));
    let (hosts, images) = (disk.path().join("hosts"), disk.path().join("images"));
    fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    fs::create_dir(&images).unwrap();
    let binds = [(hosts.as_path(), "/etc/hostname"), (images.as_path(), IMAGES)];
    let fault = examine(&container.prober(in_srv(), &binds), Path::new(IMAGES), &add()).await;
    let fault = fault.unwrap_err();
    assert_eq!(fault.reason(), Reason::OnRootDisk, "{fault}");
    assert_eq!(text_fact(&fault, "file"), "/etc/hostname");
    assert_eq!(names(&images), Vec::<String>::new());
}

#[tokio::test]
async fn a_mount_of_its_own_that_became_a_folder_of_the_host_is_not_mounted() {
    needs_root!();
    let (container, disk) = (Container::new(), MountedFs::of("ext4"));
    let (folder, hosts) = (container.path("folder"), container.path("hosts"));
    let mounted = container.prober(in_srv(), &[(&disk.path(), IMAGES)]);
    let place = claimed(&mounted, Path::new(IMAGES)).await;
    assert_eq!(place.part, Some(MountedPart::Whole));
    // A copy of the store below the mount point, with its marker.
    let copied = std::process::Command::new("cp")
        .args(["-a".as_ref(), disk.path().join(".").as_os_str(), folder.as_os_str()])
        .status();
    assert!(copied.unwrap().success());
    // The mount point may also have been on another disk.
    let around = MountedFs::of("xfs");
    let elsewhere = around.path().join("images");
    let copied = std::process::Command::new("cp")
        .args(["-a".as_ref(), folder.as_os_str(), elsewhere.as_os_str()])
        .status();
    assert!(copied.unwrap().success());
    for binds in [
        vec![(folder.as_path(), IMAGES)],
        vec![(hosts.as_path(), "/etc/hosts"), (folder.as_path(), IMAGES)],
        vec![(hosts.as_path(), "/etc/hosts"), (elsewhere.as_path(), IMAGES)],
    ] {
        let unmounted = container.prober(in_srv(), &binds);
        let expected = serve(place.clone(), true);
        let fault = examine(&unmounted, Path::new(IMAGES), &expected).await.unwrap_err();
        assert_eq!(fault.reason(), Reason::NotMounted, "{fault}");
        assert_eq!(text_fact(&fault, "expectedMountPoint"), IMAGES);
    }
    examine(&mounted, Path::new(IMAGES), &serve(place, true)).await.expect("the disk is back");
}

#[tokio::test]
async fn a_store_of_an_earlier_version_on_the_disk_of_the_host_stays_connected() {
    needs_root!();
    let container = Container::new();
    let (folder, hosts) = (container.path("folder"), container.path("hosts"));
    let binds = [(hosts.as_path(), "/etc/hosts"), (folder.as_path(), IMAGES)];
    let prober = container.prober(ProbeOptions { allow_root_disk: true, ..in_srv() }, &binds);
    let place = claimed(&prober, Path::new(IMAGES)).await;
    let earlier = MountLocation { on_root_disk: false, part: None, ..place.clone() };
    let strict = container.prober(in_srv(), &binds);
    let served = examine(&strict, Path::new(IMAGES), &serve(earlier, true)).await.unwrap();
    assert_eq!(served.place, place, "from now on it is known");
}

#[tokio::test]
async fn a_chroot_without_a_mount_has_the_root_disk_of_its_root() {
    needs_root!();
    let container = Container::new();
    let root = container.path("folder");
    let script = "set -e; export PATH=/usr/sbin:/usr/bin:/sbin:/bin; mkdir -p $0/proc $0/srv/images; \
                  for dir in usr lib lib64 bin; do [ ! -e /$dir ] || { mkdir -p $0/$dir; \
                  mount --bind /$dir $0/$dir; }; done; \
                  mount -t proc proc $0/proc; cp \"$1\" $0/agent; exec chroot $0 /agent probe-worker";
    let words = ["-m", "sh", "-c", script, root.to_str().unwrap(), AGENT].map(str::to_owned);
    let strict = Prober::new(in_srv()).with_program("/usr/bin/unshare".into(), words.to_vec());
    let fault = examine(&strict, Path::new(IMAGES), &add()).await.unwrap_err();
    assert_eq!(fault.reason(), Reason::OnRootDisk, "{fault}");
    let permitted = ProbeOptions { allow_root_disk: true, ..in_srv() };
    let prober = Prober::new(permitted).with_program("/usr/bin/unshare".into(), words.to_vec());
    let examined = examine(&prober, Path::new(IMAGES), &add()).await.unwrap();
    assert!(claim(&examined).place.on_root_disk);
}
