//! How fast destinations are served beside nineteen other exports, one destination down and one that takes ten seconds an answer, against
//! how fast one is served alone: `cargo run --release -p tests --example fairness -- target/release/penstock`.
//!
//! Each of the eight sound destinations takes 200 requests a second at most and gets two exports of a thousand rows, a request a row.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tests::client;
use tests::receiver::{Action, Always, Receiver};

/// Rows of each export.
const ROWS: usize = 1000;

struct Server {
    child: Child,
    address: SocketAddr,
    token: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(penstock: &Path, folder: &Path, urls: &[String]) -> Server {
    let mut project = json!({"destinations": {}, "models": {}, "exports": {}});
    for (number, url) in urls.iter().enumerate() {
        let destination = format!("api-{number}");
        project["destinations"][&destination] = json!({
            "base_url": url, "rate_limit": {"requests": 200, "per": "second"},
            "actions": {"add": {"url": "/members", "body": r#"{"id": "{{user.id}}", "email": "{{user.email}}"}"#}},
        });
        for half in ["a", "b"] {
            project["exports"][format!("{half}-{number}")] = json!({"model": half, "destination": destination});
        }
    }
    for half in ["a", "b"] {
        project["models"][half] = json!({"primary_key": ["id"], "source": {"type": "file", "path": format!("{half}.csv")}});
        let rows: String = (0..ROWS).map(|row| format!("{half}{row},{half}{row}@example.com\n")).collect();
        std::fs::write(folder.join(format!("{half}.csv")), format!("id,email\n{rows}")).expect("the folder can be written");
    }
    std::fs::write(folder.join("penstock.yaml"), project.to_string()).expect("the folder can be written");
    let mut command = Command::new(penstock);
    command.current_dir(folder).args(["serve", "--listen", "127.0.0.1:0", "--json", "--allow-private", "--log", "warn"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("penstock starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("it says where it listens");
    let begun: Value = serde_json::from_str(&line).expect("a line of JSON");
    let address = begun["url"].as_str().and_then(|url| url.strip_prefix("http://")).expect("a URL").parse().expect("an address");
    let token = std::fs::read_to_string(folder.join(".penstock/token")).expect("a token").trim().to_string();
    Server { child, address, token }
}

/// Requests a second of each of the sound destinations, from the first arrival to the last.
fn measure(penstock: &Path, sound: usize, troubled: &[String]) -> Vec<f64> {
    let folder = tempfile::tempdir().expect("a folder");
    let receivers: Vec<Receiver> =
        (0..sound).map(|_| Receiver::start_at("127.0.0.1:0".parse().expect("an address"), Always(Action::status(200)))).collect();
    let urls: Vec<String> = receivers.iter().map(Receiver::url).chain(troubled.iter().cloned()).collect();
    let server = serve(penstock, folder.path(), &urls);
    let authorization = format!("Bearer {}", server.token);
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    for number in 0..urls.len() {
        for half in ["a", "b"] {
            let answer = client::call(server.address, "POST", &format!("/v1/exports/{half}-{number}/runs"), &headers, "{}");
            answer.expect("an answer").expect(202);
        }
    }
    let start = Instant::now();
    while receivers.iter().any(|receiver| receiver.count() < 2 * ROWS) {
        assert!(start.elapsed() < Duration::from_secs(120), "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    let rate = |receiver: &Receiver| {
        let at: Vec<u64> = receiver.requests().iter().map(|request| request.at).collect();
        let (first, last) = (at.iter().min().copied().unwrap_or(0), at.iter().max().copied().unwrap_or(0));
        (at.len() - 1) as f64 / ((last - first) as f64 / 1e6)
    };
    receivers.iter().map(rate).collect()
}

fn main() {
    let penstock = std::env::args().nth(1).expect("name the executable penstock");
    let penstock = std::path::absolute(penstock).expect("a path");
    let alone = measure(&penstock, 1, &[])[0];
    let late = Receiver::start_at(
        "127.0.0.1:0".parse().expect("an address"),
        Always(Action::Wait(Duration::from_secs(10), Box::new(Action::status(200)))),
    );
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let mut beside = measure(&penstock, 8, &[late.url(), format!("http://{nobody}")]);
    beside.sort_by(f64::total_cmp);
    let (slowest, fastest) = (beside[0], beside[beside.len() - 1]);
    println!("alone: {alone:.1} a second");
    println!("beside nine others: {slowest:.1} to {fastest:.1} a second; the slowest at {:.3} of alone", slowest / alone);
}
