//! Handlebars templates with our own value rules: a source is compiled once into a flat program and run against rows without copying them.
//!
//! It must not do I/O, know of time or chance, escape for HTML, or follow data: what a value may do is fixed by the place in the
//! template where it stands. A hostile template ends in an error, never in a panic, an abort or a loop without end.
//!
//! The way of a template: `scan` cuts the source into text and tags, `expression` reads what stands in a tag, `compile` turns both
//! into a `program`, `run` executes it against a [`Scope`], and a sink (`json`, `plain`, `url`) decides how text and values reach the output.

mod compile;
mod expression;
mod json;
mod plain;
mod program;
mod run;
mod scan;
mod scope;
mod url;
mod value;

#[cfg(test)]
mod tests;

pub use program::{FieldUse, Usage};
pub use scope::{RESERVED, Row, Scope};
pub use url::UrlTemplate;

use program::Program;

/// The longest template, bytes.
pub const MAX_SOURCE_BYTES: usize = 64 * 1024;

/// How deep blocks, and sub-expressions within a tag, may nest.
pub const MAX_NESTING: usize = 32;

/// Where a template's output goes, and so what becomes of its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// A JSON document: within a string literal values are escaped, elsewhere they are JSON literals; the whole must be one document.
    Json,
    /// Text: values stand as they are, missing ones are empty.
    Text,
    /// A header's value: values stand as they are; missing ones, null and control characters are errors.
    Header,
    /// The value of a query or form parameter, not yet percent-encoded; missing ones and null are errors.
    Query,
}

/// What one rendering may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Operations: an instruction, a step of a path, a turn of a loop.
    pub operations: u64,
    /// Bytes of output.
    pub output_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { operations: 5_000_000, output_bytes: 8 * 1024 * 1024 }
    }
}

/// Why a source is not a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// Line in the source, from 1.
    pub line: usize,
    /// Column in the line, characters from 1.
    pub column: usize,
    /// What is wrong and what to do, a lowercase fragment.
    pub message: String,
}

impl TemplateError {
    pub(crate) fn at(source: &str, offset: usize, message: impl Into<String>) -> TemplateError {
        let (line, column) = position(source, offset);
        TemplateError { line, column, message: message.into() }
    }
}

impl std::fmt::Display for TemplateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for TemplateError {}

/// What kind of thing stopped a rendering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RenderProblem {
    /// A variable that must have a value is missing or null; its path as written.
    Missing(String),
    /// A value may not stand where the template puts it (a line feed in a header, `..` as a path segment).
    Value,
    /// The rendered body is not one JSON document. The output buffer holds it as rendered.
    NotJson,
    /// The rendering would take more than [`Limits`] allow.
    Limit,
}

/// Why a template could not be rendered with these rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderError {
    /// What kind of thing went wrong.
    pub problem: RenderProblem,
    /// Line in the template, from 1.
    pub line: usize,
    /// Column in the line, characters from 1.
    pub column: usize,
    /// What is wrong and what to do, a lowercase fragment; may quote the rows' data.
    pub message: String,
}

impl std::fmt::Display for RenderError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "template line {}, column {}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for RenderError {}

/// A compiled template for a body, a header's value or a parameter's value. URLs are [`UrlTemplate`]s.
#[derive(Debug)]
pub struct Template {
    program: Program,
    content: Content,
    strict: bool,
    limits: Limits,
}

impl Template {
    /// Compiles `source` (at most 64 KiB, blocks and sub-expressions at most 32 deep). The error names the first problem's place.
    pub fn compile(source: &str, content: Content) -> Result<Template, TemplateError> {
        let program = compile::compile(source)?;
        if content == Content::Header {
            plain::check_header_text(&program)?;
        }
        Ok(Template { program, content, strict: false, limits: Limits::default() })
    }

    /// Whether a missing variable is an error in a body too (where it is put out, or walked by `#each` or `#with`).
    #[must_use]
    pub fn strict(mut self, strict: bool) -> Template {
        self.strict = strict;
        self
    }

    /// Other limits than the default ones.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Template {
        self.limits = limits;
        self
    }

    /// Renders into a new buffer.
    pub fn render(&self, scope: &Scope<'_>) -> Result<String, RenderError> {
        let mut out = Vec::new();
        self.render_into(&mut out, scope)?;
        Ok(into_text(out))
    }

    /// Replaces the content of `out` (UTF-8) with the rendered text, keeping its allocation. After [`RenderProblem::NotJson`] it holds the
    /// whole body as rendered, so that it can be shown; after any other error, what was rendered up to there.
    pub fn render_into(&self, out: &mut Vec<u8>, scope: &Scope<'_>) -> Result<(), RenderError> {
        out.clear();
        let program = &self.program;
        match self.content {
            Content::Json => run::run(program, scope, json::JsonSink::new(program.ops.len()), self.strict, self.limits, out).map(drop),
            Content::Text => run::run(program, scope, plain::TextSink, self.strict, self.limits, out).map(drop),
            Content::Header => run::run(program, scope, plain::HeaderSink, true, self.limits, out).map(drop),
            Content::Query => run::run(program, scope, plain::ParameterSink, true, self.limits, out).map(drop),
        }
    }

    /// What the template reads: variables, fields, whether its output can differ between rows.
    pub fn usage(&self) -> &Usage {
        &self.program.usage
    }

    /// The paths that the template reads from the top level, as `user.id` or `audience_name`.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.usage().variables()
    }

    /// Whether the template reads the root variable `name` (`user` and `row` count as one, as do `users` and `rows`).
    pub fn uses(&self, name: &str) -> bool {
        self.usage().uses(name)
    }

    /// Whether the output can differ between rows or deliveries.
    pub fn depends_on_row(&self) -> bool {
        self.usage().depends_on_row()
    }

    /// Where the output goes.
    pub fn content(&self) -> Content {
        self.content
    }

    /// The source it was compiled from.
    pub fn source(&self) -> &str {
        &self.program.source
    }
}

/// Line and column (from 1, in characters) of a byte offset.
pub(crate) fn position(source: &str, offset: usize) -> (usize, usize) {
    let mut offset = offset.min(source.len());
    while !source.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &source[..offset];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// Output is made of `str` pieces and ASCII only, so this never replaces anything.
fn into_text(out: Vec<u8>) -> String {
    String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
