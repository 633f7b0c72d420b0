//! An API that keeps members, for comparing what the receiver holds with the model.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::Value;

use super::script::{Action, Chance, Script};
use super::{Received, lock};

/// What an API that keeps members would hold after the requests it took, and what was wrong with them.
///
/// It takes `POST`, `PUT` and `PATCH` bodies `{"users":[{"id":…},…]}`, `[{"id":…},…]` and `{"id":…}`, and
/// `DELETE …/members/{id}`. A request whose `idempotency-key` was taken before changes nothing.
#[derive(Clone, Debug, Default)]
pub struct Members {
    /// Member by the text form of its id.
    pub members: BTreeMap<String, Value>,
    /// The same key with other bytes, bodies that are not understood: empty unless the sender is wrong.
    pub violations: Vec<String>,
    /// Requests that came again under a key that had been taken.
    pub repeated: usize,
    seen: HashMap<String, (String, Bytes)>,
    taken: HashSet<String>,
}

impl Members {
    /// Notes the request's key and bytes, whether it is taken or not.
    pub fn witness(&mut self, received: &Received) {
        let Some(key) = received.header("idempotency-key") else { return };
        let line = format!("{} {}", received.method, received.path_and_query);
        match self.seen.get(key) {
            None => drop(self.seen.insert(key.to_owned(), (line, received.body.clone()))),
            Some((first, body)) if *first != line || *body != received.body => {
                let problem = format!(
                    "idempotency key {key}: first {first} {}, then {line} {}",
                    String::from_utf8_lossy(body),
                    String::from_utf8_lossy(&received.body)
                );
                self.violations.push(problem);
            }
            Some(_) => {}
        }
    }

    /// Takes the request, once per idempotency key.
    pub fn apply(&mut self, received: &Received) {
        if let Some(key) = received.header("idempotency-key")
            && !self.taken.insert(key.to_owned())
        {
            self.repeated += 1;
            return;
        }
        let understood = match received.method.as_str() {
            "POST" | "PUT" | "PATCH" => self.upsert(&received.json()),
            "DELETE" => self.remove(&received.path_and_query),
            _ => Some(()),
        };
        if understood.is_none() {
            let body = String::from_utf8_lossy(&received.body);
            self.violations.push(format!("not understood: {} {} {body}", received.method, received.path_and_query));
        }
    }

    fn upsert(&mut self, body: &Value) -> Option<()> {
        let members = match body {
            Value::Array(list) => list.as_slice(),
            Value::Object(fields) => match fields.get("users") {
                Some(users) => users.as_array()?.as_slice(),
                None => std::slice::from_ref(body),
            },
            _ => return None,
        };
        for member in members {
            let id = match member.get("id")? {
                Value::String(id) => id.clone(),
                id @ Value::Number(_) => id.to_string(),
                _ => return None,
            };
            self.members.insert(id, member.clone());
        }
        Some(())
    }

    fn remove(&mut self, path_and_query: &str) -> Option<()> {
        let (_, id) = path_and_query.split_once("/members/")?;
        let id = id.split(['/', '?']).next().filter(|id| !id.is_empty())?;
        self.members.remove(&percent_decoded(id)?);
        Some(())
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            bytes.push((digit()? * 16 + digit()?) as u8);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// Lets `script` decide, and keeps [`Members`] as an API would: what is answered with 2xx is taken; what gets a 5xx or no
/// whole answer is taken with probability `taken_unanswered`, so that the sender can't know.
pub struct Keeping<S> {
    /// What is held; shared with the test.
    pub members: Arc<Mutex<Members>>,
    /// Who decides about answers.
    pub script: S,
    /// Probability that a request that got no certain answer was taken all the same.
    pub taken_unanswered: f64,
    chance: Chance,
}

impl<S: Script> Keeping<S> {
    /// A new, empty holder around `script`.
    pub fn new(script: S, taken_unanswered: f64, seed: u64) -> Keeping<S> {
        Keeping { members: Arc::default(), script, taken_unanswered, chance: Chance(seed) }
    }
}

impl<S: Script> Script for Keeping<S> {
    fn before_reading(&mut self, head: &Received) -> Option<Action> {
        self.script.before_reading(head)
    }

    fn answer(&mut self, received: &Received) -> Action {
        let action = self.script.answer(received);
        let mut members = lock(&self.members);
        members.witness(received);
        if action.says_yes() || (action.says_nothing() && self.chance.comes(self.taken_unanswered)) {
            members.apply(received);
        }
        action
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(method: &str, path: &str, key: &str, body: &str) -> Received {
        let headers = vec![("idempotency-key".to_owned(), key.to_owned())];
        let body = Bytes::copy_from_slice(body.as_bytes());
        Received { number: 0, at: 0, method: method.into(), path_and_query: path.into(), headers, body }
    }

    #[test]
    fn members_are_added_changed_and_removed() {
        let mut members = Members::default();
        members.apply(&received("POST", "/members", "a", r#"{"users":[{"id":1,"email":"x"},{"id":"b c","email":"y"}]}"#));
        members.apply(&received("PUT", "/members/1", "b", r#"{"id":"1","email":"z"}"#));
        members.apply(&received("DELETE", "/lists/7/members/b%20c?now", "c", ""));
        assert_eq!(members.members, BTreeMap::from([("1".to_owned(), serde_json::json!({"id": "1", "email": "z"}))]));
        assert_eq!(members.violations, Vec::<String>::new());
    }

    #[test]
    fn a_key_that_was_taken_changes_nothing_again() {
        let mut members = Members::default();
        let add = received("POST", "/members", "a", r#"{"id":1}"#);
        members.apply(&add);
        members.apply(&received("DELETE", "/members/1", "b", ""));
        members.apply(&add);
        assert_eq!((members.members.len(), members.repeated), (0, 1));
    }

    #[test]
    fn other_bytes_under_the_same_key_are_a_violation() {
        let mut members = Members::default();
        members.witness(&received("POST", "/members", "a", r#"{"id":1}"#));
        members.witness(&received("POST", "/members", "a", r#"{"id":1}"#));
        assert_eq!(members.violations.len(), 0);
        members.witness(&received("POST", "/members", "a", r#"{"id":2}"#));
        assert_eq!(members.violations.len(), 1);
    }

    #[test]
    fn what_cannot_be_understood_is_a_violation() {
        let mut members = Members::default();
        members.apply(&received("POST", "/members", "a", r#"{"name":1}"#));
        members.apply(&received("DELETE", "/members/", "b", ""));
        assert_eq!(members.violations.len(), 2);
    }

    #[test]
    fn an_unanswered_request_is_taken_or_not_as_the_chance_says() {
        let lost = received("POST", "/members", "a", r#"{"id":1}"#);
        for (share, held) in [(0.0, 0), (1.0, 1)] {
            let mut keeping = Keeping::new(|_: &Received| Action::Reset, share, 7);
            assert_eq!(keeping.answer(&lost), Action::Reset);
            assert_eq!(lock(&keeping.members).members.len(), held);
        }
    }
}
