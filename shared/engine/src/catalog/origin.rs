//! Where secrets may go, so that who may change definitions but knows no secret cannot send one to a host of their own (faults.md S16).
//! It must not look at secrets.
//!
//! A secret goes only to the origins it was entered for. For a destination's secret headers that is the origin of its `base_url`. For a
//! credential it is what its `origins` list; without that key, the origins of the destinations that name it when it is entered, or, when
//! none does, that of the first one that names it afterwards. Whoever enters the secret again knows it, so that moves them.

use super::journal::{Entry, Held, Whole};
use super::{Kind, REDACTED};
use crate::model::project::Problem;
use serde_json::Value;
use std::collections::BTreeSet;

/// The origin of a destination, if its `base_url` can be read.
pub(super) fn of_destination(body: &Value) -> Option<String> {
    of_url(body.get("base_url")?.as_str()?)
}

fn of_url(text: &str) -> Option<String> {
    let origin = url::Url::parse(text).ok()?.origin();
    origin.is_tuple().then(|| origin.ascii_serialization())
}

/// Why the secrets that are stored with a definition may not be kept in its new form; `None`: they may.
pub(super) fn why_not_kept(kind: Kind, before: &Value, after: &Value) -> Option<String> {
    match kind {
        Kind::Credential if before.get("type") != after.get("type") => {
            Some(format!("`{REDACTED}` keeps a secret while the type stays; enter the secret again"))
        }
        Kind::Destination => {
            // What cannot be read is refused for that.
            let moved = of_destination(after).is_some_and(|after| of_destination(before).is_none_or(|before| before != after));
            moved.then(|| format!("`{REDACTED}` keeps a secret while the base_url stays on its host and port; enter the secret again"))
        }
        _ => None,
    }
}

/// The origins of the destinations that name a credential.
pub(super) fn naming(whole: &Whole, credential: &str) -> BTreeSet<String> {
    let names_it =
        |entry: &&Entry| entry.kind == Kind::Destination && entry.body.get("credential").and_then(Value::as_str) == Some(credential);
    whole.entries.iter().filter(names_it).filter_map(|entry| of_destination(&entry.body)).collect()
}

/// Where a credential's secret may go once it was put; `kept` is what is stored of it where a secret of it is kept.
pub(super) fn of_credential(body: &Value, kept: Option<&Held>, naming: BTreeSet<String>) -> Result<Option<Vec<String>>, Problem> {
    let listed = body.get("origins").and_then(Value::as_array);
    let listed: Option<Vec<String>> = listed.map(|list| list.iter().filter_map(Value::as_str).filter_map(of_url).collect());
    let Some(kept) = kept else {
        return Ok(listed.or_else(|| (!naming.is_empty()).then(|| naming.into_iter().collect())));
    };
    let (Some(listed), Some(allowed)) = (&listed, &kept.origins) else {
        return Ok(listed.or_else(|| kept.origins.clone()));
    };
    match listed.iter().find(|origin| !allowed.contains(origin)) {
        None => Ok(Some(listed.clone())),
        Some(new) => Err(Problem {
            path: "origins".to_string(),
            message: format!("the secret was entered for {}; to let it go to {new}, enter it again", allowed.join(", ")),
        }),
    }
}

/// Whether a destination's credential may go to it. Gives the credential's document where this is its first destination.
pub(super) fn of_first_use(before: Option<&Value>, after: &Value, credential: &Entry) -> Result<Option<Held>, Problem> {
    let Some(origin) = of_destination(after) else { return Ok(None) };
    let Some(allowed) = &credential.held.origins else {
        return Ok(Some(Held { origins: Some(vec![origin]), ..credential.held.clone() }));
    };
    if allowed.contains(&origin) {
        return Ok(None);
    }
    let names_the_same = before.is_some_and(|before| before.get("credential") == after.get("credential"));
    let path = if names_the_same { "base_url" } else { "credential" };
    let id = &credential.id;
    let list =
        allowed.iter().map(String::as_str).chain([origin.as_str()]).map(|origin| format!("\"{origin}\"")).collect::<Vec<_>>().join(", ");
    let message = format!(
        "the secret of credential `{id}` was entered for {}, and may not go to {origin}; put the credential with its secret again and \
         with `origins: [{list}]`, then this destination",
        allowed.join(", ")
    );
    Err(Problem { path: path.to_string(), message })
}
