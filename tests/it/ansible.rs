//! The role of `deploy/ansible`, without a machine to run it on. `tests/deploy` runs it on booted
//! ones.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use imagestore_agent::settings::Settings;
use serde_json::{Value, json};
use toml::de::{DeTable, DeValue};

use crate::support::agent::PROGRAM;
use crate::support::requirements::{is_installed, run};
use crate::support::secret_files::write_secret;
use crate::support::test_ca::TestCa;

const VERSIONS: [&str; 2] = ["2.16", "2.19"];
const ROLE: &str = "deploy/ansible/roles/imagestore_agent";

fn in_tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: &str) -> String {
    fs::read_to_string(in_tree(path)).unwrap()
}

/// Returns `ansible-playbook` of a version, or `None` if it is not installed, which fails in CI.
fn ansible(version: &str, test: &str) -> Option<PathBuf> {
    let program = in_tree(&format!("target/ansible-{version}/bin/ansible-playbook"));
    is_installed(&program, test).then_some(program)
}

fn play(program: &Path, home: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(args).current_dir(in_tree("deploy/ansible")).stdin(Stdio::null());
    command.env_clear().env("HOME", home).env("LANG", "C.UTF-8").env("ANSIBLE_NOCOLOR", "1");
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output().unwrap()
}

#[test]
fn ansible_can_read_both_plays() {
    fn here() {}
    for version in VERSIONS {
        let Some(program) = ansible(version, std::any::type_name_of_val(&here)) else { return };
        let home = tempfile::tempdir().unwrap();
        for playbook in ["site.yml", "upgrade.yml"] {
            let args = ["-i", "inventory.example.yml", "--syntax-check", playbook];
            let output = play(&program, home.path(), &args);
            assert!(output.status.success(), "{version}: {playbook}: {output:?}");
            let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(complaints, "", "{version}: {playbook}");
        }
    }
}

/// Returns the words of the text that are public variables of the role.
fn variables(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("imagestore_agent_") && !word.contains("__"))
        .collect()
}

#[test]
fn the_defaults_the_descriptions_and_the_documents_have_the_same_variables() {
    let defaults = text(&format!("{ROLE}/defaults/main.yml"));
    let of_lines = |text: &str, start: &str| -> BTreeSet<String> {
        let names = text.lines().filter_map(|line| line.strip_prefix(start)?.split_once(':'));
        let names = names.filter(|(name, _)| name.starts_with("imagestore_agent_"));
        names.map(|(name, _)| name.to_owned()).collect()
    };
    let defaults = of_lines(&defaults, "");
    assert!(defaults.len() > 20, "{defaults:?}");
    let described = of_lines(&text(&format!("{ROLE}/meta/argument_specs.yml")), "      ");
    assert_eq!(described, defaults);
    let documented = text("deploy/ansible/README.md");
    let rows = documented.lines().filter(|line| line.starts_with("| `"));
    let documented: BTreeSet<_> =
        rows.flat_map(|row| variables(row.split('|').nth(1).unwrap())).map(str::to_owned).collect();
    assert_eq!(documented, defaults);

    // A misspelt variable would be undefined in the first run that needs it.
    let of_plays = ["imagestore_agent_hosts", "imagestore_agent_serial"];
    for file in files_below(&in_tree("deploy/ansible")) {
        let text = fs::read_to_string(&file).unwrap();
        let known = |name: &&str| defaults.contains(*name) || of_plays.contains(name);
        let unknown: Vec<_> = variables(&text).into_iter().filter(|name| !known(name)).collect();
        assert!(unknown.is_empty(), "{}: {unknown:?}", file.display());
    }
}

/// Returns the files of a folder and of the folders in it.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// Returns the documented settings with all optional keys active, and with the files that they name
/// in this folder.
fn every_setting(dir: &Path) -> String {
    let on = |line: &str| match line.strip_prefix('#') {
        Some(key) if !key.starts_with(' ') && !key.starts_with("url = ") => format!("{key}\n"),
        _ => format!("{line}\n"),
    };
    let place = format!("{}/", dir.display());
    let text: String = text("config/agent.toml").lines().map(on).collect();
    let text = text.replace("/etc/imagestore-agent/", &place);
    text.replace("/var/lib/imagestore-agent", &format!("{place}state"))
}

/// Writes the files that [`every_setting`] names.
fn write_files(dir: &Path) {
    let ca = TestCa::new();
    let hash = "0".repeat(64);
    let (cert, key) = ca.issue("node.example");
    for (name, from) in
        [("server.pem", &cert), ("server.key", &key), ("client.pem", &cert), ("client.key", &key)]
    {
        write_secret(dir.join(name), fs::read(from).unwrap());
    }
    for name in ["client-ca.pem", "management-ca.pem"] {
        write_secret(dir.join(name), fs::read(ca.certificate()).unwrap());
    }
    write_secret(dir.join("tokens"), format!("mn-1:{hash}:read\n"));
    write_secret(dir.join("access-keys"), "terraform:key-id:key-secret\n");
    write_secret(dir.join("clients"), "mn.example\n");
    write_secret(dir.join("signing-secret"), format!("whsec_{}\n", "a".repeat(40)));
    write_secret(dir.join("master-key"), [7; 32]);
    let mut command = Command::new(PROGRAM);
    command.args(["account", "add", "terraform"]);
    let mut adding = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    adding.stdin.take().unwrap().write_all(b"a password").unwrap();
    write_secret(dir.join("accounts"), adding.wait_with_output().unwrap().stdout);
}

/// Reads a TOML file.
fn parse(file: &Path) -> Value {
    fn value(of: &DeValue<'_>) -> Value {
        match of {
            DeValue::String(text) => text.as_ref().into(),
            DeValue::Integer(digits) => digits.as_str().parse::<i64>().unwrap().into(),
            DeValue::Float(digits) => digits.as_str().parse::<f64>().unwrap().into(),
            DeValue::Boolean(flag) => (*flag).into(),
            DeValue::Array(items) => items.iter().map(|item| value(item.get_ref())).collect(),
            DeValue::Table(items) => table(items),
            DeValue::Datetime(_) => panic!("no setting is a date"),
        }
    }
    fn table(of: &DeTable<'_>) -> Value {
        let mut entries = serde_json::Map::new();
        for (key, item) in of {
            entries.insert(key.get_ref().to_string(), value(item.get_ref()));
        }
        Value::Object(entries)
    }
    let text = fs::read_to_string(file).unwrap();
    table(DeTable::parse(&text).unwrap().get_ref())
}

/// Renders the settings as the role does. The program verifies the same text before it is written.
fn render(program: &Path, dir: &Path, settings: &Value) -> PathBuf {
    let (playbook, rendered) = (dir.join("render.yml"), dir.join("agent.toml"));
    let verified = dir.join("verified.toml");
    let role = in_tree(ROLE);
    let files = ["defaults/main.yml", "vars/main.yml"].map(|file| role.join(file));
    std::os::unix::fs::symlink(role.join("templates"), dir.join("templates")).unwrap();
    let tasks = json!([
        {"ansible.builtin.template": {"src": "agent.toml.j2", "dest": rendered, "mode": "0644"}},
        {"ansible.builtin.copy": {"content": "{{ imagestore_agent__text }}", "dest": verified, "mode": "0644"}},
    ]);
    let plays = json!([{
        "hosts": "localhost", "connection": "local", "gather_facts": false, "vars_files": files,
        "tasks": tasks,
    }]);
    fs::write(&playbook, plays.to_string()).unwrap();
    let variables = json!({"imagestore_agent_settings": settings}).to_string();
    let args = ["-i", "localhost,", "-e", &variables, playbook.to_str().unwrap()];
    let output = play(program, dir, &args);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read_to_string(verified).unwrap(), fs::read_to_string(&rendered).unwrap());
    rendered
}

#[test]
fn the_role_writes_every_setting_as_the_daemon_reads_it() {
    fn here() {}
    for version in VERSIONS {
        let Some(program) = ansible(version, std::any::type_name_of_val(&here)) else { return };
        let dir = tempfile::tempdir().unwrap();
        write_files(dir.path());
        let documented = dir.path().join("documented.toml");
        fs::write(&documented, every_setting(dir.path())).unwrap();
        let values = parse(&documented);
        let sections = text("config/agent.toml").matches("\n[").count();
        assert_eq!(
            values.as_object().unwrap().len(),
            sections,
            "a section of the file is missing here"
        );
        let rendered = render(&program, dir.path(), &values);
        let written = parse(&rendered);
        assert_eq!(written, values);
        let load =
            |file: &Path| Settings::load(Some(file), Vec::<(String, String)>::new()).unwrap();
        assert_eq!(load(&rendered), load(&documented));
        let mut check = Command::new(PROGRAM);
        let checked = check.args(["check-config", "--config"]).arg(&rendered).output().unwrap();
        assert!(checked.status.success(), "{checked:?}");
    }
}

#[test]
fn the_role_escapes_what_a_setting_may_contain() {
    fn here() {}
    for version in VERSIONS {
        let Some(program) = ansible(version, std::any::type_name_of_val(&here)) else { return };
        let dir = tempfile::tempdir().unwrap();
        let odd = "a \"quote\", a \\ backslash, a 'quote', { braces }, \u{1f5bc} 画, #, \t, \u{7f}\n[section]";
        let settings = json!({
            "section": {"text": odd, "list": [odd, odd], "yes": true, "word": "true", "none": null,
                "number": 7, "ratio": 0.85, "empty": [], "odd key.": 1,
                "table": {"below": {"deep": odd}}, "tables": [{"a": 1, "b": [odd]}], "nested": [[odd], []]},
            "other": {"key": "10s"},
        });
        let rendered = render(&program, dir.path(), &settings);
        let written = parse(&rendered);
        let mut expected = settings.clone();
        expected["section"].as_object_mut().unwrap().remove("none");
        assert_eq!(written, expected);
    }
}

/// Runs tasks on this machine, as if its packages were those of this manager.
fn run_tasks(program: &Path, dir: &Path, manager: &str, variables: &Value, tasks: Value) -> Output {
    let playbook = dir.join("tasks.yml");
    let mut all = vec![
        json!({"ansible.builtin.set_fact": {"pkg_mgr": manager, "cacheable": true}, "name": "Set the manager"}),
    ];
    all.extend(tasks.as_array().unwrap().clone());
    let files = ["defaults/main.yml", "vars/main.yml"].map(|file| in_tree(ROLE).join(file));
    let plays = json!([{
        "hosts": "localhost", "connection": "local", "gather_facts": false, "vars_files": files, "tasks": all,
    }]);
    fs::write(&playbook, plays.to_string()).unwrap();
    let variables = variables.to_string();
    play(program, dir, &["-i", "localhost,", "-e", &variables, playbook.to_str().unwrap()])
}

#[test]
fn the_role_refuses_an_earlier_version_of_each_kind_of_package() {
    fn here() {}
    let here = std::any::type_name_of_val(&here);
    if !is_installed(Path::new("/usr/bin/rpm"), here) {
        return;
    }
    for version in VERSIONS {
        let Some(program) = ansible(version, here) else { return };
        let dir = tempfile::tempdir().unwrap();
        let order = in_tree(ROLE).join("tasks/order.yml");
        for (manager, cases) in [
            (
                "dnf",
                &[
                    ("1.0.1-1", "1.0-2", true),
                    ("1.0-2", "1.0.1-1", false),
                    ("1.0-1", "1.0-10", false),
                    ("1:0.9-1", "1.0-1", true),
                    ("2.0-1", "1:0.1-1", false),
                    ("0.9", "1.0-1", false),
                ][..],
            ),
            ("apt", &[("1.0-10", "1.0-2", true), ("1.0", "1.1", false)]),
        ] {
            let tasks = cases.iter().map(|(candidate, installed, _)| {
                json!({
                    "vars": {"imagestore_agent__candidate": candidate, "imagestore_agent__installed": installed},
                    "block": [{"ansible.builtin.include_tasks": order}],
                    "rescue": [{"ansible.builtin.debug": {"msg": "{{ ansible_failed_result.msg }}"}}],
                })
            });
            let output = run_tasks(&program, dir.path(), manager, &json!({}), tasks.collect());
            assert!(output.status.success(), "{version}: {output:?}");
            let shown = String::from_utf8_lossy(&output.stdout).into_owned();
            for (candidate, installed, is_later) in cases {
                let refusal =
                    format!("version {installed} is installed, and {candidate} is earlier");
                assert_eq!(shown.contains(&refusal), !is_later, "{version}: {shown}");
            }
        }
    }
}

#[test]
fn the_role_reads_and_asks_a_package_of_rpm_that_has_another_name() {
    fn here() {}
    let here = std::any::type_name_of_val(&here);
    if !["rpmbuild", "cpio"]
        .iter()
        .all(|name| is_installed(&Path::new("/usr/bin").join(name), here))
    {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let script = "#!/bin/sh\ncat > \"${0%/*}/../../../asked\"\n";
    fs::write(dir.path().join("program"), script).unwrap();
    let spec = format!(
        "Name: imagestore-agent\nVersion: 2.0\nRelease: 3\nSummary: x\nLicense: x\nBuildArch: noarch\n\
         %description\nx\n%install\n\
         install -D -m 755 {}/program %{{buildroot}}/usr/bin/imagestore-agent\n\
         %files\n/usr/bin/imagestore-agent\n",
        dir.path().display()
    );
    fs::write(dir.path().join("agent.spec"), spec).unwrap();
    let top = format!("_topdir {}", dir.path().display());
    run(
        "rpmbuild",
        &["-bb", "--quiet", "-D", &top, dir.path().join("agent.spec").to_str().unwrap()],
    );
    let package = dir.path().join("renamed.rpm");
    fs::copy(dir.path().join("RPMS/noarch/imagestore-agent-2.0-3.noarch.rpm"), &package).unwrap();
    for version in VERSIONS {
        let Some(program) = ansible(version, here) else { return };
        let place = dir.path().join(version);
        fs::create_dir(&place).unwrap();
        let variables = json!({
            "imagestore_agent_package_file": package, "imagestore_agent__package_place": {"path": place},
            "imagestore_agent__installed": "1.0-1", "imagestore_agent_settings": {"monitor": {"interval": "7s"}},
        });
        let tasks = json!([
            {"ansible.builtin.include_role": {"name": in_tree(ROLE), "tasks_from": "candidate"}},
            {"ansible.builtin.debug": {"msg": "the candidate is {{ imagestore_agent__candidate }}"}},
        ]);
        let output = run_tasks(&program, dir.path(), "dnf", &variables, tasks);
        assert!(output.status.success(), "{version}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("the candidate is 2.0-3"));
        assert!(fs::read_to_string(place.join("asked")).unwrap().contains("interval = \"7s\""));
    }
}

#[test]
fn the_role_keeps_directories_of_a_daemon_that_is_down_and_finds_faults_of_secrets() {
    fn here() {}
    for version in VERSIONS {
        let Some(program) = ansible(version, std::any::type_name_of_val(&here)) else { return };
        let dir = tempfile::tempdir().unwrap();
        let variables = dir.path().join("variables.yml");
        let text = r#"
secret: !unsafe 'pa{{ss{%x'
present: |
  [storage]
  allowed_roots = ["/var/lib/imagestore", "/srv/a \"q\", b", "/srv/c"]
imagestore_agent__held: {rc: 1}
imagestore_agent__unheld: {content: "{{ present | b64encode }}"}
imagestore_agent_stores: [{name: z, path: /srv/z, hostname: h, username: u}]
imagestore_agent_tokens: [{name: mn-1, token: "abc\n"}, {name: mn-2, token: abc}]
imagestore_agent_access_keys: [{name: "k1", id: abc, secret: "{{ secret }}"}, {name: "k2", id: "abc\n", secret: "s"}]
"#;
        fs::write(&variables, text).unwrap();
        let shown = dir.path().join("shown");
        let content = "{{ [imagestore_agent__roots, imagestore_agent__faults, imagestore_agent__contents.access_keys] \
                       | to_json }}";
        let tasks = json!([
            {"ansible.builtin.include_vars": variables},
            {"ansible.builtin.copy": {"content": content, "dest": shown, "mode": "0600"}},
        ]);
        let output = run_tasks(&program, dir.path(), "apt", &json!({}), tasks);
        assert!(output.status.success(), "{version}: {output:?}");
        let shown: Value = serde_json::from_str(&fs::read_to_string(shown).unwrap()).unwrap();
        assert_eq!(shown[0], json!(["/var/lib/imagestore", "/srv/a \"q\", b", "/srv/c", "/srv/z"]));
        let faults = shown[1].to_string();
        assert!(
            faults.contains("outside of ASCII: mn-1\"") && faults.contains("colons: k2\""),
            "{faults}"
        );
        assert_eq!(shown[2].as_str().unwrap().lines().next(), Some("k1:abc:pa{{ss{%x:operate"));
    }
}
