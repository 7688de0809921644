//! Every recorded call of ZStack's SDKs, sent to the daemon in an order in which clients could have
//! sent them, and the answer that each client needs.

use std::collections::BTreeSet;
use std::path::Path;

use jiff::Timestamp;
use jiff::fmt::strtime;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::http::access_keys::signed_headers;
use crate::support::agent::Agent;
use crate::support::filesystems::MountedFs;
use crate::support::golden_request::{GoldenRequest, RECORDED_ZONE};
use crate::support::http_server::{HttpRequest, HttpResponse, exchange};
use crate::support::requirements::needs_root;
use crate::support::secret_files::write_secret;
use crate::support::sshd::{Builder, Sshd, User};

/// The class of a store in a schema.
const CLASS: &str = "org.zstack.storage.backup.imagestore.ImageStoreBackupStorageInventory";
/// The access key of the recorded requests, with a secret of this test.
const KEY: (&str, &str) = ("AKIDxxxxxxxxxxxxxxxx", "WbRgM5AZpL0jUnS2cQ7xVtKe1HyDf9oNu3rTqX6i");
/// A session that the daemon does not know.
const UNKNOWN_SESSION: &str = "8a7b6c5d4e3f2a1b8a7b6c5d4e3f2a1b";
/// Stands for the uuid of the store in an expected value.
const STORE: &str = "STORE";
/// No probe of the monitor makes a commit or a login.
const QUIET: &str = "[monitor]\ninterval = \"1h\"\nauto_reconnect = false\n";

/// The recorded requests that no row replays, each with the reason.
const NOT_REPLAYED: [(&str, &str); 1] = [(
    "java-reconnect-with-web-hook",
    "tests/it/http/hooks.rs sends it with a receiver of its own",
)];

/// The path of the result to the client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Route {
    /// The answer of the request.
    Answer,
    /// A job, because the call failed.
    Job,
    /// A job, because the SSH server hangs until the first poll.
    SlowJob,
    /// Either, because the time limit of the answer is short.
    Any,
}

/// A recorded request and the result that the client needs.
struct Row {
    file: &'static str,
    route: Route,
    status: u16,
    /// Values by their JSON pointers. `null` is a value that must be absent.
    values: Vec<(&'static str, Value)>,
}

fn row<const N: usize>(
    file: &'static str,
    route: Route,
    status: u16,
    values: [(&'static str, Value); N],
) -> Row {
    Row { file, route, status, values: values.into() }
}

/// A row of a call that succeeds with the inventory of the store.
fn connected<const N: usize>(
    file: &'static str,
    route: Route,
    more: [(&'static str, Value); N],
) -> Row {
    let inventory = [
        ("/inventory/uuid", json!(STORE)),
        ("/inventory/type", json!("ImageStoreBackupStorage")),
        ("/inventory/status", json!("Connected")),
        ("/inventory/sshPort", json!("PORT")),
        ("/inventory/password", Value::Null),
    ];
    Row { file, route, status: 200, values: inventory.into_iter().chain(more).collect() }
}

/// A row of an add that the SSH server refuses.
fn refused(file: &'static str) -> Row {
    let values = [
        ("/error/code", json!("SYS.1002")),
        ("/error/cause/code", json!("BS.1500")),
        ("/error/cause/cause/opaque/reason", json!("credentials_refused")),
        ("/inventory", Value::Null),
    ];
    row(file, Route::Job, 503, values)
}

fn unknown_uuid(file: &'static str) -> Row {
    row(file, Route::Job, 503, [("/error/code", json!("SYS.1003"))])
}

fn unsupported(file: &'static str, route: Route, call: &'static str) -> Row {
    let values = [("/error/code", json!("SYS.1014")), ("/error/opaque/call", json!(call))];
    row(file, route, 503, values)
}

fn empty(file: &'static str) -> Row {
    // A 204 breaks the SDK for Java.
    row(file, Route::Answer, 200, [("", json!({}))])
}

/// The calls while each login is answered at once.
fn rows() -> Vec<Row> {
    use Route::{Answer, Job};
    let version = || [("/version", json!(env!("CARGO_PKG_VERSION")))];
    let account = || [("/inventory/userType", json!("Account"))];
    let valid = |is_valid: bool| [("", json!({"valid": is_valid}))];
    let of_class = || [("/schema/inventory", json!(CLASS))];
    let zones = || [("/inventories/0/uuid", json!(RECORDED_ZONE)), ("/inventories/1", Value::Null)];
    let one_store = || [("/inventories/0/uuid", json!(STORE)), ("/inventories/1", Value::Null)];
    let no_store = || [("/inventories", json!([]))];
    let capacity = || [("/totalCapacity", json!(4 << 20)), ("/inventories", Value::Null)];
    let attached = |zones: Value| [("/inventory/attachedZoneUuids", zones)];
    vec![
        row("java-version", Answer, 200, version()),
        row("go-version", Answer, 200, version()),
        row("java-login", Answer, 200, account()),
        row("go-login", Answer, 200, account()),
        row("java-validate-session", Answer, 200, valid(true)),
        row("go-validate-session", Answer, 200, valid(true)),
        row("java-wrong-session", Answer, 401, [("/error/code", json!("ID.1001"))]),
        refused("java-add-wrong-password"),
        refused("go-add-2"),
        connected(
            "java-add",
            Answer,
            [
                ("/inventory/name", json!("java one")),
                ("/inventory/description", json!("d")),
                ("/schema", json!({"inventory": CLASS})),
            ],
        ),
        connected(
            "go-add",
            Answer,
            [("/inventory/name", json!("go one")), ("/schema", Value::Null)],
        ),
        connected("java-reconnect", Answer, of_class()),
        connected("java-reconnect-with-tags-timeout-and-request-ip", Answer, of_class()),
        connected("java-access-key", Answer, of_class()),
        connected("java-reconnect-generic", Answer, of_class()),
        connected("go-reconnect", Answer, [("/schema", Value::Null)]),
        unknown_uuid("java-unknown-uuid"),
        unknown_uuid("go-reconnect-2"),
        connected(
            "java-update-name",
            Answer,
            [
                ("/inventory/name", json!("java renamed")),
                ("/inventory/description", json!("new")),
                ("/schema", json!({"inventory": CLASS})),
            ],
        ),
        connected("java-update-login", Answer, of_class()),
        connected("java-update-generic", Answer, [("/inventory/name", json!("generic name"))]),
        connected("go-update", Answer, [("/inventory/name", json!("go renamed"))]),
        row("go-access-key", Answer, 200, [("/inventories/1/status", json!("Connected"))]),
        row("java-query-image-store", Answer, 200, one_store()),
        row(
            "java-query-image-store-all",
            Answer,
            200,
            [("", json!({"inventories": [], "total": 0, "schema": {}}))],
        ),
        row("java-query-count", Answer, 200, [("", json!({"total": 2}))]),
        row(
            "java-query-generic",
            Answer,
            200,
            [("/schema", json!({"inventories[0]": CLASS, "inventories[1]": CLASS}))],
        ),
        row("go-query", Answer, 200, one_store()),
        row("go-query-2", Answer, 200, no_store()),
        row("go-query-3", Answer, 200, no_store()),
        row("go-queryany", Answer, 200, [("/inventories/1/hostname", json!("127.0.0.1"))]),
        row(
            "go-page",
            Answer,
            200,
            [
                ("/total", json!(2)),
                ("/inventories/0/name", json!("go renamed")),
                ("/inventories/1", Value::Null),
            ],
        ),
        row("go-listall", Answer, 200, [("/total", json!(2)), ("/inventories/2", Value::Null)]),
        row("go-get", Answer, 200, one_store()),
        row("go-get-2", Answer, 200, no_store()),
        row("go-getany", Answer, 200, one_store()),
        row("java-types", Answer, 200, [("/types", json!(["ImageStoreBackupStorage"]))]),
        row("java-capacity", Answer, 200, capacity()),
        // The two stores share a filesystem, which counts once.
        row("java-capacity-all", Answer, 200, capacity()),
        connected("java-attach-zone", Answer, attached(json!([RECORDED_ZONE]))),
        connected("go-attach", Answer, attached(json!([RECORDED_ZONE]))),
        row("java-zones", Answer, 200, zones()),
        row("go-zones", Answer, 200, zones()),
        connected("java-detach-zone", Answer, attached(json!([]))),
        connected("java-disable", Answer, [("/inventory/state", json!("Disabled"))]),
        connected("go-disable", Answer, [("/inventory/state", json!("Disabled"))]),
        unsupported("java-quota", Job, "setImageStoreBackupStorageQuota"),
        unsupported("java-trash", Answer, "getTrashOnBackupStorage"),
        unsupported("java-images", Answer, "getImagesFromImageStoreBackupStorage"),
        unsupported("java-reclaim", Job, "reclaimSpaceFromImageStore"),
        unsupported("go-reclaim", Job, "reclaimSpaceFromImageStore"),
        empty("java-delete"),
        empty("java-delete-again"),
        empty("go-delete"),
        empty("go-delete-2"),
        row("java-query-count", Answer, 200, [("", json!({"total": 0}))]),
        empty("java-logout"),
        empty("go-logout"),
        row("java-validate-session", Answer, 200, valid(false)),
        row("java-reconnect", Answer, 401, [("/error/code", json!("ID.1001"))]),
    ]
}

/// The calls while the SSH server hangs.
fn slow_rows() -> Vec<Row> {
    use Route::{Answer, Any, SlowJob};
    vec![
        row("java-login", Answer, 200, []),
        connected("java-hung-add", SlowJob, [("/inventory/name", json!("hang"))]),
        connected("java-hung-reconnect-sshd-hung-readtimeout-60-s", SlowJob, []),
        connected("java-hung-reconnect-sshd-hung-sdk-as-it-comes", SlowJob, []),
        connected("java-hung-reconnect-sshd-back", Any, []),
        // A client without the context path calls another path, which only a setting serves.
        row("java-hung-context-path-unset", Answer, 404, [("/error/code", json!("SYS.1003"))]),
        row("java-hung-delete", Any, 200, [("", json!({}))]),
    ]
}

/// The two SDKs.
#[derive(Clone, Copy)]
enum Sdk {
    Java,
    Go,
}

/// The daemon with an account, an access key and a disk, and what the clients know.
struct Scene {
    agent: Agent,
    disk: MountedFs,
    sshd: Sshd,
    user: User,
    sessions: [String; 2],
    stores: [String; 2],
}

impl Scene {
    fn set(more: &str) -> Self {
        Self::set_with_server("", more)
    }

    /// Sets the scene with more settings of the section `server`, and more at the end.
    fn set_with_server(server: &str, more: &str) -> Self {
        let (disk, sshd, user) =
            (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
        user.set_password("secret");
        let mut agent = Agent::installed(&disk.path(), &format!("{QUIET}{more}"));
        let account = agent.cli(&["account", "add", "admin", "--role", "admin"], "password\n");
        assert!(account.status.success(), "{account:?}");
        write_secret(agent.path("accounts"), account.stdout);
        write_secret(agent.path("access-keys"), format!("sdk:{}:{}\n", KEY.0, KEY.1));
        let files = format!(
            "[auth]\naccounts_file = {:?}\naccess_keys_file = {:?}\n",
            agent.path("accounts"),
            agent.path("access-keys")
        );
        let settings = agent.settings().replace("[auth]\n", &files);
        agent.configure(&settings.replace("[server]\n", &format!("[server]\n{server}")));
        for dir in ["java", "go"] {
            std::fs::create_dir(disk.path().join(dir)).unwrap();
        }
        agent.start();
        Self { agent, disk, sshd, user, sessions: Default::default(), stores: Default::default() }
    }

    /// Returns the request with the values of this scene in place of the recorded ones.
    fn request(&self, file: &str, sdk: Sdk) -> GoldenRequest {
        let session = match file {
            "java-wrong-session" => UNKNOWN_SESSION,
            _ => &self.sessions[sdk as usize],
        };
        let dir = self.disk.path().join(["java", "go"][sdk as usize]);
        let port = self.sshd.address.port().to_string();
        let request = GoldenRequest::read(file, session)
            .of_store(&self.stores[sdk as usize])
            .replacing("/var/lib/imagestore/a", dir.to_str().unwrap())
            .replacing("\"storage\"", &format!("{:?}", self.user.name))
            .replacing("50773", &port);
        match file.ends_with("-access-key") {
            true => signed(request, sdk),
            false => request,
        }
    }

    /// Sends the request of a row, and returns the result of its job, or the answer itself.
    async fn result(&self, row: &Row, sdk: Sdk) -> HttpResponse {
        let (address, request) = (self.agent.address(), self.request(row.file, sdk));
        if row.route == Route::SlowJob {
            self.sshd.freeze();
        }
        let answer = request.send_once_to(address).await;
        expect_readable(row.file, &answer);
        let is_job = answer.status == 202;
        match row.route {
            Route::Answer => assert!(!is_job, "{}: {answer:?}", row.file),
            Route::Job | Route::SlowJob => assert!(is_job, "{}: {answer:?}", row.file),
            Route::Any => {}
        }
        if !is_job {
            return answer;
        }
        let location = answer.body["location"].as_str().unwrap();
        let (start, job) = location.rsplit_once('/').unwrap();
        assert_eq!(start, format!("http://{address}/zstack/v1/api-jobs"), "{}", row.file);
        let is_digit = |c: char| matches!(c, '0'..='9' | 'a'..='f');
        assert!(job.len() == 32 && job.chars().all(is_digit), "{}: {job}", row.file);
        assert!(request.header("X-Job-UUID").is_none_or(|sent| sent == job), "{}", row.file);
        assert!(answer.body["apiTimeout"].is_u64(), "{}: {answer:?}", row.file);
        if row.route == Route::SlowJob {
            let polled = GoldenRequest::poll(&answer, address).await;
            assert_eq!((polled.status, &polled.body), (202, &json!({})), "{}", row.file);
            // OkHttp sends the same request again after a lost connection.
            let repeated = request.send_once_to(address).await;
            assert_eq!(repeated.body["location"], location, "{}", row.file);
            self.sshd.thaw();
        }
        let ended = GoldenRequest::until_ended(&answer, address).await;
        expect_readable(row.file, &ended);
        ended
    }

    /// Sends the requests of the rows in order.
    async fn replay(&mut self, rows: Vec<Row>) {
        for row in rows {
            let file = row.file;
            let sdk = if file.starts_with("java-") { Sdk::Java } else { Sdk::Go };
            let found = self.result(&row, sdk).await;
            assert_eq!(found.status, row.status, "{file}: {found:?}");
            let uuid = || found.body["inventory"]["uuid"].as_str().unwrap().to_owned();
            if file.ends_with("-login") && found.body["inventory"]["userType"].is_string() {
                self.sessions[sdk as usize] = uuid();
            }
            if file.ends_with("-add") {
                self.stores[sdk as usize] = uuid();
            }
            for (pointer, value) in &row.values {
                let wanted = match value.as_str() {
                    Some(STORE) => json!(self.stores[sdk as usize]),
                    Some("PORT") => json!(self.sshd.address.port()),
                    _ => value.clone(),
                };
                let value = found.body.pointer(pointer).unwrap_or(&Value::Null);
                assert_eq!(*value, wanted, "{file}{pointer}: {found:?}");
            }
        }
    }
}

/// Checks what the SDKs require of every response.
fn expect_readable(file: &str, answer: &HttpResponse) {
    assert_eq!(answer.header("content-type"), Some("application/json;charset=UTF-8"), "{file}");
    // The Go SDK accepts any coding by `*`, and reads only some.
    assert_eq!(answer.header("content-encoding"), None, "{file}");
    assert_ne!(answer.header("retry-after"), Some("0"), "{file}");
    let Some(error) = answer.body.get("error") else { return };
    // Clients of Go show only these details.
    let details = error["details"].as_str().unwrap();
    assert!(details.contains("; remedy: "), "{file}: {details}");
    assert!(error["description"].is_string(), "{file}: {error}");
}

/// Returns the request with the time of now and its signature, in the form of the SDK.
fn signed(request: GoldenRequest, sdk: Sdk) -> GoldenRequest {
    let (date, zone) = [("date", "Etc/UTC"), ("Date", "UTC")][sdk as usize];
    let now = strtime::format("%a, %d %b %Y %H:%M:%S", Timestamp::now()).unwrap();
    let now = format!("{now} {zone}");
    let (method, path) = request.target();
    let path = path.strip_prefix("/zstack").unwrap();
    let headers = signed_headers(KEY, method, &now, path);
    let (_, authorization) = headers.trim_end().rsplit_once("Authorization: ").unwrap();
    let authorization = authorization.to_owned();
    request.with_header(date, &now).with_header("Authorization", &authorization)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_recorded_call_gets_the_answer_that_its_client_needs() {
    needs_root!();
    let mut scene = Scene::set("");
    scene.replay(rows()).await;
    let log = scene.agent.log();
    for secret in [KEY.1, "\"password\":\"secret\"", "b109f3bbbc244eb8"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_recorded_calls_during_a_hang_are_answered_through_jobs() {
    needs_root!();
    let mut scene = Scene::set("[api]\nanswer_within = \"1s\"\n");
    scene.replay(slow_rows()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_without_the_context_path_is_served_beside_the_others() {
    needs_root!();
    let server = "base_path = [\"/zstack\", \"\"]\n";
    let mut scene = Scene::set_with_server(server, "[api]\nanswer_within = \"1s\"\n");
    let of_class = || [("/schema/inventory", json!(CLASS))];
    scene
        .replay(vec![
            row("java-login", Route::Answer, 200, []),
            connected("java-add", Route::Any, []),
            connected("java-hung-context-path-unset", Route::SlowJob, of_class()),
            connected("java-hung-context-path-unset", Route::Any, of_class()),
            connected("java-reconnect", Route::Any, of_class()),
            row("java-query-count", Route::Answer, 200, [("", json!({"total": 1}))]),
        ])
        .await;
    // The client signs and polls the same paths as with its context path.
    let unset = |file| scene.request(file, Sdk::Java).replacing(" /zstack/v1/", " /v1/");
    let address = scene.agent.address();
    let signed = unset("java-access-key").send_once_to(address).await;
    assert_eq!((signed.status, &signed.body["inventory"]["status"]), (200, &json!("Connected")));
    let answer = unset("java-unknown-uuid").send_once_to(address).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let location = answer.body["location"].as_str().unwrap();
    let job = location.strip_prefix(&format!("http://{address}/zstack")).unwrap();
    for base in ["", "/zstack"] {
        let line = format!("GET {base}{job}");
        let poll = HttpRequest { token: None, ..HttpRequest::new(&line, "") };
        let polled = exchange(TcpStream::connect(address).await.unwrap(), &poll.bytes()).await;
        assert_eq!((polled.status, polled.error("/code")), (503, &json!("SYS.1003")), "{base}");
    }
    let elsewhere = scene.request("java-types", Sdk::Java).replacing("/zstack/v1/", "/other/v1/");
    assert_eq!(elsewhere.send_once_to(address).await.status, 404);
    // The commands use the first base path.
    let listed = scene.agent.cli(&["list"], "");
    assert!(listed.status.success(), "{listed:?}");
}

#[test]
fn every_recorded_request_has_a_row() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/http/golden");
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.strip_suffix(".http").unwrap().to_owned()
    };
    let recorded: BTreeSet<String> = std::fs::read_dir(folder).unwrap().map(name).collect();
    let replayed = rows().into_iter().chain(slow_rows()).map(|row| row.file.to_owned());
    let others = NOT_REPLAYED.map(|(file, _)| file.to_owned());
    let rows: BTreeSet<String> = replayed.chain(others).collect();
    assert_eq!(rows, recorded);
}
