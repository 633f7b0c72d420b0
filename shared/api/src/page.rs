//! The page at `/docs`: the OpenAPI document, to be read. One file without scripts that loads nothing. It must not say anything that
//! the document does not say, but for how calls are made in general.

use crate::document::document;
use crate::operation::{Chapter, Operation};
use crate::problem::CODES;
use crate::routes::OPERATIONS;
use serde_json::Value;
use std::fmt::Write;

const STYLE: &str = include_str!("page.css");

const INTRODUCTION: &str = r##"
<p>Every call below <code>/v1</code> needs a token, but for the description itself:</p>
<pre><code>curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8787/v1/exports</code></pre>
<p>A token belongs to one organization and carries scopes: <code>read</code> looks, <code>write</code> changes definitions, rows and
tokens, <code>send</code> makes requests go out. What is another organization's is answered like what is not there: 404.</p>
<h4>Lists</h4>
<p>Lists answer <code>{"items": […], "next": …}</code>. Give <code>next</code> as <code>after</code> to go on; null: nothing is left.</p>
<h4>Changing what others may change too</h4>
<p>Definitions carry an <code>ETag</code>. <code>If-Match</code> changes just what was read, <code>If-None-Match: *</code> only creates;
else 412.</p>
<h4>Asking twice</h4>
<p>A <code>POST</code> with an <code>Idempotency-Key</code> that was answered within the last 24 hours does nothing again and gets the
first answer, with <code>Idempotency-Replayed: true</code>. The same key with another request is refused with 422; while the first is
still at work the answer is 409. Answers of 5xx are not kept, and those that hold a secret are kept sealed.</p>
<h4>Problems</h4>
<p>What goes wrong is <code>application/problem+json</code> (RFC 9457) with a stable <code>code</code>, a sentence to act on and every
single problem with its path. <a href="#codes">All codes</a>. Each answer carries an <code>X-Request-Id</code>; one of your own is kept.</p>
"##;

/// The page.
pub(crate) fn page() -> String {
    let document = serde_json::to_value(document()).expect("the document always serializes");
    let mut html = String::with_capacity(256 * 1024);
    html.push_str("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    html.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>Penstock API</title>\n<style>\n");
    html.push_str(STYLE);
    html.push_str("</style>\n</head>\n<body>\n");
    navigation(&mut html, &document);
    let about = inline(text(&document["info"]["description"]));
    let _ = write!(html, "<main>\n<h1>Penstock API</h1>\n<p>{about}</p>\n{INTRODUCTION}");
    for (_, title, about) in Chapter::ALL {
        let _ = write!(html, "<h2 id=\"{}\">{title}</h2>\n<p>{}</p>\n", anchor(title), inline(about));
        for (operation, described) in operations(&document, title) {
            self::operation(&mut html, operation, described);
        }
    }
    schemas(&mut html, &document);
    codes(&mut html);
    html.push_str("</main>\n</body>\n</html>\n");
    html
}

/// The operations of a chapter, in the order of the table, each with its description.
fn operations<'a>(document: &'a Value, chapter: &str) -> Vec<(&'static Operation, &'a Value)> {
    let of_chapter = OPERATIONS.iter().filter(|operation| operation.chapter.title() == chapter);
    of_chapter.map(|operation| (*operation, &document["paths"][operation.path][operation.verb.as_str()])).collect()
}

fn navigation(html: &mut String, document: &Value) {
    let version = escape(text(&document["info"]["version"]));
    let _ = write!(html, "<nav>\n<a class=\"brand\" href=\"#\">Penstock</a>\n<div class=\"version\">API, version {version}</div>\n");
    for (_, title, _) in Chapter::ALL {
        let _ = write!(html, "<details open><summary><a href=\"#{}\">{title}</a></summary><ul>", anchor(title));
        for (operation, _) in operations(document, title) {
            let _ = write!(html, "<li><a href=\"#{}\">{}</a></li>", operation.id, escape(operation.summary));
        }
        html.push_str("</ul></details>\n");
    }
    html.push_str("<details open><summary><a href=\"#schemas\">Schemas</a></summary></details>\n");
    html.push_str("<details open><summary><a href=\"#codes\">Codes</a></summary></details>\n</nav>\n");
}

fn operation(html: &mut String, operation: &Operation, described: &Value) {
    let scope = operation.scope.map_or("no token".to_string(), |scope| format!("scope {}", scope.as_str()));
    let verb = operation.verb.as_str();
    let _ = write!(
        html,
        "<article id=\"{}\">\n<header><span class=\"verb {verb}\">{}</span><h3><code>{}</code></h3><span class=\"scope\">{scope}</span>\
         <span class=\"summary\">{}</span></header>\n",
        operation.id,
        verb.to_uppercase(),
        escape(operation.path),
        escape(operation.summary),
    );
    if !operation.about.is_empty() {
        let _ = writeln!(html, "<p>{}</p>", inline(operation.about));
    }
    parameters(html, &described["parameters"]);
    if let Some(body) = described.get("requestBody") {
        let must = if body["required"] == true { "" } else { ", may be left away" };
        let _ = write!(html, "<h4>Body{must}</h4>\n<p>{}", inline(text(&body["description"])));
        contents(html, &body["content"], true);
    }
    let answers = || described["responses"].as_object().into_iter().flatten();
    html.push_str("<h4>Answers</h4>\n<table>\n");
    answers().filter(|(_, answer)| answer.get("$ref").is_none()).for_each(|(status, answer)| answer_row(html, status, answer));
    html.push_str("</table>\n<h4>Problems</h4>\n<p class=\"problems\">");
    for (status, answer) in answers().filter(|(_, answer)| answer.get("$ref").is_some()) {
        for code in text(&answer["description"]).split(", ").filter(|code| !code.is_empty()) {
            let _ = write!(html, "<span><b>{}</b> <a href=\"#{1}\">{1}</a></span> ", escape(status), escape(code));
        }
    }
    html.push_str("</p>\n</article>\n");
}

fn parameters(html: &mut String, parameters: &Value) {
    let Some(parameters) = parameters.as_array().filter(|list| !list.is_empty()) else { return };
    html.push_str("<h4>Parameters</h4>\n<table>\n");
    for parameter in parameters {
        let must = if parameter["required"] == true && parameter["in"] != "path" { " <span class=\"must\">needed</span>" } else { "" };
        let _ = writeln!(
            html,
            "<tr><td><code>{}</code>{must}</td><td class=\"type\">{}</td><td>{} As in <code>{}</code>{}</td></tr>",
            escape(text(&parameter["name"])),
            escape(text(&parameter["in"])),
            inline(text(&parameter["description"])),
            escape(&plain(&parameter["example"])),
            choice(&parameter["schema"]),
        );
    }
    html.push_str("</table>\n");
}

/// What a parameter may be, where its example does not say it.
fn choice(schema: &Value) -> String {
    match schema.get("enum").is_some() || schema.get("maximum").is_some() {
        true => format!("; {}", kind(schema)),
        false => String::new(),
    }
}

/// What stands in a body: its schema, then an example.
fn contents(html: &mut String, content: &Value, open: bool) {
    for (media, content) in content.as_object().into_iter().flatten() {
        let _ = write!(html, " <code>{}</code> {}", escape(media), kind(&content["schema"]));
        if let Some(example) = content.get("example") {
            let shown = match example {
                Value::String(text) => text.clone(),
                other => serde_json::to_string_pretty(other).unwrap_or_default(),
            };
            let open = if open { " open" } else { "" };
            let shown = escape(&shown);
            let _ = write!(html, "\n<details class=\"example\"{open}><summary>example</summary><pre><code>{shown}</code></pre></details>");
        }
    }
    html.push('\n');
}

fn answer_row(html: &mut String, status: &str, answer: &Value) {
    let _ = write!(html, "<tr><td><code>{}</code></td><td>{}", escape(status), inline(text(&answer["description"])));
    for (name, header) in answer["headers"].as_object().into_iter().flatten() {
        let _ = write!(html, " Header <code>{}</code>: {}", escape(name), inline(text(&header["description"])));
    }
    contents(html, &answer["content"], false);
    html.push_str("</td></tr>\n");
}

fn schemas(html: &mut String, document: &Value) {
    html.push_str("<h2 id=\"schemas\">Schemas</h2>\n<p>What may stand in bodies and answers.</p>\n");
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        let about = inline(text(&schema["description"]));
        let _ = write!(html, "<article id=\"schema-{0}\">\n<header><h3><code>{0}</code></h3></header>\n<p>{about}</p>\n", escape(name));
        match schema.get("oneOf").and_then(Value::as_array) {
            Some(kinds) => kinds.iter().for_each(|kind| {
                let _ = writeln!(html, "<p>{}</p>", inline(text(&kind["description"])));
                properties(html, kind);
            }),
            None if schema.get("properties").is_some() => properties(html, schema),
            None => {
                let _ = writeln!(html, "<p>{}</p>", kind(schema));
            }
        }
        html.push_str("</article>\n");
    }
}

fn properties(html: &mut String, schema: &Value) {
    html.push_str("<table>\n");
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let needed = schema["required"].as_array().is_some_and(|list| list.iter().any(|own| own == name));
        let must = if needed { " <span class=\"must\">always</span>" } else { "" };
        let _ = writeln!(
            html,
            "<tr><td><code>{}</code>{must}</td><td class=\"type\">{}</td><td>{}</td></tr>",
            escape(name),
            kind(property),
            inline(text(&property["description"])),
        );
    }
    html.push_str("</table>\n");
}

fn codes(html: &mut String) {
    html.push_str(
        "<h2 id=\"codes\">Codes</h2>\n<p>What <code>code</code> says in a problem. A word never changes its meaning.</p>\n<table>\n",
    );
    for meaning in CODES {
        let _ = writeln!(
            html,
            "<tr id=\"{0}\"><td><code>{0}</code></td><td class=\"type\">{1}</td><td>{2}. {3}</td></tr>",
            meaning.word,
            meaning.status,
            escape(meaning.title),
            inline(meaning.about),
        );
    }
    html.push_str("</table>\n");
}

/// A schema in a few words, HTML.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) {
        return format!("<a href=\"#schema-{0}\">{0}</a>", escape(name));
    }
    for word in ["oneOf", "anyOf"] {
        if let Some(kinds) = schema[word].as_array() {
            return kinds.iter().map(kind).collect::<Vec<_>>().join(" or ");
        }
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().map(|word| format!("<code>{}</code>", escape(&plain(word)))).collect::<Vec<_>>().join(" ");
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::Array(types) => types.iter().map(text).collect(),
        one => vec![text(one)],
    };
    let mut out: Vec<String> = Vec::new();
    for name in types.into_iter().filter(|name| !name.is_empty()) {
        out.push(match name {
            "array" => format!("list of {}", kind(&schema["items"])),
            "object" if schema["additionalProperties"].is_object() => format!("object of {}", kind(&schema["additionalProperties"])),
            "object" if schema["properties"].get("items").is_some() => {
                format!("a page of {}", kind(&schema["properties"]["items"]["items"]))
            }
            "string" if schema["format"].is_string() => escape(text(&schema["format"])),
            other => escape(other),
        });
    }
    let mut out = out.join(" or ");
    let bounds = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
    match bounds {
        (Some(low), Some(high)) => out.push_str(&format!(" {low} to {high}")),
        (Some(low), None) if low > 0.0 => out.push_str(&format!(" from {low}")),
        _ => {}
    }
    out
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

fn anchor(title: &str) -> String {
    format!("chapter-{}", title.to_lowercase().replace(' ', "-"))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Text with `code` in it.
fn inline(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 32);
    for (place, part) in escape(text).split('`').enumerate() {
        match place % 2 {
            0 => out.push_str(part),
            _ => {
                let _ = write!(out, "<code>{part}</code>");
            }
        }
    }
    out
}
