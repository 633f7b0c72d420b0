//! Secrets reach the receiver and nothing else: not the data directory, not what any command prints, not a plan file, even when the
//! receiver sends them back in whatever form.

use super::stage::{People, Stage, assert_holds, crm, files_below, keep, listen, one_by_one, project};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::path::Path;
use tests::receiver::{Action, Always, Received, Receiver, Reply};

/// Characters that JSON, URLs and base64 write differently each, as far as a header takes them.
const SECRET: &str = r#"Tk+9/qZ="x"\&%zw-s3cr3t?>~Value"#;
const PASSWORD: &str = "pa:ss w0rd/ÄÖ+=&longer";
const APP: &str = "app-s3cret-header-0123456789";

/// Percent-encoding that leaves letters, digits and `plain` as they are.
fn percent(text: &str, plain: &str) -> String {
    let as_is = |b: u8| b.is_ascii_alphanumeric() || plain.contains(char::from(b));
    text.bytes().map(|b| if b.is_ascii() && as_is(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// The same with the digits of its escapes in lower case.
fn percent_lower(text: &str) -> String {
    text.bytes().map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02x}") }).collect()
}

/// JSON as some libraries write it: no byte beyond ASCII, or nothing that HTML might read.
fn cautious_json(text: &str) -> [String; 2] {
    let json = serde_json::to_string(text).unwrap();
    let json = &json[1..json.len() - 1];
    let escaped = |c: char| format!("\\u{:04x}", u32::from(c));
    let ascii = json.chars().map(|c| if c.is_ascii() { c.to_string() } else { escaped(c) });
    let html = json.chars().map(|c| if "<>&".contains(c) { escaped(c) } else { c.to_string() });
    [ascii.collect(), html.collect()]
}

fn hex(text: &str) -> String {
    text.bytes().map(|b| format!("{b:02x}")).collect()
}

/// How careless receivers write what they got.
pub(crate) fn written(text: &str) -> Vec<String> {
    let json = serde_json::to_string(text).unwrap();
    let mut forms = vec![
        text.to_owned(),
        json[1..json.len() - 1].to_owned(),
        // As strict encoders write it, as `encodeURIComponent` and as Python's `quote` do.
        percent(text, "-_.~"),
        percent(text, "-_.~!'()*"),
        percent(text, "-_.~/"),
        percent_lower(text),
        hex(text),
        hex(text).to_uppercase(),
        text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;"),
    ];
    forms.extend(cautious_json(text));
    // Behind other text the same bytes have other letters.
    for before in ["", "a", "ab"] {
        forms.extend([STANDARD.encode(format!("{before}{text}")), URL_SAFE_NO_PAD.encode(format!("{before}{text}"))]);
    }
    forms
}

/// What of a secret must not be found anywhere: its written forms, of base64 without the ends, which hold bits of their neighbours.
pub fn forms(secret: &str) -> Vec<String> {
    let mut forms = written(secret);
    let encoded = forms.split_off(forms.len() - 6);
    forms.extend(encoded.iter().map(|text| text.trim_end_matches('=')).map(|text| text[4..text.len() - 2].to_owned()));
    forms
}

/// Sends back everything that it got, in every form, in headers and in the body; fails first, so that a retry is seen.
fn echo(request: &Received) -> Action {
    let headers: Vec<String> = request.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let seen = format!("{} {}", request.path_and_query, headers.join("; "));
    let mut body = written(&seen).join("\n");
    for secret in [SECRET, PASSWORD, APP] {
        body += &format!("\n{}\nauthorization=Basic {}\n", written(secret).join("\n"), STANDARD.encode(format!("penstock:{secret}")));
    }
    let status = if request.number.is_multiple_of(3) { 500 } else { 200 };
    let header: String = seen.chars().filter(char::is_ascii).collect();
    Action::Respond(
        Reply::new(status, body).with_header("x-echo", header).with_header("location", format!("/?key={}", percent(SECRET, ""))),
    )
}

/// Whether no form of any of these secrets is in a text.
#[track_caller]
pub(crate) fn assert_clean(secrets: &[&str], what: &str, text: &[u8]) {
    for secret in secrets {
        let basic = STANDARD.encode(format!("penstock:{secret}"));
        for form in forms(secret).iter().chain([&basic]).filter(|form| form.len() >= 10) {
            let found = memchr::memmem::find(text, form.as_bytes());
            let around =
                found.map(|at| String::from_utf8_lossy(&text[at.saturating_sub(60)..(at + form.len() + 20).min(text.len())]).into_owned());
            assert!(found.is_none(), "{what} shows {form}: {}", around.unwrap_or_default());
        }
    }
}

/// Every file of a folder, and every zstd frame in it, unpacked as far as it goes.
pub(crate) fn assert_folder_clean(secrets: &[&str], folder: &Path) -> usize {
    let mut unpacked = 0;
    for path in files_below(folder) {
        unpacked += assert_packed_clean(secrets, &path.display().to_string(), &std::fs::read(&path).unwrap());
    }
    unpacked
}

/// Bytes, and every zstd frame in them. Gives how many frames there were.
pub(crate) fn assert_packed_clean(secrets: &[&str], what: &str, bytes: &[u8]) -> usize {
    assert_clean(secrets, what, bytes);
    let mut unpacked = 0;
    for at in memchr::memmem::find_iter(bytes, &[0x28, 0xb5, 0x2f, 0xfd]) {
        let mut plain = Vec::new();
        let Ok(decoder) = zstd::stream::read::Decoder::new(&bytes[at..]) else { continue };
        // A frame that SQLite has cut into pages breaks off; its beginning counts.
        let _ = std::io::copy(&mut decoder.single_frame(), &mut plain);
        unpacked += usize::from(!plain.is_empty());
        assert_clean(secrets, &format!("{what} at {at}"), &plain);
    }
    unpacked
}

/// Runs everything that prints, and searches it.
fn assert_nothing_is_shown(secrets: &[&str], stage: &Stage) {
    let mut printed = Vec::new();
    let mut run = |words: &[&str]| {
        let ended = stage.penstock(words);
        printed.push((words.join(" "), ended.all()));
        ended
    };
    run(&["validate", "--json"]);
    run(&["plan", "news", "--out", "news.plan"]).expect(0);
    run(&["plan", "news", "--json"]).expect(0);
    run(&["render", "news.add"]).expect(0);
    run(&["render", "news.add", "--json"]).expect(0);
    // The first request of every three fails.
    run(&["test", "crm"]);
    run(&["test", "crm", "--json"]);
    run(&["run", "news", "--json"]).expect(0);
    run(&["runs"]).expect(0);
    run(&["deliveries"]).expect(0);
    run(&["attempts", "--json"]).expect(0);
    for delivery in stage.list("deliveries", &[]) {
        let id = delivery["id"].as_str().unwrap();
        for words in [["deliveries", id, "--json"], ["attempts", id, "--json"], ["deliveries", id, "--quiet"], ["attempts", id, "--quiet"]]
        {
            run(&words).expect(0);
        }
    }
    for (words, text) in &printed {
        assert_clean(secrets, words, text.as_bytes());
    }
    let all: String = printed.iter().map(|(_, text)| text.as_str()).collect();
    assert!(all.contains("[redacted]") && all.contains("x-echo"));
    assert_clean(secrets, "the plan file", &std::fs::read(stage.path("news.plan")).unwrap());
    assert!(assert_folder_clean(secrets, &stage.path(".penstock")) > 0, "nothing could be unpacked: this searched too little");
}

/// A destination with a credential and a secret header; everything that a template can say is in its requests besides.
fn secret_stage(receiver: &Receiver, credential: Value) -> Stage {
    let mut project = project(&receiver.url());
    one_by_one(&mut project);
    project["credentials"] = json!({"main": credential});
    let crm = crm(&mut project);
    crm["credential"] = json!("main");
    crm["secret_headers"] = json!({"X-App-Secret": "${APP}"});
    let stage = Stage::new(&project).with_variable("SECRET", SECRET).with_variable("PASSWORD", PASSWORD).with_variable("APP", APP);
    stage.people(&People::new(6));
    stage
}

/// HT-05, HT-06, GL-14 to GL-16, VX-17: what came from a credential or a secret header is on the wire and is `[redacted]` elsewhere.
#[test]
fn secrets_reach_the_receiver_and_are_found_nowhere_else() {
    let basic = format!("Basic {}", STANDARD.encode(format!("penstock:{PASSWORD}")));
    let table = [
        (json!({"type": "bearer", "token": "${SECRET}"}), SECRET, "authorization", format!("Bearer {SECRET}")),
        (json!({"type": "basic", "username": "penstock", "password": "${PASSWORD}"}), PASSWORD, "authorization", basic),
        (json!({"type": "api_key", "name": "X-Api-Key", "value": "${SECRET}"}), SECRET, "x-api-key", SECRET.to_owned()),
        (json!({"type": "headers", "headers": {"X-One": "${SECRET}", "X-Two": "two-${SECRET}"}}), SECRET, "x-one", SECRET.to_owned()),
    ];
    for (credential, secret, header, value) in table {
        let receiver = listen(echo);
        let stage = secret_stage(&receiver, credential);
        assert_nothing_is_shown(&[secret, APP], &stage);
        let requests = receiver.requests();
        assert!(requests.len() >= 8, "{}", requests.len());
        assert!(requests.iter().all(|request| request.header(header) == Some(&value) && request.header("x-app-secret") == Some(APP)));
    }
}

/// The same of a key in the query, which stands in every URL.
#[test]
fn a_key_in_the_query_reaches_the_receiver_and_is_found_nowhere_else() {
    let receiver = listen(echo);
    let stage = secret_stage(&receiver, json!({"type": "api_key", "name": "api key", "value": "${SECRET}", "in": "query"}));
    assert_nothing_is_shown(&[SECRET, APP], &stage);
    for request in receiver.requests() {
        let query = request.path_and_query.split_once('?').unwrap().1;
        let value = query.strip_prefix("api+key=").or(query.strip_prefix("api%20key=")).unwrap();
        assert_eq!(decoded(value), SECRET);
    }
}

/// A response that is too long to be kept is cut, and a secret that lies across the cut is not shown up to it.
#[test]
fn a_secret_across_the_end_of_what_is_kept_is_not_shown_in_part() {
    const KEPT: usize = 64 * 1024;
    for shown in [12, 20, SECRET.len() - 1] {
        let receiver = listen(move |_: &Received| {
            Action::Respond(Reply::new(200, format!("{}{SECRET}{}", "x".repeat(KEPT - shown), "y".repeat(1000))))
        });
        let stage = secret_stage(&receiver, json!({"type": "bearer", "token": "${SECRET}"}));
        stage.penstock(&["run", "news"]).expect(0);
        let id = stage.list("deliveries", &[])[0]["id"].as_str().unwrap().to_owned();
        let delivery = stage.penstock(&["deliveries", &id, "--json"]).expect(0).json();
        let response = &delivery["attempts"][0]["response"];
        assert_eq!(response["truncated"], true);
        let body = response["body"].as_str().unwrap();
        assert!(body.len() > KEPT - 100 && !body.contains(&SECRET[..10]), "{}", &body[body.len() - 80..]);
    }
}

/// An error of the connection names the destination, not the key in its URL.
#[test]
fn an_error_of_the_connection_shows_no_secret() {
    let closed = listen(echo);
    let url = closed.url();
    let stage = secret_stage(&closed, json!({"type": "api_key", "name": "key", "value": "${SECRET}", "in": "query"}));
    drop(closed);
    // Few enough failures that the circuit stays closed.
    stage.people(&People::new(1));
    let ended = stage.penstock(&["run", "news"]);
    assert_clean(&[SECRET, APP], "run", ended.all().as_bytes());
    let test = stage.penstock(&["test", "crm"]).expect(1);
    assert_clean(&[SECRET, APP], "test", test.all().as_bytes());
    assert!(test.all().contains("network_error") && test.all().contains(&url), "{test:?}");
    assert_folder_clean(&[SECRET, APP], &stage.path(".penstock"));
}

/// A run's URLs are those of when it began, the secrets those of now: where the destination has moved in between, the new secrets are not
/// for the old host (and nothing sends it more of the rows).
#[test]
fn a_run_that_is_resumed_after_its_destination_moved_takes_no_secret_to_the_old_host() {
    let old = listen(|_: &Received| Action::Stall);
    let (new, held) = keep(Always(Action::status(200)), 0.0, 7);
    let at = |url: &str| {
        let mut project = project(url);
        one_by_one(&mut project);
        project["credentials"] = json!({"main": {"type": "bearer", "token": "${SECRET}"}});
        crm(&mut project)["credential"] = json!("main");
        project
    };
    let stage = Stage::new(&at(&old.url())).with_variable("SECRET", "the-first-secret");
    let people = People::new(20);
    stage.people(&people);
    let running = stage.start(&["run", "news", "--json"]);
    let began = std::time::Instant::now();
    while old.count() < 8 && began.elapsed().as_secs() < 60 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(running.kill(), "the run was to be killed in the middle");
    let reached = old.requests().len();

    let stage = stage.with_variable("SECRET", SECRET);
    stage.configure(&at(&new.url()));
    let (_, result) = stage.run(&[]);
    assert!(result["resumed"].is_string(), "{result}");
    assert_eq!(old.requests().len(), reached, "nothing more goes to the old host");
    let refused = stage.list("attempts", &["--class", "policy_error"]);
    assert!(!refused.is_empty());
    let delivery = stage.penstock(&["deliveries", refused[0]["delivery"].as_str().unwrap(), "--json"]).expect(0).json();
    let error = delivery["attempts"][0]["error"].as_str().unwrap_or_else(|| panic!("no reason: {delivery:#}"));
    assert!(error.contains("moved") && error.contains(new.url().trim_end_matches('/')), "{error}");
    stage.run(&[]);
    assert_holds(&held, &people);
    assert!(new.requests().iter().all(|request| request.header("authorization") == Some(&format!("Bearer {SECRET}"))));
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            other => other,
        });
    }
    String::from_utf8(bytes).unwrap()
}

/// A variable that is not set is named, its value never; `${NAME}` in a template stays as it is.
#[test]
fn a_missing_variable_is_named_and_templates_see_no_environment() {
    let receiver = listen(echo);
    let stage = secret_stage(&receiver, json!({"type": "bearer", "token": "${NOT_THERE_AT_ALL}"}));
    let ended = stage.penstock(&["run", "news"]).expect(2);
    assert!(ended.stderr.contains("NOT_THERE_AT_ALL") && ended.stderr.contains("credentials.main.token"), "{}", ended.stderr);
    assert_eq!(receiver.connections(), 0);

    let mut project = project(&receiver.url());
    one_by_one(&mut project);
    crm(&mut project)["actions"]["add"]["body"] = json!(r#"{"id": "{{user.id}}", "literal": "${APP}"}"#);
    stage.configure(&project);
    stage.penstock(&["run", "news"]).expect(0);
    assert_eq!(receiver.requests()[0].json()["literal"], "${APP}");
}
