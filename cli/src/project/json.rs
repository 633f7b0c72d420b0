//! Reads JSON into a tree of positions. YAML readers stumble over JSON's surrogate pairs and tabs, so JSON has a reader of its own. It
//! must not know what a project is.

use super::tree::{Flaw, Kind, MAX_DEPTH, Node, Position};
use serde_json::Number;
use std::collections::HashMap;

/// Reads text that `serde_json` takes as one JSON document; `None` if it does not.
pub fn read(text: &str) -> Option<Result<Node, Vec<Flaw>>> {
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
    let mut reader = Reader { text, offset: 0, at: Position::START, flaws: Vec::new() };
    let root = reader.value(0);
    Some(match root {
        Some(root) if reader.flaws.is_empty() => Ok(root),
        _ => Err(reader.flaws),
    })
}

/// Walks text that is known to be JSON, so every token is whole and followed by what must follow.
struct Reader<'t> {
    text: &'t str,
    offset: usize,
    at: Position,
    flaws: Vec<Flaw>,
}

impl<'t> Reader<'t> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.offset).copied()
    }

    /// Steps over so many bytes, whole characters.
    fn step(&mut self, bytes: usize) -> &'t str {
        let passed = &self.text[self.offset..self.offset + bytes];
        for character in passed.chars() {
            if character == '\n' {
                self.at = Position { line: self.at.line + 1, column: 1 };
            } else {
                self.at.column += 1;
            }
        }
        self.offset += bytes;
        passed
    }

    /// Steps over white space, commas and colons, which carry no meaning once the text is known to be JSON.
    fn gap(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n' | b',' | b':') = self.peek() {
            self.step(1);
        }
    }

    fn value(&mut self, depth: usize) -> Option<Node> {
        self.gap();
        let at = self.at;
        if depth > MAX_DEPTH {
            self.flaws.push(Flaw::new(at, format!("nests deeper than {MAX_DEPTH} levels; no key of a project is that deep")));
            return None;
        }
        let kind = match self.peek()? {
            b'{' => self.object(depth)?,
            b'[' => self.list(depth)?,
            b'"' => Kind::Text(self.string()?),
            b't' => self.word(4, Kind::Bool(true)),
            b'f' => self.word(5, Kind::Bool(false)),
            b'n' => self.word(4, Kind::Null),
            _ => Kind::Number(self.number()?),
        };
        Some(Node { at, kind })
    }

    fn word(&mut self, bytes: usize, kind: Kind) -> Kind {
        self.step(bytes);
        kind
    }

    fn number(&mut self) -> Option<Number> {
        let rest = &self.text[self.offset..];
        let end = rest.find(|c: char| !(c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E'))).unwrap_or(rest.len());
        serde_json::from_str(self.step(end)).ok()
    }

    fn string(&mut self) -> Option<String> {
        let rest = &self.text.as_bytes()[self.offset..];
        let mut end = 1;
        while *rest.get(end)? != b'"' {
            end += if rest[end] == b'\\' { 2 } else { 1 };
        }
        serde_json::from_str(self.step(end + 1)).ok()
    }

    fn list(&mut self, depth: usize) -> Option<Kind> {
        self.step(1);
        let mut items = Vec::new();
        loop {
            self.gap();
            if self.peek()? == b']' {
                self.step(1);
                return Some(Kind::List(items));
            }
            items.push(self.value(depth + 1)?);
        }
    }

    fn object(&mut self, depth: usize) -> Option<Kind> {
        self.step(1);
        let mut entries: Vec<(String, Position, Node)> = Vec::new();
        let mut seen: HashMap<String, Position> = HashMap::new();
        loop {
            self.gap();
            if self.peek()? == b'}' {
                self.step(1);
                return Some(Kind::Map(entries));
            }
            let at = self.at;
            let key = self.string()?;
            let value = self.value(depth + 1)?;
            match seen.get(&key) {
                Some(first) => {
                    let message = format!("`{key}` stands here twice, first in line {}; keep one", first.line);
                    self.flaws.push(Flaw::new(at, message));
                }
                None => {
                    seen.insert(key.clone(), at);
                    entries.push((key, at, value));
                }
            }
        }
    }
}
