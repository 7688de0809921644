//! The role of `deploy/ansible`, which Ansible runs on booted machines.

use std::fs;

use serde_json::json;

use crate::fleet::{
    AGENT, CANARY, Fleet, SITE, files_of, furnish, keeps_its_secrets, package_in, password,
    settings, store, stores, unchanged,
};
use crate::machine::Machine;
use crate::support::requirements::run;

#[test]
fn many_nodes_are_installed_once_and_then_changed_one_after_another() {
    let mut fleet = Fleet::boot("2.16", &["node-1", "node-2"], json!({}));
    let package = package_in("0.0.1", &fleet.path("."));
    let vault = |token: &str| {
        json!({"vault_password": password(), "vault_token": token, "vault_metrics": format!("m-{CANARY}"),
               "vault_key": format!("key-{CANARY}"), "vault_tls": fs::read_to_string(fleet.path("tls.key")).unwrap()})
    };
    let (tls_key, certificate) = (fleet.path("tls.key"), fleet.path("tls.pem"));
    let request = format!(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
         -config /dev/null -subj /CN=node -addext subjectAltName=IP:127.0.0.1 \
         -addext basicConstraints=critical,CA:FALSE -keyout {} -out {} 2>&1 && \
         echo '# {CANARY}' >> {0}",
        tls_key.display(),
        certificate.display()
    );
    run("sh", &["-c", &request]);
    let own = json!({
        "node-1": {"imagestore_agent_stores": [store("/var/lib/imagestore")]},
        // A directory outside of the sandbox, and TLS.
        "node-2": {
            "imagestore_agent_stores": [store("/srv/far images")],
            "imagestore_agent_server_cert": fs::read_to_string(&certificate).unwrap(),
            "imagestore_agent_server_key": "{{ vault_tls }}",
        },
    });
    fleet.seal(&vault(&format!("first-{CANARY}")));
    let sealed_again = vault(&format!("second-{CANARY}"));
    fleet.set("imagestore_agent_package_file", package.into());
    fleet.set("imagestore_agent_settings", settings(json!({})));
    fleet.set("imagestore_agent_tokens", json!([{"name": "mn-1", "token": "{{ vault_token }}"}]));
    fleet.set("imagestore_agent_metrics_token", "{{ vault_metrics }}".into());
    fleet.set(
        "imagestore_agent_access_keys",
        json!([{"name": "terraform", "id": "abc", "secret": "{{ vault_key }}", "role": "read"}]),
    );
    furnish(fleet.machine("node-1"), "/var/lib/imagestore", &password());
    furnish(fleet.machine("node-2"), "/srv/far images", &password());

    // A dry run, and wrong variables.
    let before: Vec<_> = fleet.machines().map(files_of).collect();
    let dry = fleet.play(SITE, &own, &["--check", "--diff"]).succeeds();
    assert!(dry.output.contains("+allowed_roots = [\"/var/lib/imagestore\", \"/srv/far images\"]"));
    assert!(dry.output.contains("would start the daemon and add images"), "{}", dry.output);
    wrong_variables_are_explained(&fleet);
    fleet.machines().zip(&before).for_each(|(machine, before)| unchanged(machine, before));

    // The first run, and the second one.
    fleet.play(SITE, &own, &["--diff"]).succeeds();
    let listed: Vec<_> = fleet.machines().map(stores).collect();
    assert!(listed.iter().all(|stores| stores.ends_with("\tConnected")), "{listed:?}");
    let again = fleet.play(SITE, &own, &[]).succeeds();
    assert_eq!((again.changes("node-1"), again.changes("node-2")), (Some(0), Some(0)));

    // A changed setting restarts one after another, and one that is wrong ends the play.
    let processes = || -> Vec<_> { fleet_pids(&fleet) };
    let first = processes();
    let own_of_one = {
        let mut own = own.clone();
        own["node-2"]["imagestore_agent_settings"] =
            settings(json!({"monitor": {"interval": "11s"}}));
        own
    };
    fleet.play(SITE, &own_of_one, &[]).succeeds();
    let second = processes();
    assert_eq!(first[0], second[0], "nothing has changed there");
    assert_ne!(first[1], second[1], "the new setting is in use");
    fleet.set("imagestore_agent_settings", settings(json!({"monitor": {"interval": "0s"}})));
    let refused = fleet.play(SITE, &own, &[]).fails_with("monitor.interval");
    assert_eq!((refused.changes("node-1"), refused.changes("node-2")), (Some(0), None));
    assert_eq!(fleet_pids(&fleet), second);
    fleet.set("imagestore_agent_settings", settings(json!({"monitor": {"interval": "12s"}})));
    fleet.play(SITE, &own, &[]).succeeds();
    let third = fleet_pids(&fleet);
    assert!(third[0] != second[0] && third[1] != second[1]);
    let started = |name| -> u64 {
        fleet.machine(name).shows("ExecMainStartTimestampMonotonic").parse().unwrap()
    };
    assert!(started("node-1") < started("node-2"));

    // A changed token needs a reload only.
    fleet.seal(&sealed_again);
    fleet.play(SITE, &own, &[]).succeeds();
    assert_eq!(fleet_pids(&fleet), third);
    for (name, url) in
        [("node-1", "http"), ("node-2", "https --ca-file /etc/imagestore-agent/server.pem")]
    {
        let (scheme, flags) = url.split_once(' ').unwrap_or((url, ""));
        for (token, is_known) in [("first-", false), ("second-", true), ("m-", true)] {
            let list = format!(
                "printf {token}{CANARY} > /root/token && chmod 600 /root/token && \
                 {AGENT} list --url {scheme}://127.0.0.1:7811 --token-file /root/token {flags}"
            );
            let listed = fleet.machine(name).try_sh(&list);
            assert_eq!(listed.status.success(), is_known, "{name}: {token}: {listed:?}");
        }
    }
    assert_eq!(fleet.machines().map(stores).collect::<Vec<_>>(), listed);
    fleet.machines().for_each(keeps_its_secrets);
}

fn fleet_pids(fleet: &Fleet) -> Vec<String> {
    fleet.machines().map(|machine| machine.shows("MainPID")).collect()
}

/// Each of these ends the play on the first machine, before it changes anything there.
fn wrong_variables_are_explained(fleet: &Fleet) {
    let mut both = store("/var/lib/imagestore");
    both["private_key"] = "{{ vault_key }}".into();
    let mut misspelt = store("/var/lib/imagestore");
    misspelt["pasword"] = "{{ vault_password }}".into();
    let nameless =
        json!({"path": "/a", "hostname": "a", "username": "a", "password": "{{ vault_password }}"});
    let secret = json!("{{ vault_key ~ ':' }}");
    let bad_role = json!([{"name": "mn", "token": "{{ vault_token }}", "role": "boss"}]);
    let sentences = json!({
        "imagestore_agent_stores": [both, store("/a/../b")],
        "imagestore_agent_tokens": [{"name": "mn-1"}, {"name": "m n", "token": "{{ vault_token }}"}],
        "imagestore_agent_access_keys": [{"name": "terraform", "id": "b", "secret": secret}],
        "imagestore_agent_signing_secrets": ["{{ vault_key }}"],
        "imagestore_agent_server_key": "{{ vault_tls }}",
        "imagestore_agent_settings": {"listen": []},
    });
    for (variables, words) in [
        (
            sentences,
            &[
                "two of imagestore_agent_stores have one name or one path: images, images",
                "a store has either a password or a private_key: images",
                "without . or .. parts: /a/../b",
                "either a token or the sha256 of one: mn-1",
                "must not have: m n",
                "without white space and colons: terraform",
                "wrong is number 1",
                "belong together: imagestore_agent_server_cert and imagestore_agent_server_key",
                "no section is listen",
            ][..],
        ),
        (
            json!({"imagestore_agent_stores": [misspelt, nameless], "imagestore_agent_tokens": bad_role}),
            &["pasword", "missing required arguments: name", "got: boss"],
        ),
        (
            json!({"imagestore_agent_stores": "{{ vault_password }}"}),
            &["imagestore_agent_stores", "unable to convert to dict"],
        ),
    ] {
        let args = ["--limit", "node-1", "-e", &variables.to_string()];
        let play = fleet.play(SITE, &json!({}), &args);
        words.iter().fold(play, |play, words| play.fails_with(words));
    }
}

#[test]
fn the_stores_follow_the_variables() {
    let mut fleet = Fleet::boot("2.19", &["node-1"], json!({}));
    let package = package_in("0.0.1", &fleet.path("."));
    let machine = || fleet_machine(&fleet);
    furnish(machine(), "/var/lib/imagestore", &password());
    let key = fleet.path("store-key");
    let phrase = format!("phrase {CANARY}");
    run("ssh-keygen", &["-q", "-t", "ed25519", "-N", &phrase, "-f", key.to_str().unwrap()]);
    let public = fs::read_to_string(key.with_extension("pub")).unwrap();
    machine().sh(&format!(
        "useradd -m keyed && mkdir -m 700 ~keyed/.ssh && echo '{}' > ~keyed/.ssh/authorized_keys && \
         chown -R keyed: ~keyed && mkdir /srv/keyed && mount -t tmpfs keyed /srv/keyed",
        public.trim()
    ));
    let vault = |password: &str| {
        json!({"vault_password": password, "vault_phrase": phrase,
               "vault_store_key": fs::read_to_string(&key).unwrap()})
    };
    fleet.seal(&vault(&password()));
    let new_vault = vault(&format!("new {CANARY}"));
    let mut images = store("/var/lib/imagestore/images");
    images["create"] = true.into();
    let keyed = json!({"name": "keyed", "path": "/srv/keyed", "hostname": "127.0.0.1", "username": "keyed",
        "private_key": "{{ vault_store_key }}", "passphrase": "{{ vault_phrase }}"});
    fleet.set("imagestore_agent_package_file", package.into());
    fleet.set("imagestore_agent_settings", settings(json!({})));
    fleet.set("imagestore_agent_socket", true.into());
    fleet.set("imagestore_agent_doctor_wait", "5s".into());
    fleet.set("imagestore_agent_stores", json!([images, keyed]));
    let none = json!({});
    let changes = |fleet: &Fleet, args: &[&str]| {
        fleet.play(SITE, &none, args).succeeds().changes("node-1").unwrap()
    };
    changes(&fleet, &[]);
    assert_eq!(changes(&fleet, &[]), 0);
    let listed = stores(fleet_machine(&fleet));
    assert_eq!(listed.matches("\tConnected").count(), 2, "{listed}");
    assert_eq!(fleet_machine(&fleet).sh(&format!("systemctl is-active {AGENT}.socket")), "active");

    // Another name and description, which need no login.
    let mut renamed = images.clone();
    renamed["name"] = "renamed".into();
    renamed["description"] = "a text with \"quotes\"".into();
    fleet.set("imagestore_agent_stores", json!([renamed, keyed]));
    let dry = fleet.play(SITE, &none, &["--check"]).succeeds();
    assert!(
        dry.output.contains("would update the store renamed: --name=renamed"),
        "{}",
        dry.output
    );
    assert_eq!(stores(fleet_machine(&fleet)), listed);
    assert_eq!(changes(&fleet, &[]), 1);
    assert_eq!(stores(fleet_machine(&fleet)), listed.replace("\timages\t", "\trenamed\t"));

    // A new password that the server does not know yet is refused. The daemon keeps the old one.
    fleet.seal(&new_vault);
    fleet.play(SITE, &none, &[]).fails_with("credentials_refused");
    let connects = format!("{AGENT} reconnect renamed");
    fleet_machine(&fleet).sh(&connects);
    fleet_machine(&fleet).sh(&format!("echo 'storage:new {CANARY}' | chpasswd"));
    assert!(!fleet_machine(&fleet).try_sh(&connects).status.success());
    assert_eq!((changes(&fleet, &[]), changes(&fleet, &[])), (2, 0));
    fleet_machine(&fleet).sh(&connects);
    assert!(changes(&fleet, &["-e", "{\"imagestore_agent_renew_secrets\": true}"]) > 0);

    // A store that is not listed stays, with its directory, until its removal is requested.
    fleet.set("imagestore_agent_stores", json!([renamed]));
    assert_eq!(changes(&fleet, &[]), 0);
    fleet_machine(&fleet).sh(&format!("{AGENT} reconnect keyed"));
    // The daemon that is down cannot say that it has it. Its removal needs a daemon that runs.
    fleet_machine(&fleet).sh(&format!("systemctl stop {AGENT}.socket {AGENT}.service"));
    let remove = ["-e", "{\"imagestore_agent_remove_unlisted\": true}"];
    fleet.play(SITE, &none, &remove).fails_with("the daemon does not answer");
    changes(&fleet, &[]);
    fleet_machine(&fleet).sh(&format!("{AGENT} reconnect keyed"));
    assert_eq!(fleet_machine(&fleet).sh(&format!("systemctl is-active {AGENT}.socket")), "active");
    fleet.set("imagestore_agent_remove_unlisted", true.into());
    assert!(changes(&fleet, &[]) > 0);
    let left = stores(fleet_machine(&fleet));
    assert!(left.contains("renamed") && left.lines().count() == 1, "{left}");
    fleet_machine(&fleet).sh("test -e /srv/keyed/.imagestore-agent/identity.json");

    // A run that ended before the restart is made up for.
    fleet_machine(&fleet).sh("install -m 600 /dev/null /etc/imagestore-agent/.ansible/restart-due");
    let pid = fleet_machine(&fleet).shows("MainPID");
    assert!(changes(&fleet, &[]) > 0);
    assert_ne!(fleet_machine(&fleet).shows("MainPID"), pid);
    // A finding of doctor fails the run, unless its check is to be ignored.
    fleet.set("imagestore_agent_settings", settings(json!({"storage": {"reserved": "1GiB"}})));
    fleet.play(SITE, &none, &[]).fails_with("space of renamed: ");
    fleet.set("imagestore_agent_doctor_ignore", json!(["space"]));
    assert_eq!(changes(&fleet, &[]), 0);
}

fn fleet_machine(fleet: &Fleet) -> &Machine {
    fleet.machine("node-1")
}
