//! Text files that begin with a byte order mark, as some editors save them.

use std::fs;
use std::path::Path;

use hyper::Method;

use crate::support::agent::{Agent, TOKEN};
use crate::support::secret_files::write_secret;

#[tokio::test]
async fn a_byte_order_mark_before_settings_lines_or_secrets_is_passed_over() {
    let mut agent = Agent::installed(Path::new("/var/lib/imagestore"), "");
    let secret = agent.path("signing-secret");
    let signing = "\u{feff}whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\r\n";
    write_secret(&secret, signing);
    let callback =
        format!("[callback]\nurls = [\"http://127.0.0.1:9/\"]\nsigning_secret_file = {secret:?}\n");
    agent.configure(&format!("\u{feff}{}{callback}", agent.settings()));
    let tokens = fs::read_to_string(agent.path("tokens")).unwrap();
    write_secret(agent.path("tokens"), format!("\u{feff}{}", tokens.replace('\n', "\r\n")));
    assert!(agent.cli(&["check-config"], "").status.success());
    agent.start();
    assert_eq!(agent.ask(Method::GET, "/image-store", None).await.status, 200);
    write_secret(agent.path("token"), format!("\u{feff}{TOKEN}\r\n"));
    let (url, file) = (format!("http://{}", agent.address()), agent.path("token"));
    let listed = agent.cli(&["list", "--url", &url, "--token-file", file.to_str().unwrap()], "");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    assert!(agent.terminate().0.success());
}
