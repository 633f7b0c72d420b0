//! Reads `models` and `exports`. It must not open a file.

use super::action::Reader;
use super::destination::Draft;
use super::keys::{EXPORT, FIELD, GUARD, MODEL, SOURCE_ATHENA, SOURCE_FILE, SOURCE_POSTGRES, SOURCE_PUSH};
use super::place::{Place, path_of_key};
use super::schedule::schedule;
use super::values::{columns, reference, secret, success};
use crate::model::export::{Export, FieldMapping, FirstRun, Guard, OnError, OnPartial};
use crate::model::name::Name;
use crate::model::source::{FileFormat, Model, Source};
use crate::model::status::StatusSet;

/// More rows than anybody has.
const MOST_ROWS: u64 = 1_000_000_000_000;

/// One model; `None` if something about it is wrong and was reported.
pub(super) fn model(id: &Name, place: &Place<'_>) -> Option<Model> {
    let object = place.object(&MODEL)?;
    let name = object.given("name").and_then(|place| place.filled_text()).unwrap_or(id.as_str()).to_string();
    let primary_key = object.required("primary_key").map(|place| {
        let columns = columns(&place);
        if place.list().is_some_and(|items| items.is_empty()) {
            place.problem("names no column; write those that tell rows apart, as in `primary_key: [id]`");
        }
        columns
    });
    let source = object.required("source").and_then(|place| source(&place));
    Some(Model { id: id.clone(), name, primary_key: primary_key?, source: source? })
}

#[derive(Clone, Copy)]
enum Kind {
    File,
    Postgres,
    Athena,
    Push,
}

/// The type decides which keys belong there, so it is read before them; without one, those of a file are meant.
fn source(place: &Place<'_>) -> Option<Source> {
    let written = place.map()?.into_iter().find(|(name, _)| *name == "type").map(|(_, kind)| kind).filter(|kind| !kind.is_null());
    let kinds = [("file", Kind::File), ("postgres", Kind::Postgres), ("athena", Kind::Athena), ("push", Kind::Push)];
    let kind = match written {
        Some(kind) => kind.choice(&kinds, &[])?,
        None => Kind::File,
    };
    match kind {
        Kind::File => file(place),
        Kind::Postgres => postgres(place),
        Kind::Athena => athena(place),
        Kind::Push => place.object(&SOURCE_PUSH).map(|_| Source::Push),
    }
}

fn file(place: &Place<'_>) -> Option<Source> {
    let object = place.object(&SOURCE_FILE)?;
    let kind = object.required("type");
    let formats = [("csv", FileFormat::Csv), ("ndjson", FileFormat::Ndjson), ("parquet", FileFormat::Parquet)];
    let format = object.given("format").map(|place| place.choice(&formats, &[]));
    let place = object.required("path");
    let path = place.and_then(|place| path(&place));
    kind?;
    let format = match format {
        Some(chosen) => Some(chosen?),
        None => None,
    };
    match path? {
        Path::Here(path) => Some(Source::File { path, format }),
        Path::S3 { bucket, prefix } => Some(Source::S3 { bucket, prefix, format }),
    }
}

/// No problem shows the DSN, since it holds a password.
fn postgres(place: &Place<'_>) -> Option<Source> {
    let object = place.object(&SOURCE_POSTGRES)?;
    let dsn = object.required("dsn").and_then(|place| {
        let dsn = secret(&place)?;
        let is_url = ["postgres://", "postgresql://"].iter().any(|scheme| dsn.reveal().starts_with(scheme));
        if !is_url && !dsn.reveal().contains('=') {
            place.problem("is no DSN; write one like postgres://user:password@host:5432/database, best from the environment");
            return None;
        }
        Some(dsn)
    });
    let query = object.required("query").and_then(|place| plain_text(&place));
    Some(Source::Postgres { dsn: dsn?, query: query? })
}

fn athena(place: &Place<'_>) -> Option<Source> {
    let object = place.object(&SOURCE_ATHENA)?;
    let database = object.required("database").and_then(|place| plain_text(&place));
    let query = object.required("query").and_then(|place| {
        let text = plain_text(&place)?;
        if text.trim_end().ends_with(';') {
            place.problem("ends with a semicolon, but is put into an UNLOAD statement; take it out");
            return None;
        }
        Some(text)
    });
    let workgroup = object.given("workgroup").map(|place| plain_text(&place));
    let workgroup = match workgroup {
        Some(read) => Some(read?),
        None => None,
    };
    Some(Source::Athena { database: database?, query: query?, workgroup })
}

fn plain_text(place: &Place<'_>) -> Option<String> {
    let text = place.filled_text()?;
    if text.contains('\0') {
        place.problem("holds a NUL character; take it out");
        return None;
    }
    Some(text.to_string())
}

/// Where files lie.
enum Path {
    Here(String),
    S3 { bucket: String, prefix: String },
}

fn path(place: &Place<'_>) -> Option<Path> {
    let text = place.filled_text()?;
    if let Some((scheme, rest)) = text.split_once("://") {
        match scheme {
            "s3" => match rest.split_once('/') {
                Some((bucket, prefix)) if !bucket.is_empty() && !prefix.is_empty() && !prefix.contains('\0') => {
                    return Some(Path::S3 { bucket: bucket.to_string(), prefix: prefix.to_string() });
                }
                _ => place.problem("names no objects; write s3://bucket/ and a key, or what keys begin with"),
            },
            _ => place.problem("is a URL; write the path of a file, a folder or a glob, or s3://bucket/prefix"),
        }
        return None;
    }
    if text.contains('\0') {
        place.problem("holds a NUL character; write the path of a file, a folder or a glob");
        return None;
    }
    Some(Path::Here(text.to_string()))
}

/// What an export may refer to.
pub(super) struct Known<'d, 'a> {
    /// The models' names.
    pub(super) models: Vec<&'d str>,
    /// The destinations' names, those with problems included.
    pub(super) destinations: Vec<&'d str>,
    /// The destinations that could be looked into.
    pub(super) drafts: &'d [Draft<'a>],
}

/// One export (HT-17); `None` if something about it is wrong and was reported.
pub(super) fn export<'a>(id: &Name, place: &Place<'a>, known: &Known<'_, 'a>) -> Option<Export> {
    let object = place.object(&EXPORT)?;
    let model = object.required("model").and_then(|place| reference(&place, "model", &known.models));
    let destination = object.required("destination").and_then(|place| reference(&place, "destination", &known.destinations));
    let draft = destination.as_ref().and_then(|name| known.drafts.iter().find(|draft| draft.id == *name));

    let own_success = object.given("success").and_then(|place| success(&place));
    let success = own_success.or_else(|| draft.and_then(|draft| draft.success.clone())).unwrap_or_else(StatusSet::two_hundreds);
    let path = path_of_key(place.path(), "actions");
    // Where the destination is not known its actions are not either, so that what is missing here may well stand there.
    let actions = match destination {
        Some(_) => Reader { draft, success, path, problems: place.problems() }.read(object.given("actions").as_ref()),
        None => None,
    };

    let first_runs = [("backfill", FirstRun::Backfill), ("skip", FirstRun::Skip)];
    let first_run = object.given("first_run").map_or(Some(FirstRun::Backfill), |place| place.choice(&first_runs, &[]));
    let on_errors = [("next_run", OnError::NextRun), ("give_up", OnError::GiveUp)];
    let on_error = object.given("on_error").map_or(Some(OnError::NextRun), |place| place.choice(&on_errors, &[]));
    let on_partials = [("next_run", OnPartial::NextRun), ("accept", OnPartial::Accept)];
    let on_partial = object.given("on_partial").map_or(Some(OnPartial::NextRun), |place| place.choice(&on_partials, &["split"]));
    object.given("on_rejected").and_then(|place| place.choice(&[("fail", ())], &["split"]));
    let fields = object.given("fields").map(|place| fields(&place)).unwrap_or_default();
    let ignore_in_diff = object.given("ignore_in_diff").map(|place| columns(&place)).unwrap_or_default();
    let guard = object.given("guard").map_or(Some(Guard::default()), |place| guard(&place));
    let schedule = object.given("schedule").and_then(|place| schedule(&place));
    Some(Export {
        id: id.clone(),
        model: model?,
        destination: destination?,
        fields,
        actions: actions?,
        first_run: first_run?,
        on_error: on_error?,
        on_partial: on_partial?,
        ignore_in_diff,
        guard: guard?,
        schedule,
    })
}

fn fields(place: &Place<'_>) -> Vec<FieldMapping> {
    let mut fields: Vec<FieldMapping> = Vec::new();
    for item in place.list().unwrap_or_default() {
        let Some(object) = item.object(&FIELD) else { continue };
        let from = object.required("from").and_then(|place| place.filled_text());
        let to = object.given("to").map_or(from, |place| place.filled_text());
        let (Some(from), Some(to)) = (from, to) else { continue };
        if fields.iter().any(|field| field.to == to) {
            item.problem(format!("two fields go to `{to}`; give one of them another name"));
        } else {
            fields.push(FieldMapping { from: from.to_string(), to: to.to_string() });
        }
    }
    fields
}

fn guard(place: &Place<'_>) -> Option<Guard> {
    let object = place.object(&GUARD)?;
    let default = Guard::default();
    let percent = |name: &str, default: f64| object.given(name).map_or(Some(default), |place| place.number(0.0, 100.0));
    let (removed, invalid) =
        (percent("max_removed_percent", default.max_removed_percent), percent("max_invalid_percent", default.max_invalid_percent));
    let max_removed = object.given("max_removed").and_then(|place| place.integer(0, MOST_ROWS));
    Some(Guard { max_removed_percent: removed?, max_removed, max_invalid_percent: invalid? })
}
