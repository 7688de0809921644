//! The examples of `docs/openapi.json`, sent to a real daemon with a real store.

use std::path::Path;

use hyper::Method;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::support::agent::{Agent, TOKEN};
use crate::support::api_description::{METHODS, document, resolve};
use crate::support::filesystems::MountedFs;
use crate::support::http_server::{HttpRequest, exchange};
use crate::support::requirements::needs_root;
use crate::support::secret_files::write_secret;
use crate::support::sshd::{Builder, Sshd, User};

/// The values of this machine that replace those of the examples.
struct Scene {
    disk: MountedFs,
    sshd: Sshd,
    user: User,
    /// The store that the paths name, once it is added.
    store: Option<String>,
}

impl Scene {
    /// Replaces the directory, the login and the store of an example. A directory outside the
    /// allowed roots stays.
    fn localize(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match name.as_str() {
                        // The account is that of the examples.
                        "logInByAccount" => {}
                        "url" if value.as_str().is_some_and(|url| url.starts_with("/var/")) => {
                            *value = self.disk.path().to_str().unwrap().into();
                        }
                        "hostname" => *value = "127.0.0.1".into(),
                        "sshPort" => *value = self.sshd.address.port().into(),
                        "username" => *value = self.user.name.as_str().into(),
                        "password" => *value = self.user.password.as_str().into(),
                        "uuid" if is_documented_store(value) => {
                            *value = self.store.as_deref().unwrap().into();
                        }
                        _ => self.localize(value),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.localize(item)),
            _ => {}
        }
    }
}

/// Returns true if a value is the uuid of the store of the examples.
fn is_documented_store(value: &Value) -> bool {
    *value == document()["components"]["parameters"]["StoreUuid"]["example"]
}

/// A request of the document, with the status that it gets.
struct Example {
    name: String,
    method: &'static str,
    path: String,
    headers: String,
    body: Option<Value>,
    status: u64,
}

/// Returns the examples of an operation: one for each example of its body, or one without a body.
fn examples(path: &str, item: &Value, method: &'static str, scene: &Scene) -> Vec<Example> {
    let operation = &item[method];
    let (mut target, mut headers) = (path.to_owned(), String::new());
    let parameters = [&item["parameters"], &operation["parameters"]];
    let parameters = parameters.iter().filter_map(|list| list.as_array()).flatten();
    for parameter in parameters.map(resolve) {
        let (name, example) = (parameter["name"].as_str().unwrap(), &parameter["example"]);
        let example = match &scene.store {
            Some(store) if is_documented_store(example) => store.clone(),
            _ => example.as_str().unwrap_or_default().to_owned(),
        };
        match (parameter["in"].as_str().unwrap(), example.as_str()) {
            (_, "") => assert_ne!(parameter["required"], true, "{name} has no example"),
            ("path", value) => target = target.replace(&format!("{{{name}}}"), value),
            ("query", value) => target.push_str(&format!("?{name}={value}")),
            ("header", value) => headers.push_str(&format!("{name}: {value}\r\n")),
            other => panic!("{other:?}"),
        }
    }
    let example = |name: &str, body, headers, status| Example {
        name: format!("{} {name}", operation["operationId"].as_str().unwrap()),
        method,
        path: target.clone(),
        headers,
        body,
        status,
    };
    let bodies = &operation["requestBody"]["content"]["application/json"]["examples"];
    let Some(bodies) = bodies.as_object() else {
        // Calls that are not supported have no success.
        let status = if operation["responses"].get("200").is_some() { 200 } else { 503 };
        return vec![example("without a body", None, headers, status)];
    };
    let with_body = |(name, body): (&String, &Value)| {
        let mut value = body["value"].clone();
        scene.localize(&mut value);
        let own = body["x-headers"].as_object().into_iter().flatten();
        let own = own.map(|(name, value)| format!("{name}: {}\r\n", value.as_str().unwrap()));
        let headers = headers.clone() + &own.collect::<String>();
        example(name, Some(value), headers, body["x-status"].as_u64().unwrap())
    };
    let mut examples: Vec<Example> = bodies.iter().map(with_body).collect();
    // An example that fails may be a success that is repeated.
    examples.sort_by_key(|example| example.status);
    examples
}

async fn send(agent: &Agent, example: &Example) -> Value {
    let line = format!("{} {}", example.method.to_uppercase(), example.path);
    let body = example.body.as_ref().map(Value::to_string).unwrap_or_default();
    // A stream has no end.
    let headers = format!(
        "{}Accept: application/json\r\nContent-Type: application/json\r\n",
        example.headers
    );
    let request =
        HttpRequest { token: Some(TOKEN), headers: &headers, ..HttpRequest::new(&line, &body) };
    let stream = TcpStream::connect(agent.address()).await.unwrap();
    let response = exchange(stream, &request.bytes()).await;
    let status = u64::from(response.status);
    assert_eq!(status, example.status, "{}: {:#}", example.name, response.body);
    response.body
}

fn installed(dir: &Path) -> Agent {
    let agent = Agent::installed(dir, "[monitor]\ninterval = \"1h\"\n");
    // The examples have the SHA-512 of this password.
    let account = agent.cli(&["account", "add", "terraform"], "password\n");
    assert!(account.status.success(), "{account:?}");
    write_secret(agent.path("accounts"), account.stdout);
    let more = "[server]\nagent_allow = [\"127.0.0.0/8\"]\n";
    let settings = agent.settings().replacen("[server]\n", more, 1);
    let accounts = format!("[auth]\naccounts_file = {:?}\n", agent.path("accounts"));
    agent.configure(&settings.replacen("[auth]\n", &accounts, 1));
    agent
}

#[tokio::test]
async fn each_example_of_the_api_gets_its_documented_status() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    let mut scene = Scene { disk, sshd, user, store: None };
    let mut agent = installed(&scene.disk.path());
    agent.start();
    let paths = document()["paths"].as_object().unwrap();
    let image_stores = "/zstack/v1/backup-storage/image-store";
    for example in examples(image_stores, &paths[image_stores], "post", &scene) {
        let body = send(&agent, &example).await;
        if let Some(uuid) = body["inventory"]["uuid"].as_str() {
            scene.store = Some(uuid.to_owned());
        }
    }
    // The job of an example is read after that example, and the store is removed last.
    let is_late = |path: &str, method: &str| {
        path.contains("/api-jobs/")
            || (path, method) == ("/zstack/v1/backup-storage/{uuid}", "delete")
    };
    let (mut sent, mut late) = (0, Vec::new());
    for (path, item) in paths {
        for method in METHODS.into_iter().filter(|method| item.get(method).is_some()) {
            if (path.as_str(), method) == (image_stores, "post") {
                continue;
            }
            let all = examples(path, item, method, &scene);
            if is_late(path, method) {
                late.extend(all);
                continue;
            }
            for example in all {
                send(&agent, &example).await;
                sent += 1;
            }
        }
    }
    let methods: Vec<&str> = late.iter().map(|example| example.method).collect();
    assert_eq!(methods, ["get", "delete"]);
    for example in late {
        send(&agent, &example).await;
    }
    assert!(sent > 30, "only {sent} examples");
    let left = agent.ask(Method::GET, "/image-store", None).await;
    assert_eq!(left.body["inventories"], serde_json::json!([]));
}
