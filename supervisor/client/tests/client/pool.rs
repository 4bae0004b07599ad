//! A worker's client, on several threads.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use protocol::pool::PoolRequest;
use protocol::{Value, json};
use supervisor_client::PoolClient;
use tokio::time::timeout;

use crate::DEADLINE;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everybody_gets_their_own_answer_on_whatever_thread_they_are() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("endpoint");
    let listener = UnixListener::bind(&path).expect("bound");
    let echo = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let lines = BufReader::new(stream.try_clone().expect("cloned")).lines();
        for line in lines {
            let line: Value = line.expect("a line").parse().expect("JSON");
            let data = match &line["req"]["run"]["job"] {
                Value::Null => json!({"version": 1, "service": "echo"}),
                job => job.clone(),
            };
            let answer = json!({"id": line["id"], "ok": true, "data": data});
            writeln!(stream, "{answer}").expect("the client reads");
        }
    });
    let client = PoolClient::connect(&path).await.expect("in");
    let tasks = (0..8).map(|task| {
        let client = client.clone();
        tokio::spawn(async move {
            for round in 0..300 {
                let job = json!([task, round]);
                let asked = client.send_request(PoolRequest::Run {
                    job: job.clone(),
                    deadline_ms: None,
                    queue_ms: None,
                    sid: None,
                });
                // Some look away and give up, at whatever point they are.
                match round % 3 {
                    0 => drop(timeout(Duration::from_micros(50), asked).await),
                    _ => {
                        let answer = timeout(DEADLINE, asked).await.expect("in time");
                        assert_eq!(answer.expect("answered").data(), Some(&job));
                    }
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("no panic");
    }
    drop(client);
    tokio::task::spawn_blocking(|| echo.join().expect("closed"))
        .await
        .expect("no panic");
}
