//! A master key that is lost and then restored.

use std::fs;

use serde_json::Value;

use crate::support::agent::Agent;
use crate::support::filesystems::MountedFs;
use crate::support::requirements::needs_root;
use crate::support::secret_files::write_secret;
use crate::support::sshd::{Builder, User};

#[tokio::test]
async fn a_lost_or_wrong_master_key_stops_nothing_but_the_login_and_comes_back() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), "[monitor]\ninterval = \"1h\"\n");
    let file = agent.path("key");
    let key = format!("[state]\nmaster_key_file = {file:?}\n");
    agent.configure(&agent.settings().replace("[state]\n", &key));
    write_secret(&file, [7; 32]);
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    assert!(agent.terminate().0.success());

    for wrong in [None, Some([9; 32])] {
        match wrong {
            None => fs::remove_file(&file).unwrap(),
            Some(key) => write_secret(&file, key),
        }
        let checked = agent.cli(&["check-config"], "");
        let output = String::from_utf8_lossy(&checked.stderr);
        assert_eq!(output.contains("state.master_key_file"), wrong.is_none(), "{output}");
        agent.start();
        let warned = agent.log().contains("state.master_key_file");
        assert!(warned, "the first of the two starts logs no warning");
        assert_eq!(agent.inventory(&uuid).await["uuid"], uuid, "listed all the same");
        let refused = agent.reconnect(&uuid).await;
        assert_eq!(refused.status, 503, "{}", refused.body);
        assert_eq!(reason(&refused.body), "secret_unreadable", "{}", refused.body);
        assert!(agent.terminate().0.success());
        assert_eq!(fs::read(&file).ok(), wrong.map(Vec::from), "the file was replaced");
    }

    write_secret(&file, [7; 32]);
    agent.start();
    assert_eq!(agent.reconnect(&uuid).await.status, 200);
}

fn reason(body: &Value) -> &Value {
    &body["error"]["cause"]["opaque"]["reason"]
}
