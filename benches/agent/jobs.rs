//! Compares a call through a job with the same call without one, and measures the memory of the
//! jobs that are kept.

use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use crate::figures::compare;
use crate::memory::resident;
use crate::requests::connected;
use crate::support::agent::{Agent, TOKEN};

const ROUNDS: usize = 61;
/// Number of jobs that the daemon keeps for one caller.
const KEPT_PER_CALLER: u128 = 5000;
/// Number of removals before the measurement, so that the allocator has its usual memory.
const WARM_UP: u128 = 500;

type Connection = SendRequest<Full<Bytes>>;

async fn send(
    connection: &mut Connection,
    method: Method,
    path: &str,
    body: &str,
    job: Option<u128>,
) {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("authorization", format!("OAuth {TOKEN}"))
        .header("content-type", "application/json");
    if let Some(job) = job {
        request = request.header("x-job-uuid", format!("{job:032x}"));
    }
    let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
    connection.ready().await.unwrap();
    let response = connection.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    response.into_body().collect().await.unwrap();
}

pub(crate) async fn reconnect_by_a_job_beside_one_without(agent: &Agent, store: &str) {
    let path = format!("/zstack/v1/backup-storage/image-store/{store}/actions");
    let (mut connection, _driver) = connected(agent.address()).await;
    let (mut by_job, mut without) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let id = u128::try_from(round).unwrap();
        for (times, job) in [(&mut without, None), (&mut by_job, Some(id))] {
            let begun = Instant::now();
            send(&mut connection, Method::PUT, &path, "{\"params\":{}}", job).await;
            times.push(begun.elapsed());
        }
    }
    compare(
        "a reconnect by a job beside one without",
        by_job,
        without,
        "goal: at most two commits more",
    );
}

/// Measures removals of stores that do not exist, which cost nothing but their jobs.
pub(crate) async fn memory_of_kept_jobs(agent: &Agent) {
    let path = format!("/zstack/v1/backup-storage/{}", "f".repeat(32));
    let (mut over_tcp, _driver) = connected(agent.address()).await;
    let stream = UnixStream::connect(agent.path("state/agent.sock")).await.unwrap();
    let (mut local, driving) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .unwrap();
    let mut driver = JoinSet::new();
    driver.spawn(driving);
    for _ in 0..WARM_UP {
        send(&mut over_tcp, Method::DELETE, &path, "", None).await;
        send(&mut local, Method::DELETE, &path, "", None).await;
    }
    let before = resident(agent);
    let begun = Instant::now();
    for job in 0..KEPT_PER_CALLER {
        let own = (job + 1) << 64;
        send(&mut over_tcp, Method::DELETE, &path, "", Some(own)).await;
        send(&mut local, Method::DELETE, &path, "", Some(own + 1)).await;
    }
    let each: Duration = begun.elapsed() / u32::try_from(2 * KEPT_PER_CALLER).unwrap();
    let after = resident(agent);
    println!(
        "memory of {} kept jobs: {:.1} MiB ({before:.1} to {after:.1}), {each:?} each; goal 4 MiB",
        2 * KEPT_PER_CALLER,
        after - before
    );
}
