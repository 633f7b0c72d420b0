//! What `penstock run` and the commands that look back say, had of a stack through its API, so that a journey need not know where it takes
//! place.

use super::stage::Stage;
use crate::serve::server::Server;
use serde_json::{Map, Value, json};

/// The exit status and the object that `penstock run news --json` would end with.
#[track_caller]
pub fn run(server: &Server, stage: &Stage, words: &[&str]) -> (i32, Value) {
    let mut project = stage.project();
    crate::stack::put_files(server.stack(), stage, &mut project);
    server.call("POST", "/v1/apply", project).expect(200);
    let wish: Map<String, Value> = words.iter().map(|word| (word.trim_start_matches("--").to_owned(), json!(true))).collect();
    let mut run = server.ended(&server.run("news", wish.into()));
    let status = status(&run);
    run["run"] = run["id"].clone();
    // What a command prints as its error.
    run["error"] = run["reason"].clone();
    // Files stand under a name of their own in S3.
    let rows = format!("s3://{}/rows/", server.stack().parts.names.bucket);
    run["invalid_rows"] = serde_json::from_str(&run["invalid"].to_string().replace(&rows, "")).expect("it was JSON");
    (status, run)
}

/// The exit status of a command whose run came to this.
fn status(run: &Value) -> i32 {
    match run["status"].as_str() {
        Some("succeeded") => 0,
        Some("completed_with_errors") => 3,
        Some("held") => 4,
        _ => 1,
    }
}

/// What `penstock runs ID` or `penstock deliveries ID` shows.
#[track_caller]
pub fn show(server: &Server, command: &str, id: &str) -> Value {
    let mut shown = server.get(&format!("/v1/{command}/{id}"));
    if command == "runs" {
        shown["run"] = shown["id"].clone();
    }
    shown
}

/// How many deliveries would be sent again.
#[track_caller]
pub fn count_again(server: &Server, words: &[&str]) -> u64 {
    let counted = server.call("POST", &format!("/v1/deliveries/redeliver?dry_run=true{}", filters(words)), Value::Null).expect(200).json();
    assert_eq!(counted["sent"], false);
    counted["deliveries"].as_u64().expect("a count")
}

/// Sends deliveries again and waits for the end of their run.
#[track_caller]
pub fn send_again(server: &Server, words: &[&str]) -> (i32, Value) {
    let path = match words {
        [id] => format!("/v1/deliveries/{id}/redeliver"),
        _ => format!("/v1/deliveries/redeliver?dry_run=false{}", filters(words)),
    };
    let sent = server.call("POST", &path, Value::Null).expect(202).json();
    let run = server.ended(sent["runs"][0].as_str().expect("it is of a run"));
    (status(&run), run)
}

/// The options of a command as the filters of the API.
fn filters(words: &[&str]) -> String {
    words.chunks(2).map(|option| format!("&{}={}", option[0].trim_start_matches("--"), option[1])).collect()
}

/// The list that a command prints: its options are the filters of the API.
#[track_caller]
pub fn list(server: &Server, command: &str, words: &[&str]) -> Vec<Value> {
    let filters = filters(words);
    let path = if command == "runs" { "runs" } else { "deliveries" };
    let mut items = Vec::new();
    let mut after = String::new();
    loop {
        let page = server.get(&format!("/v1/{path}?limit=200{filters}{after}"));
        items.extend(page["items"].as_array().expect("a list").iter().cloned());
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    if command == "runs" {
        items.iter_mut().for_each(|run| run["run"] = run["id"].clone());
    }
    if command != "attempts" {
        return items;
    }
    // A delivery is shown with all its attempts, also where a filter asks for the class of one of them.
    let class = words.iter().position(|word| *word == "--class").map(|at| words[at + 1]);
    let attempts = items.iter().flat_map(|delivery| delivery["attempts"].as_array().cloned().unwrap_or_default());
    attempts.filter(|attempt| class.is_none_or(|class| attempt["class"] == class)).collect()
}
