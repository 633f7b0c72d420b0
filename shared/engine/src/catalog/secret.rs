//! Taking the secrets out of a definition before it is stored, and putting them back. Which keys hold one stands in
//! `configure::keys`. It must not seal or open anything.

use super::Kind;
use crate::configure::{is_secret, path_of_item, path_of_key};
use crate::model::name::Name;
use crate::port::Belongs;
use serde_json::Value;
use std::collections::BTreeMap;

/// What stands where a secret is. Put there, it keeps the secret that is stored.
pub const REDACTED: &str = "[redacted]";

/// A place of a definition that holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot {
    /// As JSON Pointer (RFC 6901) from the definition.
    pub(super) pointer: String,
    /// As problems name it.
    pub(super) path: String,
}

/// The places of a definition that hold a secret. What stands there need not be a text: the parser says so.
pub(super) fn spots(kind: Kind, body: &Value) -> Vec<Spot> {
    let mut spots = Vec::new();
    let top = Spot { pointer: String::new(), path: String::new() };
    walk(body, &mut vec![kind.section(), "x"], &top, &mut spots);
    spots
}

/// `keys` are those from the top of a project file; a list place counts as none.
fn walk<'v>(value: &'v Value, keys: &mut Vec<&'v str>, at: &Spot, spots: &mut Vec<Spot>) {
    match value {
        Value::Object(map) => {
            for (key, child) in map {
                let pointer = format!("{}/{}", at.pointer, key.replace('~', "~0").replace('/', "~1"));
                keys.push(key);
                walk(child, keys, &Spot { pointer, path: path_of_key(&at.path, key) }, spots);
                keys.pop();
            }
        }
        Value::Array(items) => {
            for (index, child) in items.iter().enumerate() {
                let below = Spot { pointer: format!("{}/{index}", at.pointer), path: path_of_item(&at.path, index) };
                walk(child, keys, &below, spots);
            }
        }
        Value::Null => {}
        _ if is_secret(keys) => spots.push(at.clone()),
        _ => {}
    }
}

/// Takes the secrets out, leaving [`REDACTED`]. `None` if there are none.
pub(super) fn take_out(kind: Kind, body: &mut Value) -> Option<Vec<u8>> {
    let mut taken = BTreeMap::new();
    for spot in spots(kind, body) {
        if let Some(value) = body.pointer_mut(&spot.pointer) {
            taken.insert(spot.pointer, std::mem::replace(value, Value::from(REDACTED)));
        }
    }
    (!taken.is_empty()).then(|| serde_json::to_vec(&taken).expect("plain data always serializes"))
}

/// Puts back what [`take_out`] took. `None` if it is not of this definition.
pub(super) fn put_back(body: &mut Value, taken: &[u8]) -> Option<()> {
    let taken: BTreeMap<String, Value> = serde_json::from_slice(taken).ok()?;
    for (pointer, secret) in taken {
        *body.pointer_mut(&pointer)? = secret;
    }
    Some(())
}

/// What the secrets of a definition's revision belong to; `document` is `kind/id`.
pub(super) fn belongs<'a>(organization: &'a Name, document: &'a str, revision: u64) -> Belongs<'a> {
    Belongs { organization: organization.as_str(), document, version: revision }
}
