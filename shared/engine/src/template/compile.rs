//! Turns pieces of source into a program: resolves names to frames, turns blocks into jumps, and notes what the template reads.
//!
//! It must not accept what `run` could not execute; whatever it refuses, it refuses with a place and a way out.

use std::ops::Range;

use super::expression::{CallSyntax, PathSyntax, Syntax, TagSyntax, read};
use super::program::{Base, Expression, FieldUse, HELPERS, Helper, How, Op, Path, Program, Step, Usage};
use super::scan::{Kind, Piece, Tag, scan};
use super::{MAX_NESTING, MAX_SOURCE_BYTES, RESERVED, TemplateError, position};

/// Compiles `source`.
pub(super) fn compile(source: &str) -> Result<Program, TemplateError> {
    if source.len() > MAX_SOURCE_BYTES {
        let message = format!("a template has at most {MAX_SOURCE_BYTES} bytes, this one has {}", source.len());
        return Err(TemplateError::at(source, 0, message));
    }
    let mut compiler = Compiler { source, ops: Vec::new(), blocks: Vec::new(), frames: Vec::new(), deepest: 0, usage: Usage::default() };
    for piece in scan(source)? {
        match piece {
            Piece::Text(range) => compiler.ops.push(Op::Text(range)),
            Piece::Tag(tag) => compiler.tag(&tag)?,
        }
    }
    if let Some(block) = compiler.blocks.iter().find(|block| !block.chained) {
        let message = format!("this #{0} is never closed: add {{{{/{0}}}}}", block.kind.name());
        return Err(TemplateError::at(source, block.at, message));
    }
    Ok(Program { source: source.into(), ops: compiler.ops, frames: compiler.deepest, usage: compiler.usage })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BlockKind {
    If,
    Unless,
    Each,
    With,
}

impl BlockKind {
    fn name(self) -> &'static str {
        match self {
            BlockKind::If => "if",
            BlockKind::Unless => "unless",
            BlockKind::Each => "each",
            BlockKind::With => "with",
        }
    }

    fn opens_frame(self) -> bool {
        matches!(self, BlockKind::Each | BlockKind::With)
    }
}

/// A block that is not closed yet.
struct Block {
    kind: BlockKind,
    at: usize,
    /// Opened by `{{else each x}}`: closed by its parent's closing tag.
    chained: bool,
    /// The operation that skips the current branch.
    pending: Option<usize>,
    /// Jumps from the ends of branches to the end of the block.
    ends: Vec<usize>,
    has_else: bool,
    /// Whether its frame is open (it is not in the else branch).
    in_frame: bool,
}

/// What is known of a value before there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Row,
    Rows,
    Unknown,
}

struct FrameInfo {
    origin: Origin,
    is_loop: bool,
    parameters: Vec<String>,
}

struct Compiler<'s> {
    source: &'s str,
    ops: Vec<Op>,
    blocks: Vec<Block>,
    frames: Vec<FrameInfo>,
    deepest: usize,
    usage: Usage,
}

impl Compiler<'_> {
    fn fail<T>(&self, at: usize, message: impl Into<String>) -> Result<T, TemplateError> {
        Err(TemplateError::at(self.source, at, message))
    }

    fn tag(&mut self, tag: &Tag) -> Result<(), TemplateError> {
        match tag.kind {
            Kind::Comment => Ok(()),
            Kind::Value => self.output(tag, How::Plain),
            Kind::Raw => self.output(tag, How::Raw),
            Kind::Open => self.open(tag, false),
            Kind::Else => self.otherwise(tag),
            Kind::Close => self.close(tag),
        }
    }

    fn output(&mut self, tag: &Tag, how: How) -> Result<(), TemplateError> {
        let at = tag.outer.start;
        let TagSyntax { mut items, options, parameters } = read(self.source, tag.inner.clone())?;
        if items.is_empty() {
            return self.fail(at, "this tag is empty: put a variable in it");
        }
        if !parameters.is_empty() {
            return self.fail(at, "block parameters belong to blocks: {{#each users as |user|}}");
        }
        let first = items.remove(0);
        let (expression, how) = match first {
            Syntax::Call(call) if items.is_empty() && options.is_empty() => self.call_to_put_out(call, how)?,
            first if items.is_empty() && options.is_empty() => (self.expression(first)?, how),
            Syntax::Path(path) => {
                let name = self.source[path.range].to_owned();
                self.call_to_put_out(CallSyntax { name, at, arguments: items, options }, how)?
            }
            other => return self.fail(other.at(), "a tag with several parts starts with a helper's name"),
        };
        self.ops.push(Op::Emit { expression, how, at });
        Ok(())
    }

    /// `json` says in which form its argument is put out; the other helpers yield values.
    fn call_to_put_out(&mut self, mut call: CallSyntax, how: How) -> Result<(Expression, How), TemplateError> {
        if call.name != "json" {
            return Ok((self.call(call)?, how));
        }
        self.check_call(&call, 1, 1)?;
        Ok((self.expression(call.arguments.remove(0))?, How::Literal))
    }

    fn check_call(&self, call: &CallSyntax, fewest: usize, most: usize) -> Result<(), TemplateError> {
        if let Some((option, _)) = call.options.first() {
            return self.fail(call.at, format!("`{}` has no option `{option}`", call.name));
        }
        if (fewest..=most).contains(&call.arguments.len()) {
            return Ok(());
        }
        let wanted = if fewest == most { fewest.to_string() } else { format!("{fewest} or more") };
        let noun = if wanted == "1" { "argument" } else { "arguments" };
        self.fail(call.at, format!("`{}` takes {wanted} {noun}, not {}", call.name, call.arguments.len()))
    }

    fn call(&mut self, call: CallSyntax) -> Result<Expression, TemplateError> {
        let Some((_, helper, fewest, most)) = HELPERS.iter().find(|(name, ..)| *name == call.name) else {
            let known: Vec<&str> = HELPERS.iter().map(|(name, ..)| *name).collect();
            let message =
                format!("there is no helper `{}`: there are {}, and the blocks #if #unless #each #with", call.name, known.join(" "));
            return self.fail(call.at, message);
        };
        if *helper == Helper::Json {
            return self.fail(call.at, "`json` can't stand within another expression: write {{json x}}");
        }
        self.check_call(&call, *fewest, *most)?;
        let arguments = call.arguments.into_iter().map(|argument| self.expression(argument)).collect::<Result<_, _>>()?;
        Ok(Expression::Call { helper: *helper, arguments })
    }

    fn expression(&mut self, syntax: Syntax) -> Result<Expression, TemplateError> {
        Ok(self.expression_and_origin(syntax)?.0)
    }

    fn expression_and_origin(&mut self, syntax: Syntax) -> Result<(Expression, Origin), TemplateError> {
        match syntax {
            Syntax::Literal(value, _) => Ok((Expression::Literal(value), Origin::Unknown)),
            Syntax::Call(call) => {
                // A row by its number is a row: (lookup users 0)
                let first = call.arguments.first().and_then(|first| match first {
                    Syntax::Path(path) if call.name == "lookup" => self.resolve(path).ok(),
                    _ => None,
                });
                let origin = if first.is_some_and(|(_, origin)| origin == Origin::Rows) { Origin::Row } else { Origin::Unknown };
                Ok((self.call(call)?, origin))
            }
            Syntax::Path(path) => {
                let (resolved, origin) = self.resolve(&path)?;
                Ok((Expression::Path(resolved), origin))
            }
        }
    }

    fn open(&mut self, tag: &Tag, chained: bool) -> Result<(), TemplateError> {
        let at = tag.outer.start;
        let TagSyntax { mut items, options, parameters } = read(self.source, tag.inner.clone())?;
        if items.is_empty() {
            return self.fail(at, "this block has no name: there are #if #unless #each #with");
        }
        let name = items.remove(0);
        let name_text = match &name {
            Syntax::Path(path) => &self.source[path.range.clone()],
            other => return self.fail(other.at(), "a block starts with a name: there are #if #unless #each #with"),
        };
        let kind = match name_text {
            "if" => BlockKind::If,
            "unless" => BlockKind::Unless,
            "each" => BlockKind::Each,
            "with" => BlockKind::With,
            other => return self.fail(at, unknown_block(other, items.is_empty())),
        };
        // A chained block most often becomes one with its parent.
        if self.blocks.len() >= MAX_NESTING + usize::from(chained) {
            return self.fail(at, format!("blocks nest deeper than {MAX_NESTING}"));
        }
        if items.len() != 1 {
            return self.fail(at, format!("`#{}` takes 1 argument, not {}", kind.name(), items.len()));
        }
        if !kind.opens_frame() && !parameters.is_empty() {
            return self.fail(at, format!("`#{}` has no block parameters", kind.name()));
        }
        let include_zero = self.include_zero(kind, at, options)?;
        let (expression, origin) = self.expression_and_origin(items.remove(0))?;
        let mut block = Block { kind, at, chained, pending: None, ends: Vec::new(), has_else: false, in_frame: false };
        block.pending = Some(self.ops.len());
        match kind {
            BlockKind::If => self.ops.push(Op::Test { expression, negate: false, include_zero, otherwise: 0 }),
            BlockKind::Unless => self.ops.push(Op::Test { expression, negate: true, include_zero, otherwise: 0 }),
            BlockKind::Each => self.ops.push(Op::Each { expression, otherwise: 0, at }),
            BlockKind::With => self.ops.push(Op::With { expression, otherwise: 0, at }),
        }
        if kind.opens_frame() {
            let is_loop = kind == BlockKind::Each;
            let origin = match (is_loop, origin) {
                (true, Origin::Rows) => Origin::Row,
                (true, _) => Origin::Unknown,
                (false, origin) => origin,
            };
            self.frames.push(FrameInfo { origin, is_loop, parameters });
            self.deepest = self.deepest.max(self.frames.len());
            block.in_frame = true;
        }
        self.blocks.push(block);
        Ok(())
    }

    fn include_zero(&mut self, kind: BlockKind, at: usize, options: Vec<(String, Syntax)>) -> Result<Option<Expression>, TemplateError> {
        let mut include_zero = None;
        for (name, value) in options {
            if kind.opens_frame() || name != "includeZero" {
                return self.fail(at, format!("`#{}` has no option `{name}`", kind.name()));
            }
            include_zero = Some(self.expression(value)?);
        }
        Ok(include_zero)
    }

    /// Ends the current branch of the innermost block: closes its frame, jumps to the end, lands what skipped the branch here.
    fn end_branch(&mut self, more: bool) {
        let Some(block) = self.blocks.last_mut() else { return };
        if block.in_frame {
            block.in_frame = false;
            self.frames.pop();
            let body = block.pending.map_or(0, |opened| opened + 1);
            self.ops.push(if block.kind == BlockKind::Each { Op::Next { body } } else { Op::EndWith });
        }
        if more {
            block.ends.push(self.ops.len());
            self.ops.push(Op::Jump { to: 0 });
        }
        let here = self.ops.len();
        if let Some(pending) = block.pending.take() {
            land(&mut self.ops[pending], here);
        }
    }

    fn otherwise(&mut self, tag: &Tag) -> Result<(), TemplateError> {
        let at = tag.outer.start;
        match self.blocks.last() {
            None => return self.fail(at, "this else stands outside a block"),
            Some(block) if block.has_else => return self.fail(at, "this block already has its else"),
            Some(_) => {}
        }
        self.end_branch(true);
        if let Some(block) = self.blocks.last_mut() {
            block.has_else = true;
        }
        if tag.inner.is_empty() {
            return Ok(());
        }
        self.open(tag, true)?;
        // `else if` goes on with the same block, so that long chains don't nest.
        let length = self.blocks.len();
        if self.blocks[length - 1].kind.opens_frame() || self.blocks[length - 2].kind.opens_frame() {
            return Ok(());
        }
        if let Some(chained) = self.blocks.pop()
            && let Some(block) = self.blocks.last_mut()
        {
            block.pending = chained.pending;
            block.has_else = false;
        }
        Ok(())
    }

    fn close(&mut self, tag: &Tag) -> Result<(), TemplateError> {
        let name = &self.source[tag.inner.clone()];
        loop {
            let Some(block) = self.blocks.last() else {
                return self.fail(tag.outer.start, format!("{{{{/{name}}}}} closes a block that is not open"));
            };
            let chained = block.chained;
            if !chained && block.kind.name() != name {
                let (line, column) = position(self.source, block.at);
                let open = block.kind.name();
                let message =
                    format!("{{{{/{name}}}}} stands where {{{{/{open}}}}} is due, for the #{open} of line {line}, column {column}");
                return self.fail(tag.outer.start, message);
            }
            self.end_branch(false);
            let here = self.ops.len();
            for end in self.blocks.pop().map(|block| block.ends).unwrap_or_default() {
                land(&mut self.ops[end], here);
            }
            if !chained {
                return Ok(());
            }
        }
    }

    fn resolve(&mut self, path: &PathSyntax) -> Result<(Path, Origin), TemplateError> {
        if path.data {
            return self.resolve_data(path);
        }
        if !path.explicit
            && let Some(name) = path.names.first()
            && let Some((base, origin)) = self.block_parameter(name)
        {
            return Ok(self.walk(base, origin, &path.names[1..], path.range.start));
        }
        let Some(depth) = self.frames.len().checked_sub(path.up) else {
            return self.fail(path.range.start, "this path goes up beyond the top level: each ../ leaves one #each or #with");
        };
        if depth == 0 {
            return Ok(self.resolve_at_top(path, &path.names));
        }
        Ok(self.walk(Base::Frame(depth - 1), self.frames[depth - 1].origin, &path.names, path.range.start))
    }

    fn block_parameter(&self, name: &str) -> Option<(Base, Origin)> {
        self.frames.iter().enumerate().rev().find_map(|(index, frame)| {
            match frame.parameters.iter().position(|parameter| parameter == name)? {
                0 => Some((Base::Frame(index), frame.origin)),
                _ => Some((Base::Key(index), Origin::Unknown)),
            }
        })
    }

    /// `@index` and its like, `@root`.
    fn resolve_data(&mut self, path: &PathSyntax) -> Result<(Path, Origin), TemplateError> {
        let name = path.names.first().map_or("", String::as_str);
        if name == "root" {
            return Ok(self.resolve_at_top(path, &path.names[1..]));
        }
        let of: fn(usize) -> Base = match name {
            "index" => Base::Index,
            "key" => Base::Key,
            "first" => Base::First,
            "last" => Base::Last,
            other => return self.fail(path.range.start, format!("there is no @{other}: there are @index @key @first @last @root")),
        };
        let loops = self.frames.iter().enumerate().rev().filter(|(_, frame)| frame.is_loop);
        let Some((index, _)) = loops.into_iter().nth(path.up) else {
            return self.fail(path.range.start, format!("@{name} is set within #each only"));
        };
        if path.names.len() > 1 {
            return self.fail(path.range.start, format!("@{name} has no fields"));
        }
        Ok((Path { base: of(index), steps: Box::new([]) }, Origin::Unknown))
    }

    fn resolve_at_top(&mut self, path: &PathSyntax, names: &[String]) -> (Path, Origin) {
        let at = path.range.start;
        let Some(first) = names.first() else {
            self.usage.variables.insert("this".to_owned());
            self.usage.depends_on_row = true;
            return (Path { base: Base::Root, steps: Box::new([]) }, Origin::Row);
        };
        self.usage.variables.insert(names.join("."));
        let (base, origin) = match first.as_str() {
            "user" | "row" => (Base::User, Origin::Row),
            "users" | "rows" => (Base::Users, Origin::Rows),
            "previous" => (Base::Previous, Origin::Row),
            name => {
                let reserved = RESERVED.contains(&name);
                self.usage.depends_on_row |= !reserved || name == "delivery";
                if !reserved {
                    self.field(name, at, true);
                }
                let steps = names.iter().map(|name| Step::new(name)).collect();
                return (Path { base: Base::Named, steps }, Origin::Unknown);
            }
        };
        self.usage.depends_on_row = true;
        self.walk(base, origin, &names[1..], at)
    }

    /// The path of `names` from a known start, noting the fields it reads.
    fn walk(&mut self, base: Base, origin: Origin, names: &[String], at: usize) -> (Path, Origin) {
        let mut origin = origin;
        for name in names {
            origin = match origin {
                Origin::Row => {
                    self.field(name, at, false);
                    Origin::Unknown
                }
                Origin::Rows if name.bytes().all(|byte| byte.is_ascii_digit()) => Origin::Row,
                _ => Origin::Unknown,
            };
        }
        let steps = names.iter().map(|name| Step::new(name)).collect();
        (Path { base, steps }, origin)
    }

    fn field(&mut self, name: &str, at: usize, top_level: bool) {
        let (line, column) = position(self.source, at);
        let known = self.usage.fields.entry(name.to_owned()).or_insert(FieldUse { line, column, top_level });
        known.top_level &= top_level;
    }
}

fn land(op: &mut Op, here: usize) {
    match op {
        Op::Test { otherwise, .. } | Op::Each { otherwise, .. } | Op::With { otherwise, .. } => *otherwise = here,
        Op::Jump { to } => *to = here,
        Op::Text(_) | Op::Emit { .. } | Op::Next { .. } | Op::EndWith => {}
    }
}

fn unknown_block(name: &str, is_section: bool) -> String {
    if HELPERS.iter().any(|(helper, ..)| *helper == name) {
        return format!("`{name}` is not a block: write {{{{#if ({name} …)}}}}");
    }
    if is_section {
        return format!(
            "there is no block #{name}: for a list use {{{{#each {name}}}}}, for an object {{{{#with {name}}}}}, to test it {{{{#if {name}}}}}"
        );
    }
    format!("there is no block #{name}: there are #if #unless #each #with")
}

/// The text ranges of a program, with their offsets in the source.
pub(super) fn texts(program: &Program) -> impl Iterator<Item = Range<usize>> + '_ {
    program.ops.iter().filter_map(|op| match op {
        Op::Text(range) => Some(range.clone()),
        _ => None,
    })
}
