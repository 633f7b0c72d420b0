//! Cuts a template's source into text and tags, and settles white space: `~`, and lines on which a block tag or comment stands alone.
//!
//! It must not look at what a tag means beyond its first character.

use std::ops::Range;

use super::TemplateError;

/// A piece of a template, in order. All ranges are byte ranges of the source.
#[derive(Debug, PartialEq)]
pub(super) enum Piece {
    Text(Range<usize>),
    Tag(Tag),
}

/// What stands between braces.
#[derive(Debug, PartialEq)]
pub(super) struct Tag {
    pub kind: Kind,
    /// The braces and all within.
    pub outer: Range<usize>,
    /// What follows the first character, white space trimmed.
    pub inner: Range<usize>,
    trim_before: bool,
    trim_after: bool,
}

/// The kinds of tags, by their first character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `{{x}}`
    Value,
    /// `{{{x}}}` and `{{&x}}`
    Raw,
    /// `{{#x}}`
    Open,
    /// `{{/x}}`
    Close,
    /// `{{else}}`, `{{else x}}`, `{{^}}`; the inner range is what follows.
    Else,
    /// `{{! }}`
    Comment,
}

/// Cuts `source` into pieces.
pub(super) fn scan(source: &str) -> Result<Vec<Piece>, TemplateError> {
    let bytes = source.as_bytes();
    let mut pieces = Vec::new();
    let mut text_start = 0;
    let mut search = 0;
    while let Some(found) = source.get(search..).and_then(|rest| rest.find("{{")) {
        let open = search + found;
        let mut text_end = open;
        if open > text_start && bytes[open - 1] == b'\\' {
            text_end = open - 1;
            let doubled = text_end > text_start && bytes[text_end - 1] == b'\\';
            if !doubled {
                // `\{{` stands for `{{`: the braces are text, the backslash is not.
                pieces.push(Piece::Text(text_start..text_end));
                text_start = open;
                search = open + source[open..].bytes().take_while(|byte| *byte == b'{').count();
                continue;
            }
        }
        pieces.push(Piece::Text(text_start..text_end));
        let tag = read_tag(source, open)?;
        text_start = tag.outer.end;
        search = text_start;
        pieces.push(Piece::Tag(tag));
    }
    pieces.push(Piece::Text(text_start..source.len()));
    settle_white_space(source, &mut pieces);
    pieces.retain(|piece| !matches!(piece, Piece::Text(range) if range.is_empty()));
    Ok(pieces)
}

/// Reads the tag that opens at `open`.
fn read_tag(source: &str, open: usize) -> Result<Tag, TemplateError> {
    let bytes = source.as_bytes();
    let fail = |message: &str| Err(TemplateError::at(source, open, message));
    if source[open..].starts_with("{{{{") {
        return fail("raw blocks are not supported: write \\{{ where braces should stand as they are");
    }
    let mut cursor = open + 2;
    let trim_before = bytes.get(cursor) == Some(&b'~');
    cursor += usize::from(trim_before);
    if bytes.get(cursor) == Some(&b'!') {
        return read_comment(source, open, cursor + 1, trim_before);
    }
    let sigil = bytes.get(cursor).copied().unwrap_or(b' ');
    let (kind, close) = match sigil {
        b'{' => (Kind::Raw, b'}'),
        b'&' => (Kind::Raw, 0),
        b'#' => (Kind::Open, 0),
        b'/' => (Kind::Close, 0),
        b'^' => (Kind::Else, 0),
        b'>' => return fail("partials are not supported: write the text here"),
        b'*' => return fail("decorators are not supported"),
        _ => (Kind::Value, 0),
    };
    cursor += usize::from(kind != Kind::Value);
    match (kind, bytes.get(cursor)) {
        (Kind::Open, Some(b'>')) => return fail("partials are not supported: write the text here"),
        (Kind::Open, Some(b'*')) => return fail("decorators are not supported"),
        _ => {}
    }
    let Some(end) = find_end(bytes, cursor, close == b'}') else {
        return fail(if close == b'}' { "this tag is never closed: add }}}" } else { "this tag is never closed: add }}" });
    };
    let mut inner_end = end;
    let mut trim_after = false;
    let outer_end = if close == b'}' {
        // `{{{x}}}`, or `{{~{x}~}}`
        trim_after = bytes[end + 1] == b'~';
        end + 3 + usize::from(trim_after)
    } else {
        if end > cursor && bytes[end - 1] == b'~' {
            trim_after = true;
            inner_end -= 1;
        }
        end + 2
    };
    let mut tag = Tag { kind, outer: open..outer_end, inner: trimmed(source, cursor..inner_end), trim_before, trim_after };
    let inner = &source[tag.inner.clone()];
    if sigil == b'^' && !inner.is_empty() {
        return fail(&format!("sections are not supported: instead of {{{{^{inner}}}}} use {{{{#unless {inner}}}}}"));
    }
    if tag.kind == Kind::Value && inner.strip_prefix("else").is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace)) {
        tag.kind = Kind::Else;
        tag.inner = trimmed(source, tag.inner.start + 4..tag.inner.end);
    }
    Ok(tag)
}

/// Where the closing braces start, looking past quoted text and `[bracketed names]`.
fn find_end(bytes: &[u8], from: usize, raw: bool) -> Option<usize> {
    let mut at = from;
    while at < bytes.len() {
        match bytes[at] {
            quote @ (b'"' | b'\'') => at = skip_quoted(bytes, at, quote)?,
            b'[' => at += bytes[at..].iter().position(|byte| *byte == b']')?,
            b'}' if raw && (bytes[at..].starts_with(b"}}}") || bytes[at..].starts_with(b"}~}}")) => return Some(at),
            b'}' if !raw && bytes[at..].starts_with(b"}}") => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

/// The offset of the quote that ends the text starting at `open`.
fn skip_quoted(bytes: &[u8], open: usize, quote: u8) -> Option<usize> {
    let mut at = open + 1;
    loop {
        match *bytes.get(at)? {
            b'\\' => at += 2,
            byte if byte == quote => return Some(at),
            _ => at += 1,
        }
    }
}

fn read_comment(source: &str, open: usize, from: usize, trim_before: bool) -> Result<Tag, TemplateError> {
    let rest = &source[from..];
    let long = rest.starts_with("--");
    let found = if long {
        let after = &rest[2..];
        let plain = after.find("--}}").map(|at| (at + 2, 4));
        let tilde = after.find("--~}}").map(|at| (at + 2, 5));
        [plain, tilde].into_iter().flatten().min()
    } else {
        rest.find("}}").map(|at| (at, 2))
    };
    let Some((at, length)) = found else {
        let message = if long { "this comment is never closed: add --}}" } else { "this comment is never closed: add }}" };
        return Err(TemplateError::at(source, open, message));
    };
    let trim_after = if long { length == 5 } else { rest[..at].ends_with('~') };
    Ok(Tag { kind: Kind::Comment, outer: open..from + at + length, inner: from..from, trim_before, trim_after })
}

fn trimmed(source: &str, range: Range<usize>) -> Range<usize> {
    let text = &source[range.clone()];
    let start = range.start + (text.len() - text.trim_start().len());
    let end = start + text.trim().len();
    start..end
}

fn settle_white_space(source: &str, pieces: &mut [Piece]) {
    for index in 0..pieces.len() {
        let Piece::Tag(tag) = &pieces[index] else { continue };
        let block = matches!(tag.kind, Kind::Open | Kind::Close | Kind::Else | Kind::Comment);
        let after_line = if block { alone_on_its_line(source, &tag.outer) } else { None };
        let (trim_before, trim_after, outer) = (tag.trim_before, tag.trim_after, tag.outer.clone());
        if index > 0
            && let Piece::Text(text) = &mut pieces[index - 1]
        {
            let before = &source[text.clone()];
            if trim_before {
                text.end = text.start + before.trim_end().len();
            } else if after_line.is_some() {
                text.end = text.start + before.trim_end_matches([' ', '\t']).len();
            }
        }
        if let Some(Piece::Text(text)) = pieces.get_mut(index + 1) {
            if trim_after {
                let after = &source[text.clone()];
                text.start = text.end - after.trim_start().len();
            } else if let Some(end) = after_line {
                text.start = end.max(outer.end).min(text.end);
            }
        }
    }
}

/// If nothing but white space stands on the tag's line, the offset at which the next line starts.
fn alone_on_its_line(source: &str, outer: &Range<usize>) -> Option<usize> {
    let before = source[..outer.start].trim_end_matches([' ', '\t']);
    if !before.is_empty() && !before.ends_with('\n') {
        return None;
    }
    let after = &source[outer.end..];
    let rest = after.trim_start_matches([' ', '\t']);
    let line = outer.end + (after.len() - rest.len());
    if rest.is_empty() {
        Some(line)
    } else if rest.starts_with("\r\n") {
        Some(line + 2)
    } else if rest.starts_with('\n') {
        Some(line + 1)
    } else {
        None
    }
}
