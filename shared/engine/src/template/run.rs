//! Runs a program against a scope: a loop over operations with a budget, without recursion over data or blocks.
//!
//! It must not know what the output is: every byte goes through a [`Sink`].

use serde_json::Value;

use super::program::{Base, Expression, Helper, How, Op, Path, Program};
use super::scope::{Row, Scope};
use super::value::{View, field, named};
use super::{Limits, RenderError, RenderProblem, position};

/// Why a sink refuses a text or value.
#[derive(Debug)]
pub(super) struct Fault {
    /// Bytes into the literal text at which it happened; 0 for values.
    pub offset: usize,
    pub problem: RenderProblem,
    pub message: String,
}

impl Fault {
    /// A value that may not stand where it stands.
    pub fn value(message: impl Into<String>) -> Box<Fault> {
        Fault::text(0, message)
    }

    /// Literal text that, after what came before, is not possible.
    pub fn text(offset: usize, message: impl Into<String>) -> Box<Fault> {
        Box::new(Fault { offset, problem: RenderProblem::Value, message: message.into() })
    }
}

/// Where a rendering goes. A fault of [`RenderProblem::NotJson`] does not end it: the sink is then asked for the rest, so that the whole
/// can be shown.
pub(super) trait Sink {
    /// Whether a missing variable or null can't be put out.
    const NEEDS_VALUES: bool;

    /// Takes literal text of the template (UTF-8); `index` is its place in the program.
    fn text(&mut self, index: usize, text: &[u8], out: &mut Vec<u8>) -> Result<(), Box<Fault>>;

    /// Takes a value.
    fn value(&mut self, value: View<'_>, how: How, out: &mut Vec<u8>) -> Result<(), Box<Fault>>;

    /// Takes note that there is no more.
    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Box<Fault>>;
}

/// Runs `program` and returns the sink.
pub(super) fn run<S: Sink>(
    program: &Program,
    scope: &Scope<'_>,
    sink: S,
    strict: bool,
    limits: Limits,
    out: &mut Vec<u8>,
) -> Result<S, RenderError> {
    let mut machine = Machine { program, scope, frames: Vec::with_capacity(program.frames), fuel: limits.operations, strict };
    let mut sink = sink;
    let source = program.source.as_bytes();
    let mut not_json = None;
    let mut next = 0;
    while let Some(op) = program.ops.get(next) {
        if machine.fuel == 0 {
            return Err(machine.out_of_fuel(op, limits));
        }
        machine.fuel -= 1;
        let (start, taken) = match op {
            Op::Text(range) => {
                let taken = sink.text(next, &source[range.clone()], out);
                next += 1;
                (range.start, taken)
            }
            Op::Emit { expression, how, at } => {
                next += 1;
                let value = machine.evaluate(expression);
                if matches!(value, View::Missing | View::Root(_) | View::Json(Value::Null)) {
                    machine.check_value::<S>(value, *at)?;
                }
                (*at, sink.value(value, *how, out))
            }
            other => {
                next = machine.step(other, next)?;
                continue;
            }
        };
        if let Err(fault) = taken {
            let error = machine.error(start + fault.offset, *fault);
            if error.problem != RenderProblem::NotJson {
                return Err(error);
            }
            not_json = not_json.or(Some(error));
        }
        if out.len() > limits.output_bytes {
            let message = format!("the rendered text is longer than {} bytes: send fewer rows in a batch", limits.output_bytes);
            return Err(machine.limit(op, message));
        }
    }
    let finished = sink.finish(out).map_err(|fault| machine.error(program.source.len(), *fault));
    match not_json {
        Some(error) => Err(error),
        None => finished.map(|()| sink),
    }
}

/// What a frame walks.
enum Items<'a> {
    None,
    List(&'a [Value]),
    Rows(&'a [Row<'a>]),
    Object(serde_json::map::Iter<'a>),
    Fields(&'a Row<'a>),
}

/// A block's context.
struct Frame<'a> {
    value: View<'a>,
    items: Items<'a>,
    index: usize,
    length: usize,
    key: Option<&'a str>,
}

struct Machine<'a> {
    program: &'a Program,
    scope: &'a Scope<'a>,
    frames: Vec<Frame<'a>>,
    fuel: u64,
    strict: bool,
}

impl<'a> Machine<'a> {
    /// Executes an operation that puts nothing out; returns the next one's index.
    #[inline]
    fn step(&mut self, op: &'a Op, current: usize) -> Result<usize, RenderError> {
        Ok(match op {
            Op::Jump { to } => *to,
            Op::Test { expression, negate, include_zero, otherwise } => {
                let holds = match (self.evaluate(expression), include_zero) {
                    (View::Bool(holds), _) => holds,
                    (value, None) => value.is_truthy(false),
                    (value, Some(flag)) => value.is_truthy(self.evaluate(flag).is_truthy(false)),
                };
                let holds = holds != *negate;
                if holds { current + 1 } else { *otherwise }
            }
            Op::Each { expression, otherwise, at } => {
                let value = self.evaluate(expression);
                self.check_strict(value, *at)?;
                if self.open_loop(value) { current + 1 } else { *otherwise }
            }
            Op::Next { body } => {
                if self.advance() {
                    *body
                } else {
                    self.frames.pop();
                    current + 1
                }
            }
            Op::With { expression, otherwise, at } => {
                let value = self.evaluate(expression);
                self.check_strict(value, *at)?;
                if value.is_empty() {
                    *otherwise
                } else {
                    self.frames.push(Frame { value, items: Items::None, index: 0, length: 1, key: None });
                    current + 1
                }
            }
            Op::EndWith => {
                self.frames.pop();
                current + 1
            }
            Op::Text(_) | Op::Emit { .. } => current + 1,
        })
    }

    /// Opens a frame on the first item; false if there is none.
    fn open_loop(&mut self, value: View<'a>) -> bool {
        let value = match value {
            View::Root(scope) => scope.row().map_or(View::Missing, View::Row),
            other => other,
        };
        let (items, length) = match value {
            View::Rows(rows) => (Items::Rows(rows), rows.len()),
            View::Json(Value::Array(items)) => (Items::List(items), items.len()),
            View::Json(Value::Object(object)) => (Items::Object(object.iter()), object.len()),
            View::Row(row) => (Items::Fields(row), row.names.len().min(row.values.len())),
            _ => (Items::None, 0),
        };
        if length == 0 {
            return false;
        }
        // One before the first: `advance` wraps it to 0.
        self.frames.push(Frame { value: View::Missing, items, index: usize::MAX, length, key: None });
        self.advance()
    }

    /// Moves the innermost frame to its next item; false after the last.
    #[inline]
    fn advance(&mut self) -> bool {
        let Some(frame) = self.frames.last_mut() else { return false };
        frame.index = frame.index.wrapping_add(1);
        if frame.index >= frame.length {
            return false;
        }
        match &mut frame.items {
            Items::None => return false,
            Items::Rows(rows) => frame.value = View::Row(&rows[frame.index]),
            Items::List(items) => frame.value = View::Json(&items[frame.index]),
            Items::Object(entries) => {
                let Some((key, value)) = entries.next() else { return false };
                frame.key = Some(key);
                frame.value = View::Json(value);
            }
            Items::Fields(row) => {
                frame.key = Some(&row.names[frame.index]);
                frame.value = View::Json(&row.values[frame.index]);
            }
        }
        true
    }

    #[inline(always)]
    fn evaluate(&mut self, expression: &'a Expression) -> View<'a> {
        // A row's field within a loop: what templates do most.
        if let Expression::Path(Path { base: Base::Frame(index), steps }) = expression
            && let [step] = &**steps
            && let Some(Frame { value: View::Row(row), .. }) = self.frames.get(*index)
        {
            self.fuel = self.fuel.saturating_sub(1);
            return field(row, step);
        }
        self.evaluate_any(expression)
    }

    #[inline(never)]
    fn evaluate_any(&mut self, expression: &'a Expression) -> View<'a> {
        match expression {
            Expression::Path(path) => self.follow(path),
            Expression::Literal(value) => View::Json(value),
            Expression::Call { helper, arguments } => self.call(*helper, arguments),
        }
    }

    #[inline]
    fn follow(&mut self, path: &'a Path) -> View<'a> {
        let scope = self.scope;
        let mut steps = path.steps.iter();
        let frame = |index: usize| self.frames.get(index);
        let start = match path.base {
            Base::Frame(index) => frame(index).map_or(View::Missing, |frame| frame.value),
            Base::User => scope.row().map_or(View::Missing, View::Row),
            Base::Users => View::Rows(scope.rows),
            Base::Previous => scope.previous.as_ref().map_or(View::Json(&Value::Null), View::Row),
            Base::Root => View::Root(scope),
            Base::Named => steps.next().map_or(View::Missing, |step| named(scope, step)),
            Base::Key(index) => match frame(index) {
                Some(Frame { key: Some(key), .. }) => View::Text(key),
                Some(frame) => View::Count(frame.index),
                None => View::Missing,
            },
            Base::Index(index) => frame(index).map_or(View::Missing, |frame| View::Count(frame.index)),
            Base::First(index) => frame(index).map_or(View::Missing, |frame| View::Bool(frame.index == 0)),
            Base::Last(index) => frame(index).map_or(View::Missing, |frame| View::Bool(frame.index + 1 == frame.length)),
        };
        self.fuel = self.fuel.saturating_sub(path.steps.len() as u64);
        steps.fold(start, View::step)
    }

    #[inline(never)]
    fn call(&mut self, helper: Helper, arguments: &'a [Expression]) -> View<'a> {
        self.fuel = self.fuel.saturating_sub(1);
        // `compile` has checked how many arguments there are; a missing one would read as missing.
        let argument = |machine: &mut Self, index: usize| arguments.get(index).map_or(View::Missing, |each| machine.evaluate(each));
        let one = match helper {
            Helper::And | Helper::Or => View::Missing,
            _ => argument(self, 0),
        };
        match helper {
            Helper::Not => View::Bool(!one.is_truthy(false)),
            Helper::Len => {
                self.fuel = self.fuel.saturating_sub(one.weight());
                View::Count(one.length())
            }
            Helper::Json => one,
            Helper::And => View::Bool(arguments.iter().all(|each| self.evaluate(each).is_truthy(false))),
            Helper::Or => View::Bool(arguments.iter().any(|each| self.evaluate(each).is_truthy(false))),
            Helper::Lookup => {
                let key = argument(self, 1);
                one.lookup(key)
            }
            Helper::Eq | Helper::Ne => {
                let two = argument(self, 1);
                View::Bool(one.equals(two, &mut self.fuel) == (helper == Helper::Eq))
            }
            Helper::Gt | Helper::Gte | Helper::Lt | Helper::Lte => {
                let two = argument(self, 1);
                self.fuel = self.fuel.saturating_sub(one.weight().min(two.weight()));
                View::Bool(one.order(two).is_some_and(|order| match helper {
                    Helper::Gt => order.is_gt(),
                    Helper::Gte => order.is_ge(),
                    Helper::Lt => order.is_lt(),
                    _ => order.is_le(),
                }))
            }
        }
    }

    /// Whether a value that may be missing or null can be put out.
    #[cold]
    fn check_value<S: Sink>(&self, value: View<'a>, at: usize) -> Result<(), RenderError> {
        let unfit = value.is_missing() || (S::NEEDS_VALUES && value.is_null());
        if !(S::NEEDS_VALUES || self.strict) || !unfit {
            return Ok(());
        }
        let name = self.written_at(at);
        let message = if value.is_null() { format!("`{name}` is null here, and a value is needed") } else { missing(&name) };
        Err(self.error(at, Fault { offset: 0, problem: RenderProblem::Missing(name), message }))
    }

    fn check_strict(&self, value: View<'a>, at: usize) -> Result<(), RenderError> {
        if !(self.strict && value.is_missing()) {
            return Ok(());
        }
        let name = self.written_at(at);
        let message = missing(&name);
        Err(self.error(at, Fault { offset: 0, problem: RenderProblem::Missing(name), message }))
    }

    /// What stands in the tag at `at`.
    fn written_at(&self, at: usize) -> String {
        let rest = &self.program.source[at..];
        let inner = &rest[..rest.find("}}").unwrap_or(rest.len())];
        let inner = inner.trim_matches(['{', '}', '~', '&', '#']).trim();
        let inner = inner.strip_prefix("each ").or_else(|| inner.strip_prefix("with ")).unwrap_or(inner);
        inner.split(" as |").next().unwrap_or(inner).trim().to_owned()
    }

    fn error(&self, offset: usize, fault: Fault) -> RenderError {
        let (line, column) = position(&self.program.source, offset);
        RenderError { problem: fault.problem, line, column, message: fault.message }
    }

    fn limit(&self, op: &Op, message: String) -> RenderError {
        let at = match op {
            Op::Text(range) => range.start,
            Op::Emit { at, .. } | Op::Each { at, .. } | Op::With { at, .. } => *at,
            Op::Test { .. } | Op::Jump { .. } | Op::Next { .. } | Op::EndWith => 0,
        };
        self.error(at, Fault { offset: 0, problem: RenderProblem::Limit, message })
    }

    fn out_of_fuel(&self, op: &Op, limits: Limits) -> RenderError {
        self.limit(
            op,
            format!("the template takes more than {} operations for these rows: nest fewer loops or send fewer rows", limits.operations),
        )
    }
}

fn missing(name: &str) -> String {
    format!("`{name}` is missing: the row and the request have no such variable")
}
