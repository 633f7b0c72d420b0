//! URLs from templates, built part by part: a value fills (a part of) one path segment or one query component and can't leave it.
//!
//! It must not let data touch scheme, user, host, port or fragment, nor add, remove or climb path segments.

use url::Url;

use super::compile::{compile, texts};
use super::program::{How, Op, Program, Usage};
use super::run::{Fault, Sink, run};
use super::scope::Scope;
use super::value::View;
use super::{Content, Limits, RenderError, RenderProblem, Template, TemplateError};

/// The longest URL, bytes.
const MAX_URL_BYTES: usize = 32 * 1024;

/// A URL with templates in its path and query, under a base URL or with an origin of its own.
#[derive(Debug)]
pub struct UrlTemplate {
    program: Program,
    /// Scheme, host, port and the base's path, without a slash at the end.
    prefix: String,
    /// The same with the slash, if there is one: for a request to the base itself.
    alone: String,
    /// The base's URL: what the rendered one must agree with.
    base: Url,
    base_query: Option<String>,
    base_segments: usize,
    parameters: Vec<(String, Template)>,
    usage: Usage,
    /// The URL, where it holds no expressions.
    fixed: Option<Url>,
}

impl UrlTemplate {
    /// Compiles a URL. `/x` under the base `https://h/api` gives `https://h/api/x`; an absolute URL replaces the base, and its scheme,
    /// host and port must be literal text. Literal text that can't stand in a URL as it is gets percent-encoded.
    pub fn compile(source: &str, base: &Url) -> Result<UrlTemplate, TemplateError> {
        let source = source.trim();
        let mut program = compile(source)?;
        check_texts(&program)?;
        let (base, origin_end) = match absolute_origin(source)? {
            Some((origin, end)) => (origin, end),
            None => (base.clone(), 0),
        };
        check_base(&base).map_err(|message| TemplateError::at(source, 0, message))?;
        if let Some(Op::Text(range)) = program.ops.first_mut()
            && origin_end > 0
        {
            range.start = origin_end;
        }
        let mut alone = base.clone();
        alone.set_query(None);
        let alone = String::from(alone);
        let prefix = alone.trim_end_matches('/').to_owned();
        let base_segments = base.path().trim_end_matches('/').matches('/').count();
        let base_query = base.query().filter(|query| !query.is_empty()).map(str::to_owned);
        let usage = program.usage.clone();
        let mut template =
            UrlTemplate { program, prefix, alone, base, base_query, base_segments, parameters: Vec::new(), usage, fixed: None };
        template.fix()?;
        Ok(template)
    }

    /// Adds a query parameter whose value is a template; both are percent-encoded. The error's place is within `source`.
    pub fn parameter(mut self, name: &str, source: &str) -> Result<UrlTemplate, TemplateError> {
        let template = Template::compile(source, Content::Query)?;
        self.usage.extend(template.usage());
        self.parameters.push((name.to_owned(), template));
        self.fix()?;
        Ok(self)
    }

    /// Renders once if there is nothing that could differ, so that a wrong URL is known before there are rows.
    fn fix(&mut self) -> Result<(), TemplateError> {
        let literal = |program: &Program| program.ops.iter().all(|op| matches!(op, Op::Text(_)));
        self.fixed = None;
        if literal(&self.program) && self.parameters.iter().all(|(_, template)| literal(&template.program)) {
            let nothing = Scope { rows: &[], individual: false, previous: None, roots: &[] };
            let rendered = self.render(&nothing);
            let wrong = |error: RenderError| TemplateError { line: error.line, column: error.column, message: error.message };
            self.fixed = Some(rendered.map_err(wrong)?);
        }
        Ok(())
    }

    /// The URL for one row (or for one request of a batch: see [`Scope`]). A missing or null variable, an empty path segment made of
    /// values, and `.` or `..` in any spelling are errors.
    pub fn render(&self, scope: &Scope<'_>) -> Result<Url, RenderError> {
        if let Some(fixed) = &self.fixed {
            return Ok(fixed.clone());
        }
        let limits = Limits { output_bytes: MAX_URL_BYTES, ..Limits::default() };
        let mut out = Vec::with_capacity(128);
        let sink = UrlSink { base_query: self.base_query.as_deref(), ..UrlSink::new() };
        let mut sink = run(&self.program, scope, sink, true, limits, &mut out)?;
        for (name, template) in &self.parameters {
            let mut value = Vec::new();
            template.render_into(&mut value, scope)?;
            sink.start_component(&mut out);
            encode_value(name.as_bytes(), &mut out);
            out.push(b'=');
            encode_value(&value, &mut out);
        }
        let mut text = if sink.segments == 0 { self.alone.clone() } else { self.prefix.clone() };
        text.push_str(&String::from_utf8_lossy(&out));
        if text.len() > MAX_URL_BYTES {
            return Err(self.refused(RenderProblem::Limit, format!("the URL is longer than {MAX_URL_BYTES} bytes")));
        }
        let url = Url::parse(&text).map_err(|error| self.refused(RenderProblem::Value, format!("the URL {text} is not one: {error}")))?;
        self.check(&url, sink.segments).map_err(|message| self.refused(RenderProblem::Value, message))?;
        Ok(url)
    }

    /// The second lock: whatever the sink let through, the parsed URL must have the skeleton's origin and number of segments.
    fn check(&self, url: &Url, segments: usize) -> Result<(), String> {
        let same_origin = url.scheme() == self.base.scheme() && url.host() == self.base.host() && url.port() == self.base.port();
        if !same_origin || !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err("the values would change where the request goes".to_owned());
        }
        let expected = if segments == 0 { self.base.path().matches('/').count() } else { self.base_segments + segments };
        let found = url.path().matches('/').count();
        if found == expected { Ok(()) } else { Err("the values would change the URL's path segments".to_owned()) }
    }

    fn refused(&self, problem: RenderProblem, message: String) -> RenderError {
        RenderError { problem, line: 1, column: 1, message }
    }

    /// What URL and parameters read.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Whether the URL can differ between rows or deliveries.
    pub fn depends_on_row(&self) -> bool {
        self.usage.depends_on_row()
    }

    /// Whether the URL reads the root variable `name`.
    pub fn uses(&self, name: &str) -> bool {
        self.usage.uses(name)
    }

    /// A URL with the scheme, host and port of every rendered one; for checks that need no rows.
    pub fn origin(&self) -> &Url {
        &self.base
    }
}

fn check_base(base: &Url) -> Result<(), String> {
    if !matches!(base.scheme(), "http" | "https") {
        return Err(format!("the URL's scheme is `{}`: only http and https can be sent to", base.scheme()));
    }
    if !base.username().is_empty() || base.password().is_some() {
        return Err("a URL can't hold a user or password: put them into a credential".to_owned());
    }
    if base.fragment().is_some() {
        return Err("a fragment (#…) is never sent: take it out of the URL".to_owned());
    }
    Ok(())
}

fn check_texts(program: &Program) -> Result<(), TemplateError> {
    let source = &program.source;
    let mut in_query = false;
    for (index, range) in texts(program).enumerate() {
        let text = &source[range.clone()];
        if let Some(at) = text.find(|each: char| each.is_control()) {
            return Err(TemplateError::at(
                source,
                range.start + at,
                "a URL can't hold line feeds or control characters: write it on one line",
            ));
        }
        if let Some(at) = text.find('#') {
            return Err(TemplateError::at(source, range.start + at, "a fragment (#…) is never sent: take it out, or write %23"));
        }
        let path_end = if in_query { 0 } else { text.find('?').unwrap_or(text.len()) };
        in_query |= text.contains('?');
        let literal_origin = index == 0 && range.start == 0 && text.find("://").is_some_and(|at| !text[..at].is_empty());
        if text[..path_end].contains("://") && !literal_origin {
            return Err(TemplateError::at(
                source,
                range.start,
                "scheme, host and port must be literal text at the start: no variable may stand before or in them",
            ));
        }
    }
    Ok(())
}

/// The scheme, host and port that the source starts with, and where they end.
fn absolute_origin(source: &str) -> Result<Option<(Url, usize)>, TemplateError> {
    let fail = |message: String| Err(TemplateError::at(source, 0, message));
    if source.starts_with("//") {
        return fail("a URL starts with https:// or with one slash and a path under the base URL".to_owned());
    }
    let scheme_end = source.find(|each: char| !(each.is_ascii_alphanumeric() || matches!(each, '+' | '-' | '.'))).unwrap_or(source.len());
    let has_scheme = source.starts_with(|first: char| first.is_ascii_alphabetic()) && source[scheme_end..].starts_with(':');
    if !has_scheme {
        return Ok(None);
    }
    let scheme = source[..scheme_end].to_ascii_lowercase();
    if !matches!(scheme.as_str(), "http" | "https") || !source[scheme_end..].starts_with("://") {
        return fail(format!(
            "`{scheme}:` is no scheme to send to: a URL starts with https://, or with a slash and a path under the base URL"
        ));
    }
    let authority = scheme_end + 3;
    let rest = &source[authority..];
    let end = authority + rest.find(['/', '?', '\\']).unwrap_or(rest.len());
    let braces = source.find("{{").unwrap_or(source.len());
    if braces < source.len() && braces <= end {
        return fail("scheme, host and port must be literal text: a variable can stand in the path and the query only".to_owned());
    }
    match Url::parse(&source[..end]) {
        Ok(origin) => Ok(Some((origin, end))),
        Err(error) => fail(format!("`{}` is not the start of a URL: {error}", &source[..end])),
    }
}

/// Where in the URL the output stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Start,
    Path,
    Query,
}

struct UrlSink<'a> {
    part: Part,
    base_query: Option<&'a str>,
    segments: usize,
    segment_start: usize,
    segment_has_value: bool,
}

impl UrlSink<'_> {
    fn new() -> UrlSink<'static> {
        UrlSink { part: Part::Start, base_query: None, segments: 0, segment_start: 0, segment_has_value: false }
    }

    fn start_segment(&mut self, out: &mut Vec<u8>) {
        out.push(b'/');
        self.part = Part::Path;
        self.segments += 1;
        self.segment_start = out.len();
        self.segment_has_value = false;
    }

    fn start_query(&mut self, out: &mut Vec<u8>) {
        self.part = Part::Query;
        out.push(b'?');
        if let Some(query) = self.base_query {
            out.extend_from_slice(query.as_bytes());
            out.push(b'&');
        }
    }

    /// Starts one more `name=value`.
    fn start_component(&mut self, out: &mut Vec<u8>) {
        if !out.contains(&b'?') {
            self.start_query(out);
        } else if !out.ends_with(b"?") && !out.ends_with(b"&") {
            out.push(b'&');
        }
    }

    fn end_segment(&self, out: &[u8]) -> Result<(), String> {
        if self.part != Part::Path {
            return Ok(());
        }
        let segment = &out[self.segment_start..];
        if segment.is_empty() && self.segment_has_value {
            return Err("a path segment is empty, because its value is: the request would go to another resource".to_owned());
        }
        if segment.contains(&b'%') || matches!(segment, b"." | b"..") {
            let shown = decoded_fully(segment);
            let climbs = shown.split(|byte| matches!(byte, b'/' | b'\\')).any(|part| part == b"..");
            if shown == b"." || climbs {
                let shown = String::from_utf8_lossy(&shown).into_owned();
                return Err(format!("the path segment `{shown}` would climb to another resource: `.` and `..` can't be sent"));
            }
        }
        Ok(())
    }
}

impl Sink for UrlSink<'_> {
    const NEEDS_VALUES: bool = true;

    fn text(&mut self, _index: usize, text: &[u8], out: &mut Vec<u8>) -> Result<(), Box<Fault>> {
        for (at, byte) in text.iter().copied().enumerate() {
            if self.part == Part::Start && !matches!(byte, b'/' | b'?') {
                self.start_segment(out);
            }
            match byte {
                b'/' if self.part != Part::Query => {
                    self.end_segment(out).map_err(|message| Fault::text(at, message))?;
                    self.start_segment(out);
                }
                b'?' if self.part != Part::Query => {
                    self.end_segment(out).map_err(|message| Fault::text(at, message))?;
                    self.start_query(out);
                }
                b'%' if text.get(at + 1).is_some_and(u8::is_ascii_hexdigit) && text.get(at + 2).is_some_and(u8::is_ascii_hexdigit) => {
                    out.push(byte);
                }
                _ if stands_in_literal(byte) => out.push(byte),
                _ => encode_byte(byte, out),
            }
        }
        Ok(())
    }

    fn value(&mut self, value: View<'_>, how: How, out: &mut Vec<u8>) -> Result<(), Box<Fault>> {
        if self.part == Part::Start {
            self.start_segment(out);
        }
        self.segment_has_value = true;
        match value.as_text() {
            Some(text) if how != How::Literal => encode_value(text.as_bytes(), out),
            _ => {
                let mut text = Vec::new();
                value.write_literal(&mut text);
                encode_value(&text, out);
            }
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Box<Fault>> {
        self.end_segment(out).map_err(Fault::value)?;
        if self.part != Part::Query && self.base_query.is_some() {
            self.start_query(out);
            out.pop();
        }
        Ok(())
    }
}

/// Percent-decodes until nothing changes (what a chain of servers might do), at most eight times.
fn decoded_fully(segment: &[u8]) -> Vec<u8> {
    let mut current = segment.to_vec();
    for _ in 0..8 {
        let mut next = Vec::with_capacity(current.len());
        let mut at = 0;
        while at < current.len() {
            let hex = |offset: usize| current.get(at + offset).and_then(|byte| char::from(*byte).to_digit(16));
            match (current[at], hex(1), hex(2)) {
                (b'%', Some(high), Some(low)) => {
                    next.push(u8::try_from(high * 16 + low).unwrap_or(b'%'));
                    at += 3;
                }
                (byte, ..) => {
                    next.push(byte);
                    at += 1;
                }
            }
        }
        if next == current {
            break;
        }
        current = next;
    }
    current
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// What RFC 3986 allows in a path or query as it is.
fn stands_in_literal(byte: u8) -> bool {
    is_unreserved(byte) || b"!$&'()*+,;=:@/?".contains(&byte)
}

/// Writes bytes of a value: all but unreserved characters encoded.
fn encode_value(value: &[u8], out: &mut Vec<u8>) {
    for byte in value.iter().copied() {
        if is_unreserved(byte) { out.push(byte) } else { encode_byte(byte, out) }
    }
}

fn encode_byte(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}
