//! Reads what stands within a tag: paths, literals, calls and sub-expressions, `name=value` and block parameters.
//!
//! It must not know which helpers there are or what a path leads to.

use std::ops::Range;

use serde_json::{Number, Value};

use super::{MAX_NESTING, TemplateError};

/// An expression as written.
#[derive(Debug)]
pub(super) enum Syntax {
    Path(PathSyntax),
    Literal(Value, usize),
    Call(CallSyntax),
}

impl Syntax {
    /// Where it starts in the source.
    pub fn at(&self) -> usize {
        match self {
            Syntax::Path(path) => path.range.start,
            Syntax::Literal(_, at) => *at,
            Syntax::Call(call) => call.at,
        }
    }
}

/// `helper a b c=d`
#[derive(Debug)]
pub(super) struct CallSyntax {
    pub name: String,
    pub at: usize,
    pub arguments: Vec<Syntax>,
    pub options: Vec<(String, Syntax)>,
}

/// A path as written.
#[derive(Debug)]
pub(super) struct PathSyntax {
    pub range: Range<usize>,
    /// `@name`
    pub data: bool,
    /// How many `../` it starts with.
    pub up: usize,
    /// Whether it starts with `this`, `.` or `..`, so that it can't mean a block parameter.
    pub explicit: bool,
    pub names: Vec<String>,
}

/// All that a tag holds: the items, then options, then block parameters.
#[derive(Debug)]
pub(super) struct TagSyntax {
    pub items: Vec<Syntax>,
    pub options: Vec<(String, Syntax)>,
    pub parameters: Vec<String>,
}

/// Reads the inner range of a tag.
pub(super) fn read(source: &str, inner: Range<usize>) -> Result<TagSyntax, TemplateError> {
    let mut reader = Reader { source, at: inner.start, end: inner.end };
    let (items, options) = reader.items(0)?;
    let parameters = reader.block_parameters()?;
    reader.skip_space();
    if reader.at < reader.end {
        let message = format!("unexpected {}: a tag holds a path, or a helper and its arguments", reader.found());
        return Err(reader.fail(message));
    }
    Ok(TagSyntax { items, options, parameters })
}

type Items = (Vec<Syntax>, Vec<(String, Syntax)>);

struct Reader<'s> {
    source: &'s str,
    at: usize,
    end: usize,
}

impl Reader<'_> {
    fn fail(&self, message: impl Into<String>) -> TemplateError {
        TemplateError::at(self.source, self.at, message)
    }

    fn rest(&self) -> &str {
        &self.source[self.at..self.end]
    }

    fn peek(&self) -> Option<u8> {
        self.rest().bytes().next()
    }

    fn found(&self) -> String {
        self.rest().chars().next().map_or_else(|| "the end of the tag".to_owned(), |found| format!("`{found}`"))
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    /// Items up to `)`, `as |` or the end.
    fn items(&mut self, depth: usize) -> Result<Items, TemplateError> {
        let (mut items, mut options) = (Vec::new(), Vec::new());
        loop {
            self.skip_space();
            match self.peek() {
                None | Some(b')' | b'|') => return Ok((items, options)),
                _ if self.starts_block_parameters() => return Ok((items, options)),
                _ => {}
            }
            if let Some((name, value_at)) = self.option_name() {
                self.at = value_at;
                options.push((name, self.item(depth)?));
            } else if options.is_empty() {
                items.push(self.item(depth)?);
            } else {
                return Err(self.fail("arguments stand before name=value options"));
            }
        }
    }

    fn starts_block_parameters(&self) -> bool {
        let rest = self.rest();
        rest.strip_prefix("as").is_some_and(|after| after.starts_with(char::is_whitespace) && after.trim_start().starts_with('|'))
    }

    /// `name=`, and where the value starts.
    fn option_name(&self) -> Option<(String, usize)> {
        let rest = self.rest();
        let length = rest.find(|each: char| !is_name(each)).unwrap_or(rest.len());
        if length > 0 && rest[length..].starts_with('=') { Some((rest[..length].to_owned(), self.at + length + 1)) } else { None }
    }

    fn item(&mut self, depth: usize) -> Result<Syntax, TemplateError> {
        let at = self.at;
        match self.peek() {
            Some(b'(') => self.call(depth + 1).map(Syntax::Call),
            Some(quote @ (b'"' | b'\'')) => Ok(Syntax::Literal(self.text(quote)?, at)),
            Some(byte) if byte.is_ascii_digit() || byte == b'-' => match self.number() {
                Some(number) => Ok(Syntax::Literal(number, at)),
                None => self.path_or_word(),
            },
            _ => self.path_or_word(),
        }
    }

    fn call(&mut self, depth: usize) -> Result<CallSyntax, TemplateError> {
        if depth > MAX_NESTING {
            return Err(self.fail(format!("sub-expressions nest deeper than {MAX_NESTING}")));
        }
        let open = self.at;
        self.at += 1;
        let (mut items, options) = self.items(depth)?;
        if self.peek() != Some(b')') {
            return Err(TemplateError::at(self.source, open, "this parenthesis is never closed: add )"));
        }
        if items.is_empty() {
            return Err(TemplateError::at(self.source, open, "a sub-expression needs a helper's name, as in (eq a b)"));
        }
        self.at += 1;
        let name = match items.remove(0) {
            Syntax::Path(path) if path.names.len() == 1 && !path.data && !path.explicit => path.names.concat(),
            other => return Err(TemplateError::at(self.source, other.at(), "a sub-expression starts with a helper's name")),
        };
        Ok(CallSyntax { name, at: open, arguments: items, options })
    }

    /// Quoted text. A backslash stands before the quote it protects and before another backslash; elsewhere it is itself.
    fn text(&mut self, quote: u8) -> Result<Value, TemplateError> {
        let quote = char::from(quote);
        let mut text = String::new();
        let mut characters = self.rest().char_indices().skip(1).peekable();
        while let Some((offset, each)) = characters.next() {
            if each == quote {
                self.at += offset + 1;
                return Ok(Value::String(text));
            }
            match characters.peek() {
                Some((_, next)) if each == '\\' && (*next == quote || *next == '\\') => {
                    text.push(*next);
                    characters.next();
                }
                _ => text.push(each),
            }
        }
        Err(self.fail("this text is never closed: add the quote"))
    }

    fn number(&mut self) -> Option<Value> {
        let rest = self.rest();
        let length = rest.find(|each: char| !(is_name(each) || each == '.' || each == '+')).unwrap_or(rest.len());
        let number: Number = serde_json::from_str(&rest[..length]).ok()?;
        self.at += length;
        Some(Value::Number(number))
    }

    fn path_or_word(&mut self) -> Result<Syntax, TemplateError> {
        let path = self.path()?;
        if !path.explicit && !path.data && !self.source[path.range.clone()].starts_with('[') {
            let literal = match path.names.as_slice() {
                [name] if name == "true" => Some(Value::Bool(true)),
                [name] if name == "false" => Some(Value::Bool(false)),
                [name] if name == "null" || name == "undefined" => Some(Value::Null),
                _ => None,
            };
            if let Some(literal) = literal {
                return Ok(Syntax::Literal(literal, path.range.start));
            }
        }
        Ok(Syntax::Path(path))
    }

    fn path(&mut self) -> Result<PathSyntax, TemplateError> {
        let mut path = PathSyntax { range: self.at..self.at, data: false, up: 0, explicit: false, names: Vec::new() };
        self.path_start(&mut path);
        if !self.at_path_end() || path.data || !path.explicit {
            loop {
                path.names.push(self.name(&path)?);
                match self.peek() {
                    Some(b'.' | b'/') => self.at += 1,
                    // `a[0]`, as a friendly form of `a.[0]`
                    Some(b'[') => {}
                    _ => break,
                }
            }
        }
        path.range.end = self.at;
        Ok(path)
    }

    /// `@`, `../`, `./`, `this.` and what they are without a name after them.
    fn path_start(&mut self, path: &mut PathSyntax) {
        loop {
            let rest = self.rest();
            if rest.starts_with('@') && !path.data {
                path.data = true;
                self.at += 1;
            } else if rest.starts_with("../")
                || (rest.starts_with("..") && !rest[2..].starts_with(|next: char| is_name(next) || next == '.'))
            {
                path.up += 1;
                path.explicit = true;
                self.at += if rest[2..].starts_with('/') { 3 } else { 2 };
            } else if rest.starts_with("./") {
                path.explicit = true;
                self.at += 2;
            } else if rest == "." || (rest.starts_with('.') && !rest[1..].starts_with(|next: char| is_name(next) || next == '[')) {
                path.explicit = true;
                self.at += 1;
                return;
            } else if !path.data && rest.starts_with("this") && !rest[4..].starts_with(is_name) {
                path.explicit = true;
                self.at += if rest[4..].starts_with(['.', '/']) { 5 } else { 4 };
            } else {
                return;
            }
        }
    }

    fn at_path_end(&self) -> bool {
        !self.rest().starts_with(|next: char| is_name(next) || matches!(next, '[' | '.' | '@' | '/'))
    }

    fn name(&mut self, path: &PathSyntax) -> Result<String, TemplateError> {
        let rest = self.rest();
        if let Some(inner) = rest.strip_prefix('[') {
            let Some(length) = inner.find(']') else { return Err(self.fail("this bracket is never closed: add ]")) };
            let name = inner[..length].to_owned();
            self.at += length + 2;
            return Ok(name);
        }
        let length = rest.find(|each: char| !is_name(each)).unwrap_or(rest.len());
        if length == 0 {
            let message = if path.names.is_empty() {
                format!("expected a variable or a helper, found {}", self.found())
            } else {
                format!("expected a name after the dot, found {}: unusual names stand in brackets, as in a.[unusual name]", self.found())
            };
            return Err(self.fail(message));
        }
        let name = rest[..length].to_owned();
        self.at += length;
        Ok(name)
    }

    /// `as |item index|`
    fn block_parameters(&mut self) -> Result<Vec<String>, TemplateError> {
        if !self.starts_block_parameters() {
            return Ok(Vec::new());
        }
        let at = self.at;
        let rest = self.rest();
        let names_at = rest.find('|').map_or(rest.len(), |bar| bar + 1);
        let Some(length) = rest[names_at..].find('|') else {
            return Err(self.fail("block parameters stand between bars, as in as |item index|"));
        };
        let names: Vec<String> = rest[names_at..names_at + length].split_whitespace().map(str::to_owned).collect();
        self.at += names_at + length + 1;
        if names.is_empty() || names.len() > 2 || names.iter().any(|name| !name.chars().all(is_name)) {
            return Err(TemplateError::at(self.source, at, "one or two plain names stand between the bars, as in as |item index|"));
        }
        Ok(names)
    }
}

/// What a name may be made of outside brackets.
fn is_name(each: char) -> bool {
    !each.is_whitespace() && !matches!(each, '!'..=',' | '.' | '/' | ';'..='@' | '['..='^' | '`' | '{'..='~') || each == '$'
}
