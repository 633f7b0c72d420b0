//! No secret is seen anywhere but in the project: not in an answer, a problem, an error, a `Debug`, a document or a file.

use super::{NOW, name, with};
use crate::journey::secrets::assert_clean;
use backend_embedded::{DataDir, Unlock};
use engine::catalog::{Catalog, Kind, Precondition, REDACTED};
use engine::configure::keys::SECTIONS;
use engine::configure::{is_secret, parse};
use engine::token::{self, Scope, Wanted};
use serde_json::{Value, json};
use std::fmt::Debug;

/// Numbers from a seed (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A secret of 16 to 60 characters that a header takes, odd ones among them.
    fn secret(&mut self) -> String {
        const ODD: &[char] = &['"', '\\', '/', '%', '&', '<', '+', '=', '\'', '{', '}', '~', 'ä', '€', '\u{1F512}', '$'];
        let length = 16 + self.next() % 44;
        let letter = |number: u64| match number % 4 {
            0 => ODD[(number / 4) as usize % ODD.len()],
            _ => char::from(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"[(number / 4) as usize % 62]),
        };
        (0..length).map(|_| letter(self.next())).collect()
    }
}

/// Definitions with a secret in every place that has one, and what they refer to.
fn definitions(numbers: &mut Numbers) -> (Vec<(Kind, &'static str, Value)>, Vec<String>) {
    let mut secrets = Vec::new();
    let mut secret_after = |before: &str| {
        secrets.push(format!("{before}{}", numbers.secret()));
        secrets[secrets.len() - 1].clone()
    };
    let definitions = vec![
        (Kind::Credential, "bearer", json!({"type": "bearer", "token": secret_after("")})),
        (Kind::Credential, "basic", json!({"type": "basic", "username": "penstock", "password": secret_after("")})),
        (Kind::Credential, "headers", json!({"type": "headers", "headers": {"X-One": secret_after(""), "X-Two/~": secret_after("")}})),
        (Kind::Credential, "key", json!({"type": "api_key", "name": "key", "in": "query", "value": secret_after("")})),
        (
            Kind::Destination,
            "crm",
            json!({
                "base_url": "https://api.example.com", "credential": "bearer", "actions": {"add": {"url": "/members"}},
                "secret_headers": {"X-App": secret_after(""), "X-Other": secret_after("")},
            }),
        ),
        (Kind::Model, "people", json!({"primary_key": ["id"], "source": {"type": "file", "path": "rows.csv"}})),
        (
            Kind::Model,
            "database",
            json!({"primary_key": ["id"], "source": {"type": "postgres", "query": "SELECT 1 AS id", "dsn": secret_after("host=db user=penstock password=")}}),
        ),
        (Kind::Export, "news", json!({"model": "people", "destination": "crm"})),
    ];
    let definitions = definitions.into_iter().map(|(kind, id, body)| match id {
        // A slash and a tilde stand in no header's name, and yet in a pointer's way.
        "headers" => {
            (kind, id, json!({"type": "headers", "headers": {"X-One": body["headers"]["X-One"], "X-Two~": body["headers"]["X-Two/~"]}}))
        }
        _ => (kind, id, body),
    });
    (definitions.collect(), secrets)
}

/// Everything that was printed, for the search.
#[derive(Default)]
struct Printed(String);

impl Printed {
    fn add<T: Debug>(&mut self, value: T) -> T {
        self.0 += &format!("{value:?}\n{value:#?}\n");
        value
    }
}

#[tokio::test]
async fn secrets_are_found_in_nothing_that_is_shown_or_stored() {
    for seed in 0..12 {
        let mut numbers = Numbers(seed);
        let (definitions, mut secrets) = definitions(&mut numbers);
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::open(folder.path().join("data")).unwrap();
        let (store, sealing) = (dir.store().unwrap(), dir.secrets(Unlock::KeyFile).unwrap());
        let organization = name("acme");
        let catalog = Catalog { store: &store, secrets: &sealing, organization: &organization, now: NOW };
        let mut printed = Printed::default();
        printed.add(&sealing);
        for (kind, id, body) in &definitions {
            let id = name(id);
            let put = printed.add(catalog.put(*kind, &id, body.clone(), Precondition::Any).await);
            assert!(put.unwrap().is_ok());
            printed.add(catalog.get(*kind, &id).await).unwrap();
            // Everything that can be wrong with it, secrets and all.
            let mistakes = [
                ("/odd_key", json!(1)),
                ("/type", json!("bearers")),
                ("/base_url", json!("https://elsewhere.example.com")),
                ("/credential", json!("nobody")),
                ("/primary_key", json!(5)),
                ("/actions", json!({"add": {"url": "{{"}})),
            ];
            for (pointer, value) in mistakes {
                let refused = printed.add(catalog.put(*kind, &id, with(body.clone(), pointer, value), Precondition::Any).await);
                refused.unwrap().ok();
                // A move is taken where every secret was entered with it.
                catalog.put(*kind, &id, body.clone(), Precondition::Any).await.unwrap().ok();
            }
            printed.add(catalog.put(*kind, &id, body.clone(), Precondition::At(77)).await).unwrap().unwrap_err();
            printed.add(catalog.delete(*kind, &id, Precondition::At(77)).await).unwrap().unwrap_err();
        }
        // Secrets that no header takes.
        for wrong in ["line\nfeed", "nul\0", ""] {
            let secret = format!("{}{wrong}", numbers.secret());
            let body = json!({"type": "basic", "username": "x:y", "password": secret});
            printed.add(catalog.put(Kind::Credential, &name("wrong"), body, Precondition::Any).await).unwrap().unwrap_err();
            secrets.push(secret);
        }
        let bare: String = numbers.secret().chars().filter(char::is_ascii_alphanumeric).chain("0123456789".chars()).collect();
        let body = json!({"primary_key": ["id"], "source": {"type": "postgres", "query": "SELECT 1 AS id", "dsn": bare}});
        printed.add(catalog.put(Kind::Model, &name("wrong"), body, Precondition::Any).await).unwrap().unwrap_err();
        secrets.push(bare);
        let spaced = format!("{} {}", numbers.secret(), numbers.secret());
        let body = json!({"type": "bearer", "token": spaced});
        printed.add(catalog.put(Kind::Credential, &name("wrong"), body, Precondition::Any).await).unwrap().unwrap_err();
        secrets.push(spaced);
        for kind in Kind::ALL {
            assert!(
                printed
                    .add(catalog.list(kind, None, 10).await)
                    .unwrap()
                    .iter()
                    .all(|definition| { kind == Kind::Model || kind == Kind::Export || definition.body.to_string().contains(REDACTED) })
            );
        }
        printed.add(catalog.project().await).unwrap().unwrap();

        let wanted = Wanted { organization: &organization, name: "a test", scopes: &Scope::ALL, expires_at: None };
        let random: [u8; 32] = std::array::from_fn(|_| numbers.next() as u8);
        let fresh = printed.add(token::create(&store, wanted, random, NOW).await).unwrap().unwrap();
        secrets.push(fresh.text.reveal().to_owned());
        printed.add(token::authenticate(&store, fresh.text.reveal(), NOW).await).unwrap().unwrap();
        printed.add(token::list(&store, &organization, None, 10, NOW).await).unwrap();

        sealing.rotate(Unlock::KeyFile).unwrap();
        sealing.rotate_data_keys().unwrap();
        printed.add(catalog.project().await).unwrap().unwrap();
        let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
        assert_clean(&secrets, "what was printed", printed.0.as_bytes());
        drop((store, sealing));
        let mut files = 0;
        for path in files_below(dir.path()) {
            assert_clean(&secrets, &path.display().to_string(), &std::fs::read(&path).unwrap());
            files += 1;
        }
        assert!(files >= 4, "{files}");
    }
}

fn files_below(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// Every text of a project that becomes a `Secret` is known as one, and nothing else is: a key that is forgotten in the table would be
/// stored in the clear.
#[test]
fn the_table_of_keys_knows_every_secret_that_the_model_holds() {
    let (definitions, secrets) = definitions(&mut Numbers(99));
    let mut document = json!({});
    for (kind, id, body) in definitions {
        document[kind.section()][id] = body;
    }
    let mut known = Vec::new();
    collect(&document, &mut Vec::new(), &mut known);
    known.sort();
    let mut expected = secrets.clone();
    expected.sort();
    assert_eq!(known, expected);
    // The model shows none of them and everything else, so what is a secret there is one here.
    let shown = format!("{:?}", parse(&document).unwrap());
    assert_clean(&secrets.iter().map(String::as_str).collect::<Vec<_>>(), "the model", shown.as_bytes());
    assert_eq!(shown.matches(REDACTED).count(), secrets.len() + 1, "the destination holds its credential too: {shown}");
    // Each key of the table that is a secret stands in the definitions above.
    for section in SECTIONS {
        for key in section.keys.iter().filter(|key| key.secret) {
            assert!(key.environment, "{} may come from the environment", key.name);
            let kind = section.place.split('.').next().unwrap();
            let found = document[kind].as_object().unwrap().values().any(|body| holds(body, key.name));
            assert!(found, "`{}` of {} is a secret: put one into `definitions` of this test", key.name, section.place);
        }
    }
}

fn holds(value: &Value, key: &str) -> bool {
    match value {
        Value::Object(map) => map.iter().any(|(name, value)| name == key || holds(value, key)),
        _ => false,
    }
}

fn collect<'v>(value: &'v Value, keys: &mut Vec<&'v str>, known: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                keys.push(key);
                collect(value, keys, known);
                keys.pop();
            }
        }
        Value::String(text) if is_secret(keys) => known.push(text.clone()),
        _ => {}
    }
}
