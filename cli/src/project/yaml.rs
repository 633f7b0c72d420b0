//! Reads YAML 1.2 into a tree of positions. Keys are texts and stand once; aliases are expanded within a bound. It must not know what
//! a project is.

use super::tree::{Flaw, Kind, MAX_DEPTH, Node, Position};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};
use serde_json::Number;
use std::collections::HashMap;

/// Nodes at most, expanded aliases included, so that a short file cannot become a large tree.
const MAX_NODES: usize = 100_000;

/// Reads one document. All duplicate keys and unknown tags are reported; at a syntax error reading ends.
pub fn read(text: &str) -> Result<Node, Vec<Flaw>> {
    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let outcome = match event {
            Ok((event, span)) => builder.take(event, position(&span.start)),
            Err(error) => Err(Flaw::new(position(error.marker()), syntax_message(error.info()))),
        };
        if let Err(flaw) = outcome {
            builder.flaws.push(flaw);
            break;
        }
    }
    match builder.root {
        _ if !builder.flaws.is_empty() => Err(builder.flaws),
        Some(root) => Ok(root),
        None => Ok(Node { at: Position::START, kind: Kind::Null }),
    }
}

fn position(marker: &Marker) -> Position {
    Position { line: marker.line().max(1), column: marker.col() + 1 }
}

fn syntax_message(info: &str) -> String {
    let hint = if info.contains("tab") {
        "; indent with spaces"
    } else if info.contains("mapping values") {
        "; check the indentation, and put texts that hold `: ` into quotes"
    } else {
        ""
    };
    format!("is not YAML: {info}{hint}")
}

#[derive(Default)]
struct Builder {
    open: Vec<Frame>,
    root: Option<Node>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    flaws: Vec<Flaw>,
}

/// A list or object that is not closed yet.
struct Frame {
    at: Position,
    anchor: usize,
    kind: FrameKind,
}

enum FrameKind {
    List(Vec<Node>),
    Map {
        entries: Vec<(String, Position, Node)>,
        /// Where each key stands first.
        seen: HashMap<String, Position>,
        /// The key whose value comes next; `None` instead of its text if it stands there twice.
        key: Option<(Option<String>, Position)>,
    },
}

impl Builder {
    fn take(&mut self, event: Event<'_>, at: Position) -> Result<(), Flaw> {
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(Flaw::new(at, "a second document begins here (---); keep one document in the file"))
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.as_deref(), at);
                self.open(Frame { at, anchor, kind: FrameKind::List(Vec::new()) })
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.as_deref(), at);
                let kind = FrameKind::Map { entries: Vec::new(), seen: HashMap::new(), key: None };
                self.open(Frame { at, anchor, kind })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Scalar(text, style, anchor, tag) => self.scalar(&text, style, anchor, tag.as_deref(), at),
            Event::Alias(anchor) => self.alias(anchor, at),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => Ok(()),
        }
    }

    /// Tags of the core schema say what lists and objects are anyway.
    fn refuse_tag(&mut self, tag: Option<&Tag>, at: Position) {
        if let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema()) {
            self.flaws.push(Flaw::new(at, format!("the tag {tag} is not known; take it out")));
        }
    }

    fn open(&mut self, frame: Frame) -> Result<(), Flaw> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Flaw::new(frame.at, format!("nests deeper than {MAX_DEPTH} levels; no key of a project is that deep")));
        }
        if let Some(Frame { kind: FrameKind::Map { key: None, .. }, .. }) = self.open.last() {
            return Err(Flaw::new(frame.at, "a list or object cannot be a key; write a text"));
        }
        self.open.push(frame);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Flaw> {
        let Some(frame) = self.open.pop() else { return Ok(()) };
        let kind = match frame.kind {
            FrameKind::List(items) => Kind::List(items),
            FrameKind::Map { entries, .. } => Kind::Map(entries),
        };
        self.put(Node { at: frame.at, kind }, frame.anchor, 1)
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, anchor: usize, tag: Option<&Tag>, at: Position) -> Result<(), Flaw> {
        if let Some(Frame { kind: FrameKind::Map { seen, key: key @ None, .. }, .. }) = self.open.last_mut() {
            if style == ScalarStyle::Plain && text == "<<" {
                return Err(Flaw::new(at, "merge keys (<<) are not part of YAML 1.2; write the keys out"));
            }
            if let Some(first) = seen.get(text) {
                let message = format!("`{text}` stands here twice, first in line {}; keep one", first.line);
                self.flaws.push(Flaw::new(at, message));
                *key = Some((None, at));
            } else {
                seen.insert(text.to_string(), at);
                *key = Some((Some(text.to_string()), at));
            }
            self.remember(anchor, &Node { at, kind: Kind::Text(text.to_string()) });
            return Ok(());
        }
        let as_text = style != ScalarStyle::Plain || tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
        if !as_text {
            self.refuse_tag(tag, at);
        }
        let kind = if as_text { Kind::Text(text.to_string()) } else { plain(text) };
        self.put(Node { at, kind }, anchor, 1)
    }

    fn alias(&mut self, anchor: usize, at: Position) -> Result<(), Flaw> {
        let Some((node, count)) = self.anchors.get(&anchor) else {
            return Err(Flaw::new(at, "an alias stands inside what it names; write the value out"));
        };
        let count = *count;
        if self.nodes + count > MAX_NODES {
            return Err(Flaw::new(at, format!("with its aliases written out the file has more than {MAX_NODES} values; write fewer")));
        }
        let node = node.clone();
        if let (Kind::Text(text), Some(Frame { kind: FrameKind::Map { key: None, .. }, .. })) = (&node.kind, self.open.last()) {
            return self.scalar(&text.clone(), ScalarStyle::DoubleQuoted, 0, None, at);
        }
        self.put(node, 0, count)
    }

    /// Puts a whole value where it belongs.
    fn put(&mut self, node: Node, anchor: usize, count: usize) -> Result<(), Flaw> {
        self.nodes += count;
        if self.nodes > MAX_NODES {
            return Err(Flaw::new(node.at, format!("the file has more than {MAX_NODES} values; split the project")));
        }
        self.remember(anchor, &node);
        match self.open.last_mut().map(|frame| &mut frame.kind) {
            None => self.root = Some(node),
            Some(FrameKind::List(items)) => items.push(node),
            Some(FrameKind::Map { entries, key, .. }) => match key.take() {
                Some((Some(name), at)) => entries.push((name, at, node)),
                // A second value of a key was reported; the first one holds.
                Some((None, _)) => {}
                None => return Err(Flaw::new(node.at, "a list or object cannot be a key; write a text")),
            },
        }
        Ok(())
    }

    fn remember(&mut self, anchor: usize, node: &Node) {
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), node.count()));
        }
    }
}

/// A plain scalar by the core schema (YAML 1.2.2, 10.3.2). What is too large for a number of ours, `.inf` and `.nan` stay text.
fn plain(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
        "true" | "True" | "TRUE" => return Kind::Bool(true),
        "false" | "False" | "FALSE" => return Kind::Bool(false),
        _ => {}
    }
    number(text).map_or_else(|| Kind::Text(text.to_string()), Kind::Number)
}

fn number(text: &str) -> Option<Number> {
    if let Some(digits) = text.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+')).map(Number::from);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return u64::from_str_radix(digits, 8).ok().filter(|_| !digits.starts_with('+')).map(Number::from);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let allowed = |byte: u8| byte.is_ascii_digit() || b".eE+-".contains(&byte);
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') || !unsigned.bytes().all(allowed) {
        return None;
    }
    let bare = text.strip_prefix('+').unwrap_or(text);
    if unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return bare.parse::<u64>().map(Number::from).or_else(|_| bare.parse::<i64>().map(Number::from)).ok();
    }
    bare.parse::<f64>().ok().and_then(Number::from_f64)
}
