//! Fields that templates read and no row has: allowed, since a missing variable in a body is empty, and yet hardly ever meant. It must
//! not call them problems.

use super::Loaded;
use super::check::path_to;
use engine::configure::suggestion;
use engine::model::action::{Action, ActionName, Body};
use engine::model::export::Export;
use engine::model::project::Problem;
use engine::template::{Content, Template, UrlTemplate, Usage};

/// A template of an action: its path below the action, and what it reads.
type Read = (Vec<String>, Usage);

/// The warnings about one export. One that maps no fields has those of its rows, which are not looked at here.
pub(super) fn unknown(loaded: &Loaded, export: &Export) -> Vec<Problem> {
    if export.fields.is_empty() {
        return Vec::new();
    }
    let known: Vec<&str> = export.fields.iter().map(|field| field.to.as_str()).collect();
    let mut warnings: Vec<Problem> = Vec::new();
    let mut warn = |path: String, usage: &Usage| {
        for (field, at) in usage.fields().filter(|(field, _)| !known.contains(field)) {
            let (line, column, hint) = (at.line, at.column, suggestion(field, &known));
            let message = format!("no row of export `{}` has a field `{field}` (line {line}, column {column}); {hint}", export.id);
            let warning = Problem { path: path.clone(), message };
            // An update that is the same as add would repeat add's.
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
    };
    for name in ActionName::ALL {
        let Some(action) = export.actions.get(name) else { continue };
        for (keys, usage) in reads(loaded, export, action) {
            warn(path_of_template(loaded, export, name, &keys), &usage);
        }
    }
    if let Some(destination) = loaded.project.destinations.get(&export.destination) {
        for (name, value) in &destination.headers {
            if let Ok(template) = Template::compile(value, Content::Header) {
                warn(path_to(&["destinations", destination.id.as_str(), "headers", name]), template.usage());
            }
        }
    }
    warnings
}

/// What the templates of an action read; the parser has compiled each before, so that none fails here.
fn reads(loaded: &Loaded, export: &Export, action: &Action) -> Vec<Read> {
    let mut reads = Vec::new();
    if let Some(destination) = loaded.project.destinations.get(&export.destination)
        && let Ok(url) = UrlTemplate::compile(&action.url, &destination.base_url)
    {
        reads.push((vec!["url".to_string()], url.usage().clone()));
    }
    let mut add = |keys: &[&str], text: &str, content| {
        if let Ok(template) = Template::compile(text, content) {
            reads.push((keys.iter().map(ToString::to_string).collect(), template.usage().clone()));
        }
    };
    action.query.iter().for_each(|(name, value)| add(&["query", name], value, Content::Query));
    action.headers.iter().for_each(|(name, value)| add(&["headers", name], value, Content::Header));
    match &action.body {
        Body::Json(text) => add(&["body"], text, Content::Json),
        Body::Text(text) => add(&["body"], text, Content::Text),
        Body::Empty => {}
    }
    reads
}

/// Where a template of an export's merged action is written: with the export, with the destination, or as either's add.
fn path_of_template(loaded: &Loaded, export: &Export, name: ActionName, keys: &[String]) -> String {
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let at = |kind, id, action| path_to(&[&[kind, id, "actions", action], keys.as_slice()].concat());
    let (export, destination) = (export.id.as_str(), export.destination.as_str());
    [name, ActionName::Add]
        .iter()
        .flat_map(|name| [at("exports", export, name.as_str()), at("destinations", destination, name.as_str())])
        .find(|path| loaded.places.has(path))
        .unwrap_or_else(|| path_to(&["exports", export, "actions", name.as_str()]))
}
