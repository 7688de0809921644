//! The packages: a static program for the systems that ZStack runs on, whatever their C library,
//! processor and systemd are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::requirements::{needs_root, run};

const PROGRAM: &str = env!("CARGO_BIN_EXE_imagestore-agent");

fn in_tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: &str) -> String {
    fs::read_to_string(in_tree(path)).unwrap()
}

fn make(args: &[&str]) -> Output {
    Command::new("make").arg("-C").arg(in_tree("")).args(args).output().unwrap()
}

/// Returns both outputs of a command as one text.
fn both(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

/// Compiles a program of C with these arguments.
fn compiled(into: &Path, source: &str, args: &[&str]) -> String {
    let (file, program) = (into.join("program.c"), into.join("program"));
    fs::write(&file, source).unwrap();
    let program = program.to_str().unwrap().to_owned();
    run("cc", &[&["-o", &program, file.to_str().unwrap()], args].concat());
    program
}

/// The name of this processor, as `uname -m` has it.
fn processor() -> String {
    run("uname", &["-m"]).trim().to_owned()
}

#[test]
fn the_image_and_the_packages_are_built_with_the_same_flags() {
    const OPTION: &str = "--config .cargo/static.toml";
    let flags = text(".cargo/static.toml");
    for flag in ["\"target-feature=+crt-static\"", "\"relocation-model=static\""] {
        assert!(flags.contains(flag), "{flag}");
    }
    let dockerfile = text("Dockerfile");
    let builds: Vec<&str> =
        dockerfile.lines().filter(|line| line.contains("cargo build")).collect();
    assert_eq!(builds.len(), 3, "{builds:?}");
    for build in builds {
        assert!(build.contains(OPTION) && build.contains(" --target "), "{build}");
    }
    for (processor, target) in
        [("x86_64", "x86_64-unknown-linux-gnu"), ("aarch64", "aarch64-unknown-linux-gnu")]
    {
        let dry = both(&make(&["-n", "deb", &format!("ARCH={processor}")]));
        let build = dry.lines().find(|line| line.contains(" --profile dist ")).unwrap();
        assert!(build.contains(&format!("{OPTION} --target {target}")), "{build}");
        assert!(dry.contains(&format!("target/{target}/dist/imagestore-agent")), "{dry}");
    }
    // A variable of this name replaces the flags of the file.
    for file in ["Dockerfile", ".ci/run"] {
        assert!(!text(file).contains("RUSTFLAGS"), "{file}");
    }
}

#[test]
fn only_a_static_program_of_the_right_processor_is_released() {
    let check = |program: &str, processor: &str| {
        let (program, arch) = (format!("PROGRAM={program}"), format!("ARCH={processor}"));
        let output = make(&["-s", "check-program", &program, &arch]);
        (output.status.success(), both(&output))
    };
    let (dir, own) = (tempfile::tempdir().unwrap(), processor());
    let program = compiled(dir.path(), "int main(void) { return 0; }", &["-static"]);
    assert_eq!(check(&program, &own), (true, String::new()));
    let other = if own == "aarch64" { "x86_64" } else { "aarch64" };
    let (is_good, message) = check(&program, other);
    assert!(!is_good && message.contains(&format!("is not a program for {other}")), "{message}");
    // This one is linked as usual.
    let (is_good, message) = check(PROGRAM, &own);
    assert!(!is_good && message.contains("is not static"), "{message}");
    let pie = compiled(dir.path(), "int main(void) { return 0; }", &["-static-pie"]);
    let (is_good, message) = check(&pie, &own);
    assert!(!is_good && message.contains("dynamic section"), "{message}");
}

#[test]
fn a_build_for_another_processor_names_what_this_machine_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let path = |tools: &[&str]| {
        let tools = tools.iter().fold(String::new(), |all, tool| {
            all + &format!(
                "printf '#!/bin/sh\\necho {}\\n' > {tool}; chmod +x {tool}; ",
                dir.path().display()
            )
        });
        let script = format!("cd {} && {tools}", dir.path().display());
        run("sh", &["-c", &script]);
        format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap())
    };
    let other = if processor() == "aarch64" { "x86_64" } else { "aarch64" };
    let attempt = |path: &str, what: &str, arch: &str| {
        let mut command = Command::new("make");
        command.arg("-C").arg(in_tree("")).args(["-s", what, &format!("ARCH={arch}")]);
        let output = command.env("PATH", path).output().unwrap();
        assert!(!output.status.success());
        both(&output)
    };
    // The stand-in of the compiler says that the folder of its library is one that exists.
    let compiler = run("sh", &["-c", &format!("command -v {other}-linux-gnu-gcc || true")]);
    let has_library = path(&["rustc"]);
    if compiler.is_empty() {
        let message = attempt(&has_library, "deb", other);
        assert!(
            message.contains(&format!("there is no {other}-linux-gnu-gcc (apt-get")),
            "{message}"
        );
    }
    run("sh", &["-c", &format!("echo 'echo /nonexistent' > {}/rustc", dir.path().display())]);
    let message = attempt(&has_library, "rpm", other);
    assert!(
        message.contains(&format!("(rustup target add {other}-unknown-linux-gnu)")),
        "{message}"
    );
    let message = attempt(&has_library, "release", "riscv64");
    assert!(message.contains("ARCH=riscv64 is not supported: x86_64 or aarch64"), "{message}");
}

#[test]
fn a_release_stands_beside_that_of_another_processor() {
    let (dir, own) = (tempfile::tempdir().unwrap(), processor());
    let source = "__attribute__((section(\".dep-v0\"), used)) static char list[] = \"crates\"; \
                  int main(void) { return 0; }";
    let program = compiled(dir.path(), source, &["-static"]);
    let out = dir.path().join("out");
    let other = if own == "aarch64" { "x86_64" } else { "aarch64" };
    let of_other = [format!("release-1.2.3-{other}"), format!("rpm/{other}"), "deb".to_owned()]
        .map(|name| {
            let folder = out.join(name);
            fs::create_dir_all(&folder).unwrap();
            let file = folder.join("imagestore-agent_1.2.2_other.deb");
            fs::write(&file, "other").unwrap();
            file
        });
    // Of an earlier release with the same processor.
    let left = out.join(format!("release-1.2.3-{own}/left"));
    fs::create_dir_all(left.parent().unwrap()).unwrap();
    fs::write(&left, "left").unwrap();
    let arguments = [
        "VERSION=1.2.3".to_owned(),
        // It is only asked for cargo-auditable.
        "CARGO=true".to_owned(),
        format!("PROGRAM={program}"),
        format!("HOST_PROGRAM={PROGRAM}"),
        format!("OUT={}", out.display()),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let released = make(&[&["-s", "release"], &arguments[..]].concat());
    assert!(released.status.success(), "{}", both(&released));
    let sums = fs::read_to_string(left.with_file_name("SHA256SUMS")).unwrap();
    let mut names: Vec<&str> = sums.lines().map(|line| line.split("  ").nth(1).unwrap()).collect();
    let deb_arch = if own == "aarch64" { "arm64" } else { "amd64" };
    let mut expected = [
        format!("imagestore-agent-1.2.3-1.{own}.rpm"),
        format!("imagestore-agent-1.2.3-{own}"),
        format!("imagestore-agent_1.2.3_{deb_arch}.deb"),
    ];
    names.sort_unstable();
    expected.sort();
    assert_eq!(names, expected);
    for file in of_other {
        assert_eq!(fs::read_to_string(&file).unwrap(), "other");
    }
}

#[test]
fn the_packages_have_the_name_of_their_processor_and_need_no_library() {
    let dir = tempfile::tempdir().unwrap();
    let small = compiled(dir.path(), "int main(void) { return 0; }", &["-static"]);
    let (program, host) = (format!("PROGRAM={small}"), format!("HOST_PROGRAM={PROGRAM}"));
    let out = format!("OUT={}", dir.path().display());
    for (arch, deb_arch) in [("aarch64", "arm64"), ("x86_64", "amd64")] {
        let is_for = format!("ARCH={arch}");
        let packed = make(&["-s", "deb", "rpm", "VERSION=1.2.3", &is_for, &program, &host, &out]);
        assert!(packed.status.success(), "{}", both(&packed));
        let deb = dir.path().join(format!("deb/imagestore-agent_1.2.3_{deb_arch}.deb"));
        let field = |name: &str| run("dpkg-deb", &["-f", deb.to_str().unwrap(), name]);
        assert_eq!(field("Architecture").trim(), deb_arch);
        assert_eq!(field("Depends").trim(), "systemd (>= 219), passwd");
        let members = run("ar", &["t", deb.to_str().unwrap()]);
        assert!(members.contains("data.tar.xz"), "an older dpkg does not know zstd: {members}");

        let rpm = dir.path().join(format!("rpm/{arch}/imagestore-agent-1.2.3-1.{arch}.rpm"));
        let rpm = rpm.to_str().unwrap();
        let needs = run("rpm", &["-qp", "--requires", rpm]);
        // What rpm 4.11 of RHEL 7 has.
        let known = ["CompressedFileNames", "FileDigests", "PayloadFilesHavePrefix", "PayloadIsXz"];
        for need in needs.lines().filter(|need| !need.is_empty()) {
            let is_known = match need.strip_prefix("rpmlib(") {
                Some(feature) => known.iter().any(|known| feature.starts_with(known)),
                None => ["/bin/sh", "coreutils", "sed", "shadow-utils", "systemd >= 219"]
                    .contains(&need),
            };
            assert!(is_known, "{need}");
        }
        let scripts = run("rpm", &["-qp", "--scripts", rpm]);
        assert!(scripts.contains("useradd --system") && !scripts.contains("@SETUP@"), "{scripts}");
        let unpack = format!(
            "dpkg-deb --fsys-tarfile {} \
             | tar -xO ./usr/share/man/man1/imagestore-agent.1.gz | zcat",
            deb.display()
        );
        assert!(
            run("sh", &["-c", &unpack]).contains("imagestore"),
            "the pages are those of the host program"
        );
    }
}

/// The version of systemd that introduced each directive of the units, if it is newer than 219.
const SINCE: [(&str, u32); 20] = [
    ("AmbientCapabilities", 229),
    ("StartLimitIntervalSec", 230),
    ("MemoryDenyWriteExecute", 231),
    ("ReadWritePaths", 231),
    ("RestrictRealtime", 231),
    ("ProtectControlGroups", 232),
    ("ProtectKernelModules", 232),
    ("ProtectKernelTunables", 232),
    ("RemoveIPC", 232),
    ("RestrictNamespaces", 233),
    ("LockPersonality", 235),
    ("StateDirectory", 235),
    ("StateDirectoryMode", 235),
    ("PrivateMounts", 239),
    ("ProtectHostname", 242),
    ("RestrictSUIDSGID", 242),
    ("ProtectKernelLogs", 244),
    ("ProtectClock", 245),
    ("LoadCredential", 247),
    ("ProtectProc", 247),
];

/// The directives of the units that systemd 219 knows.
const OLD: [&str; 36] = [
    "After",
    "Backlog",
    "CapabilityBoundingSet",
    "Description",
    "DirectoryMode",
    "ExecReload",
    "ExecStart",
    "Group",
    "KillMode",
    "LimitCORE",
    "LimitNOFILE",
    "ListenStream",
    "NoDelay",
    "NoNewPrivileges",
    "NotifyAccess",
    "PrivateDevices",
    "PrivateTmp",
    "ProtectHome",
    "ProtectSystem",
    "Restart",
    "RestartPreventExitStatus",
    "RestartSec",
    "RestrictAddressFamilies",
    "SocketGroup",
    "SocketMode",
    "SocketUser",
    "SystemCallArchitectures",
    "SystemCallErrorNumber",
    "SystemCallFilter",
    "TimeoutStartSec",
    "TimeoutStopSec",
    "Type",
    "UMask",
    "User",
    "WantedBy",
    "WatchdogSec",
];

#[test]
fn each_directive_of_the_units_is_known_to_its_systemd_or_documented_as_missing() {
    let since = BTreeMap::from(SINCE);
    let manual = text("docs/operations.md");
    let section = manual.split_once("### An older systemd").unwrap().1;
    let section = section.split_once("\n## ").unwrap().0;
    let unit = text("systemd/imagestore-agent.service") + &text("systemd/imagestore-agent.socket");
    let settings = unit.lines().filter(|line| !line.starts_with(['#', '[']));
    for (key, value) in settings.filter_map(|line| line.split_once('=')) {
        match since.get(key) {
            Some(version) => {
                assert!(*version <= 252, "{key}= needs systemd {version}");
                let row = section.lines().find(|line| line.contains(&format!("`{key}`")));
                let row = row.unwrap_or_else(|| panic!("{key} is not in the table of the manual"));
                assert!(row.starts_with(&format!("| {version} |")), "{key}, {version}: {row}");
            }
            None => assert!(OLD.contains(&key), "{key}= has no version in this test"),
        }
        // Values that an older systemd refuses. The packages write a drop-in for it.
        let dropped = match (key, value) {
            ("ProtectSystem", "strict") | ("SystemCallFilter", "@system-service") => true,
            ("SystemCallFilter", "~@privileged @resources") => true,
            ("Type", "notify") | ("KillMode", "process") => false,
            (_, value) => {
                assert!(!value.starts_with('@'), "{key}={value}: since which version?");
                false
            }
        };
        assert!(!dropped || text("deploy/setup.sh").contains(&format!("{key}=")), "{key}={value}");
    }
}

/// Runs the script of the packages in a copy of /etc and empty directories, with a systemd of this
/// version, and prints the effects.
fn set_up(version: &str, then: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let systemctl = dir.path().join("systemctl");
    fs::write(&systemctl, format!("#!/bin/sh\necho 'systemd {version}'\necho +PAM\n")).unwrap();
    run("chmod", &["+x", systemctl.to_str().unwrap()]);
    let script = format!(
        "set -e; cd {dir}; cp -a /etc etc; mount --bind etc /etc; rm -rf /etc/imagestore-agent; \
         mkdir -p /usr/lib/systemd/system; \
         mount -t tmpfs none /usr/lib/systemd/system; mount -t tmpfs none /var/lib; \
         PATH={dir}:$PATH; \
         sed -i /^imagestore-agent:/d /etc/passwd /etc/group /etc/shadow /etc/gshadow; \
         . {setup} >&2; . {setup} >&2; {then}",
        dir = dir.path().display(),
        setup = in_tree("deploy/setup.sh").display(),
    );
    run("unshare", &["-m", "sh", "-c", &script])
}

#[test]
fn the_packages_create_user_and_directories_with_any_systemd() {
    needs_root!();
    let effects = "getent passwd imagestore-agent | cut -d: -f1,5-; \
                   stat -c '%n %U:%G %a' /etc/imagestore-agent /var/lib/imagestore-agent; \
                   cat /usr/lib/systemd/system/imagestore-agent.service.d/* 2>/dev/null \
                       | grep -v ^# || true";
    let expected = "imagestore-agent:ImageStore backup storage agent:/var/lib/imagestore-agent\
                    :/usr/sbin/nologin\n\
                    /etc/imagestore-agent root:imagestore-agent 750\n\
                    /var/lib/imagestore-agent imagestore-agent:imagestore-agent 750\n";
    let (filter, system) = ("[Service]\nSystemCallFilter=\n", "ProtectSystem=full\n");
    for (version, drop_in) in [
        ("219", format!("{filter}{system}")),
        ("231 (231-4)", format!("{filter}{system}")),
        ("232", filter.to_owned()),
        ("238", filter.to_owned()),
        ("239 (239-82.el8)", String::new()),
        ("252 (252.39-1~deb12u2)", String::new()),
    ] {
        assert_eq!(set_up(version, effects), format!("{expected}{drop_in}"), "systemd {version}");
    }
    // An upgrade of the package after one of systemd removes the drop-in.
    let upgrade = format!(
        "PATH=${{PATH#*:}}; systemctl() {{ echo systemd 252; }}; . {}; {effects}",
        in_tree("deploy/setup.sh").display()
    );
    assert_eq!(set_up("219", &upgrade), expected);
}

/// Looks up names in each way that the daemon does, and prints the libraries that were loaded.
const LOOKUPS: &str = r#"
#include <grp.h>
#include <netdb.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
    struct addrinfo *found = 0, hints = {.ai_socktype = SOCK_STREAM};
    gid_t groups[64];
    int count = 64;
    printf("localhost %d\n", getaddrinfo("localhost", 0, &hints, &found));
    printf("user %d %d\n", getpwnam("root") != 0, getpwnam("nosuchuser") != 0);
    printf("groups %d\n", getgrouplist("root", 0, groups, &count) > 0);
    char line[4096];
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps))
        if (strstr(line, ".so"))
            fputs(strrchr(line, '/'), stdout);
    return 0;
}
"#;

/// The modules of this test are part of the package of the C library.
#[test]
fn a_static_program_loads_no_module_that_nsswitch_names() {
    needs_root!();
    let dir = tempfile::tempdir().unwrap();
    let conf = dir.path().join("nsswitch.conf");
    fs::write(&conf, "passwd: compat\ngroup: compat\nhosts: hesiod files\n").unwrap();
    let looked_up = |program: &str| {
        let mount = format!("mount --bind {} /etc/nsswitch.conf && exec {program}", conf.display());
        Command::new("unshare").args(["-m", "sh", "-c", &mount]).output().unwrap()
    };
    let services = in_tree("layout/name_service.c");
    let safe = compiled(dir.path(), LOOKUPS, &["-w", "-static", services.to_str().unwrap()]);
    let output = looked_up(&safe);
    assert_eq!(both(&output), "localhost 0\nuser 1 0\ngroups 1\n", "{output:?}");
    let loading = compiled(dir.path(), LOOKUPS, &["-w", "-static"]);
    let output = looked_up(&loading);
    let loads = both(&output).contains("libnss_") || !output.status.success();
    assert!(loads, "the test shows nothing: {output:?}");
}
