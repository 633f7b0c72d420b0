//! JMESPath over JSON responses: how many rows an answer says were accepted, and any other value that a path finds.
//!
//! It must not judge: what a count means for a delivery is decided elsewhere. A hostile expression or body ends in an error, never in a
//! panic, an exhausted stack or an answer that fills the memory.

use jmespath::ast::Ast;
use jmespath::{DEFAULT_RUNTIME, Expression, Rcvar, Variable};
use serde_json::Value;

/// The longest expression, bytes.
pub const MAX_EXPRESSION_BYTES: usize = 4096;

/// Most operators in one expression. The `jmespath` crate recurses once for each and exhausts a 2 MiB stack at about 1,900.
const MAX_OPERATORS: usize = 400;

/// Most digits of an index or slice: the crate adds a slice's numbers as 32-bit integers.
const MAX_DIGITS: usize = 9;

/// About how many bytes an expression may make of a body: `[@, @][]` doubles it each time.
const MAX_WORK_BYTES: u64 = 64 * 1024 * 1024;

/// A compiled JMESPath expression within limits.
#[derive(Clone, Debug)]
pub struct JmesPath {
    expression: Expression<'static>,
    cost: Cost,
}

/// How an expression's answer grows with the body: at most `factor` times the body's size to the power of `power`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost {
    factor: u64,
    power: u32,
}

impl JmesPath {
    /// Compiles an expression of at most 4 KiB. The error is a lowercase fragment that names the position.
    pub fn compile(text: &str) -> Result<JmesPath, String> {
        check_limits(text)?;
        let expression = jmespath::compile(text).map_err(|error| {
            let reason = error.reason.to_string();
            let reason = reason.strip_prefix("Parse error: ").unwrap_or(&reason);
            format!("not a JMESPath expression at line {}, column {}: {reason}", error.line + 1, error.column + 1)
        })?;
        let mut cost = Cost { factor: 1, power: 1 };
        survey(expression.as_ast(), text, &mut cost)?;
        Ok(JmesPath { expression, cost })
    }

    /// The expression as written.
    pub fn as_str(&self) -> &str {
        self.expression.as_str()
    }

    /// The value that the path finds in a JSON text. The error says why there is none: the text is not JSON (or nests deeper than 128), a
    /// function was given a value that it can't take, or the answer would be too large.
    pub fn search(&self, body: &[u8]) -> Result<Value, String> {
        let found = self.find(body)?;
        serde_json::to_value(&*found).map_err(|error| format!("what `{}` finds is not JSON: {error}", self.as_str()))
    }

    fn find(&self, body: &[u8]) -> Result<Rcvar, String> {
        let work = (body.len() as u64).max(1).saturating_pow(self.cost.power).saturating_mul(self.cost.factor);
        if work > MAX_WORK_BYTES {
            return Err(format!("the body is too large ({} bytes) for `{}`, which multiplies it", body.len(), self.as_str()));
        }
        let text = std::str::from_utf8(body).map_err(|error| format!("the body is not UTF-8 from byte {}", error.valid_up_to()))?;
        let variable = Variable::from_json(text).map_err(|error| format!("the body is not JSON: {error}"))?;
        self.expression.search(Rcvar::new(variable)).map_err(|error| {
            let reason = error.reason.to_string();
            let reason = reason.strip_prefix("Runtime error: ").unwrap_or(&reason);
            format!("`{}` can't be evaluated at column {}: {reason}", self.as_str(), error.column + 1)
        })
    }
}

/// A success path: a JMESPath expression that reads from a response how many rows were accepted.
#[derive(Clone, Debug)]
pub struct SuccessPath {
    path: JmesPath,
}

impl SuccessPath {
    /// Compiles an expression; see [`JmesPath::compile`].
    pub fn compile(text: &str) -> Result<SuccessPath, String> {
        Ok(SuccessPath { path: JmesPath::compile(text)? })
    }

    /// The expression as written.
    pub fn as_str(&self) -> &str {
        self.path.as_str()
    }

    /// How many of `sent` rows the response's body says were accepted: an array counts its length, a boolean is all or none, a number is
    /// the count. Anything else, a count that is negative, fractional or larger than `sent`, and a body that can't be read are errors
    /// (class `response_error`): lowercase fragments that say what was found.
    pub fn count(&self, body: &[u8], sent: usize) -> Result<u64, String> {
        let sent = sent as u64;
        let name = self.as_str();
        let found = self.path.find(body)?;
        let count = match &*found {
            Variable::Array(items) => items.len() as u64,
            Variable::Bool(all) => return Ok(if *all { sent } else { 0 }),
            Variable::Number(number) => whole(number).ok_or_else(|| format!("success path `{name}` gives {number}, which is no count"))?,
            Variable::Null => return Err(format!("success path `{name}` finds nothing in the body")),
            Variable::String(_) => return Err(format!("success path `{name}` gives a text, not a count, list or boolean")),
            Variable::Object(_) => return Err(format!("success path `{name}` gives an object, not a count, list or boolean")),
            Variable::Expref(_) => return Err(format!("success path `{name}` gives an expression, not a count, list or boolean")),
        };
        if count > sent {
            return Err(format!("success path `{name}` counts {count} rows, but only {sent} were sent"));
        }
        Ok(count)
    }
}

/// A number as a count; `3.0` is 3.
fn whole(number: &serde_json::Number) -> Option<u64> {
    number.as_u64().or_else(|| {
        let value = number.as_f64()?;
        // Within this range every whole f64 is exact.
        let counts = (0.0..=9_007_199_254_740_992.0).contains(&value) && value.fract() == 0.0;
        counts.then_some(value as u64)
    })
}

/// Refuses what the parser should not be handed: see the limits above. Linear, and without looking into quoted text.
fn check_limits(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("the expression is empty: write a path such as `records`, or leave the key out".to_owned());
    }
    if text.len() > MAX_EXPRESSION_BYTES {
        return Err(format!("the expression has {} bytes, and {MAX_EXPRESSION_BYTES} is the most", text.len()));
    }
    let (mut operators, mut digits) = (0, 0);
    let mut quote = None;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        if let Some(open) = quote {
            if escaped {
                escaped = false;
            } else if byte == b'\\' {
                escaped = true;
            } else if byte == open {
                quote = None;
            }
            continue;
        }
        digits = if byte.is_ascii_digit() { digits + 1 } else { 0 };
        match byte {
            b'\'' | b'"' | b'`' => quote = Some(byte),
            b'[' | b'(' | b'{' | b'!' | b'&' | b'.' | b'|' | b'*' | b'<' | b'>' | b'=' => operators += 1,
            // Digits at the end of a name are counted too: no name needs ten of them after a bracket, a colon or a minus sign.
            _ if digits > MAX_DIGITS && number_before(text, at) => {
                return Err(format!("the number at column {} is too large for an index", text[..at].chars().count() + 1));
            }
            _ => {}
        }
        if operators > MAX_OPERATORS {
            return Err(format!(
                "the expression has more than {MAX_OPERATORS} operators, from column {} on",
                text[..at].chars().count() + 1
            ));
        }
    }
    Ok(())
}

/// Whether the digits up to `at` are a number, and not the end of a name.
fn number_before(text: &str, at: usize) -> bool {
    let before = text[..=at].trim_end_matches(|each: char| each.is_ascii_digit());
    !before.ends_with(|each: char| each.is_ascii_alphabetic() || each == '_')
}

/// Notes what an expression may multiply, and refuses functions that are not there. As deep as the expression, which is bounded.
fn survey(node: &Ast, text: &str, cost: &mut Cost) -> Result<(), String> {
    match node {
        Ast::Field { .. } | Ast::Identity { .. } | Ast::Literal { .. } | Ast::Index { .. } | Ast::Slice { .. } => Ok(()),
        Ast::Subexpr { lhs, rhs, .. } | Ast::Or { lhs, rhs, .. } | Ast::And { lhs, rhs, .. } | Ast::Comparison { lhs, rhs, .. } => {
            survey(lhs, text, cost)?;
            survey(rhs, text, cost)
        }
        Ast::Projection { lhs, rhs, .. } => {
            survey(lhs, text, cost)?;
            survey(rhs, text, cost)
        }
        Ast::Condition { predicate, then, .. } => {
            survey(predicate, text, cost)?;
            survey(then, text, cost)
        }
        Ast::Not { node, .. } | Ast::ObjectValues { node, .. } | Ast::Flatten { node, .. } => survey(node, text, cost),
        Ast::Expref { ast, .. } => survey(ast, text, cost),
        Ast::MultiList { elements, .. } => {
            cost.factor = cost.factor.saturating_mul(elements.len().max(1) as u64);
            elements.iter().try_for_each(|element| survey(element, text, cost))
        }
        Ast::MultiHash { elements, .. } => {
            cost.factor = cost.factor.saturating_mul(elements.len().max(1) as u64);
            elements.iter().try_for_each(|element| survey(&element.value, text, cost))
        }
        Ast::Function { name, args, offset } => {
            if DEFAULT_RUNTIME.get_function(name).is_none() {
                let column = text.get(..*offset).unwrap_or(text).chars().count().saturating_sub(name.chars().count()) + 1;
                return Err(format!("there is no function `{name}` in JMESPath, at column {column}"));
            }
            // `join` repeats its first argument for each item of its second.
            if name == "join" && !matches!(args.first(), Some(Ast::Literal { .. })) {
                cost.power = cost.power.saturating_add(1);
            }
            args.iter().try_for_each(|argument| survey(argument, text, cost))
        }
    }
}

#[cfg(test)]
mod tests;
