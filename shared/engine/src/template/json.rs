//! The sink for JSON bodies: an automaton over the literal text knows at every value whether it stands within a string literal, where a
//! value may stand at all, and at the end whether the whole is one document. So no body is parsed a second time.
//!
//! It must accept exactly what a JSON parser accepts, except that a trailing comma outside strings is removed.

use serde::de::IgnoredAny;

use super::RenderProblem;
use super::program::How;
use super::run::{Fault, Sink};
use super::value::{View, escape_json};

/// How deep the literal text of a body may nest: what common parsers take, and one bit of a `u128` each.
const MAX_DEPTH: u32 = 127;

/// Where in a document the output stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A value must come: at the start, after a colon.
    Value,
    /// After `[`.
    FirstItem,
    /// After a comma in an array.
    NextItem,
    /// After `[,`: only `]` can save it.
    LoneItemComma,
    /// After `{`.
    FirstKey,
    /// After a comma in an object.
    NextKey,
    /// After `{,`: only `}` can save it.
    LoneKeyComma,
    /// After a key.
    Colon,
    /// After a value.
    After,
    /// Within a string literal; `key` says which.
    InString,
    /// After a backslash.
    Escape,
    /// So many hexadecimal digits must come.
    Hex(u8),
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
    /// Within `true`, `false` or `null`: how many bytes of [`WORDS`] are behind.
    Word(u8),
}

/// The literal words, each ended by a space. A word is entered after its first letter.
const WORDS: &[u8; 16] = b"true false null ";

impl State {
    fn wanted(self, in_object: bool, depth: u32) -> &'static str {
        match self {
            State::Value => "a value",
            State::FirstItem => "a value or `]`",
            State::NextItem => "a value",
            State::LoneItemComma => "`]`",
            State::FirstKey => "a key in quotes or `}`",
            State::NextKey => "a key in quotes",
            State::LoneKeyComma => "`}`",
            State::Colon => "`:` after the key",
            State::After if depth == 0 => "nothing more after the document",
            State::After if in_object => "`,` or `}` after the value",
            State::After => "`,` or `]` after the value",
            State::InString => "the rest of a string without line feeds or other control characters",
            State::Escape => "one of \" \\ / b f n r t u after the backslash",
            State::Hex(_) => "four hexadecimal digits after \\u",
            State::Minus | State::Point | State::Exponent | State::ExponentSign => "a digit",
            State::Zero | State::Integer | State::Fraction | State::ExponentDigits => "the rest of a number, or what follows it",
            State::Word(_) => "the rest of true, false or null",
        }
    }

    /// Whether what was read is a whole number, so that whatever may follow a value may follow.
    fn ends_number(self) -> bool {
        matches!(self, State::Zero | State::Integer | State::Fraction | State::ExponentDigits)
    }
}

/// See the module.
pub(super) struct JsonSink {
    state: State,
    key: bool,
    /// One bit for each open bracket, the innermost lowest: 1 is an object.
    stack: u128,
    depth: u32,
    /// Where in the output the comma stands that the `Next…` and `Lone…` states are about.
    comma: usize,
    /// The outermost bracket that was asked about, and the outermost that was closed, since the current text began; as depths.
    asked: u32,
    closed: u32,
    /// What each literal text did when it was last taken, by its place in the program.
    known: Vec<Option<Passage>>,
    /// After the first fault: whether the output seems to stand within a string. Nothing is checked any more.
    broken: Option<bool>,
    scratch: Vec<u8>,
}

/// What a literal text does to the automaton. A loop takes the same few texts over and over, from the same states, so what one did the
/// first time need not be worked out again. It holds wherever state, key and innermost bracket are the same, since only texts that ask
/// about no other bracket are noted.
#[derive(Clone, Copy, Debug)]
struct Passage {
    state: State,
    context: u8,
    pops: u32,
    pushes: u32,
    /// The bits pushed.
    opened: u128,
    state_after: State,
    key_after: bool,
    /// Where the last comma stands, counted from the text's start; `None` if the text leaves the note as it was.
    comma: Option<usize>,
}

impl JsonSink {
    /// For a program of so many operations.
    pub fn new(operations: usize) -> JsonSink {
        JsonSink {
            state: State::Value,
            key: false,
            stack: 0,
            depth: 0,
            comma: 0,
            asked: 0,
            closed: 0,
            known: vec![None; operations],
            broken: None,
            scratch: Vec::new(),
        }
    }

    /// Whether the innermost bracket is an object's.
    fn ask(&mut self) -> bool {
        self.asked = self.asked.min(self.depth);
        self.in_object()
    }

    fn in_object(&self) -> bool {
        self.depth > 0 && self.stack & 1 == 1
    }

    /// What a text can ask about besides the state, in three bits.
    fn context(&self) -> u8 {
        u8::from(self.key) | u8::from(self.in_object()) << 1 | u8::from(self.depth == 0) << 2
    }

    /// Takes a text as it did the last time, if nothing that matters differs.
    #[inline]
    fn replay(&mut self, index: usize, text: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(Some(known)) = self.known.get(index) else { return false };
        let same = known.state == self.state && known.context == self.context() && self.depth + known.pushes <= MAX_DEPTH;
        if !same {
            return false;
        }
        if let Some(comma) = known.comma {
            self.comma = out.len() + comma;
        }
        if known.pops | known.pushes != 0 {
            self.stack = (self.stack >> known.pops) << known.pushes | known.opened;
            self.depth = self.depth - known.pops + known.pushes;
        }
        self.state = known.state_after;
        self.key = known.key_after;
        out.extend_from_slice(text);
        true
    }

    /// Takes a text and notes what it did.
    fn take_text(&mut self, index: usize, text: &[u8], out: &mut Vec<u8>) -> Result<(), usize> {
        let (state, context, depth, start) = (self.state, self.context(), self.depth, out.len());
        let comma = self.comma;
        self.asked = depth;
        self.closed = depth;
        self.feed(text, out)?;
        let plain = out.len() == start + text.len() && self.asked >= depth && depth - self.closed.min(depth) <= 1;
        if plain && let Some(known) = self.known.get_mut(index) {
            let pops = depth - self.closed;
            let pushes = self.depth - self.closed;
            let opened = if pushes == 0 { 0 } else { self.stack & (u128::MAX >> (128 - pushes)) };
            let comma = if self.comma >= start && self.comma != comma { Some(self.comma - start) } else { None };
            let (state_after, key_after) = (self.state, self.key);
            *known = Some(Passage { state, context, pops, pushes, opened, state_after, key_after, comma });
        }
        Ok(())
    }

    fn open(&mut self, object: bool) -> bool {
        self.stack = self.stack << 1 | u128::from(object);
        self.depth += 1;
        self.state = if object { State::FirstKey } else { State::FirstItem };
        self.depth <= MAX_DEPTH
    }

    fn close(&mut self) {
        self.stack >>= 1;
        self.depth -= 1;
        self.closed = self.closed.min(self.depth);
        self.state = State::After;
    }

    /// Takes literal bytes: copies them to `out`, trailing commas aside. The error is how many bytes were taken.
    fn feed(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<(), usize> {
        let mut copied = 0;
        let mut at = 0;
        while at < text.len() {
            let byte = text[at];
            if self.state == State::InString {
                match byte {
                    b'"' => self.state = if self.key { State::Colon } else { State::After },
                    b'\\' => self.state = State::Escape,
                    0..0x20 => {
                        out.extend_from_slice(&text[copied..]);
                        return Err(at);
                    }
                    _ => {}
                }
                at += 1;
                continue;
            }
            match byte {
                b']' | b'}' if self.after_comma() && (byte == b'}') == self.ask() => {
                    out.extend_from_slice(&text[copied..at]);
                    copied = at;
                    out.remove(self.comma);
                    self.close();
                }
                b',' if self.may_end_item() => {
                    self.comma = out.len() + (at - copied);
                    self.state = match (self.state, self.ask()) {
                        (State::FirstItem, _) => State::LoneItemComma,
                        (State::FirstKey, _) => State::LoneKeyComma,
                        (_, true) => State::NextKey,
                        (_, false) => State::NextItem,
                    };
                }
                _ if self.take(byte) => {}
                _ => {
                    out.extend_from_slice(&text[copied..]);
                    return Err(at);
                }
            }
            at += 1;
        }
        out.extend_from_slice(&text[copied..]);
        Ok(())
    }

    fn after_comma(&self) -> bool {
        matches!(self.state, State::NextItem | State::NextKey | State::LoneItemComma | State::LoneKeyComma)
    }

    /// Whether a comma may come; within brackets only.
    fn may_end_item(&mut self) -> bool {
        let fits = matches!(self.state, State::After | State::FirstItem | State::FirstKey) || self.state.ends_number();
        self.asked = self.asked.min(self.depth);
        fits && self.depth > 0
    }

    /// One byte outside of plain string content; false if it can't stand here.
    fn take(&mut self, byte: u8) -> bool {
        let space = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        self.state = match (self.state, byte) {
            (State::Escape, b'u') => State::Hex(4),
            (State::Escape, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => State::InString,
            (State::Hex(left), _) if byte.is_ascii_hexdigit() => {
                if left == 1 {
                    State::InString
                } else {
                    State::Hex(left - 1)
                }
            }
            (State::Word(at), _) if WORDS.get(usize::from(at)) == Some(&byte) && byte != b' ' => {
                if WORDS.get(usize::from(at) + 1) == Some(&b' ') { State::After } else { State::Word(at + 1) }
            }
            (State::Minus, b'0') => State::Zero,
            (State::Minus, b'1'..=b'9') | (State::Integer, b'0'..=b'9') => State::Integer,
            (State::Zero | State::Integer, b'.') => State::Point,
            (State::Point | State::Fraction, b'0'..=b'9') => State::Fraction,
            (State::Zero | State::Integer | State::Fraction, b'e' | b'E') => State::Exponent,
            (State::Exponent, b'+' | b'-') => State::ExponentSign,
            (State::Exponent | State::ExponentSign | State::ExponentDigits, b'0'..=b'9') => State::ExponentDigits,
            (state, _) if state.ends_number() => {
                self.state = State::After;
                return self.take(byte);
            }
            (State::Escape | State::Hex(_) | State::Word(_) | State::Minus | State::Point | State::Exponent | State::ExponentSign, _) => {
                return false;
            }
            (state, _) if space => state,
            (State::Value | State::FirstItem | State::NextItem, _) => return self.take_value_start(byte),
            (State::FirstKey | State::NextKey, b'"') => {
                self.key = true;
                State::InString
            }
            (State::FirstKey, b'}') | (State::After, b'}' | b']') if self.depth > 0 && (byte == b'}') == self.ask() => {
                self.close();
                State::After
            }
            (State::Colon, b':') => State::Value,
            _ => return false,
        };
        true
    }

    fn take_value_start(&mut self, byte: u8) -> bool {
        self.state = match byte {
            b'"' => {
                self.key = false;
                State::InString
            }
            b'{' | b'[' => return self.open(byte == b'{'),
            b']' if self.state == State::FirstItem => {
                self.close();
                State::After
            }
            b'-' => State::Minus,
            b'0' => State::Zero,
            b'1'..=b'9' => State::Integer,
            b't' => State::Word(1),
            b'f' => State::Word(6),
            b'n' => State::Word(12),
            _ => return false,
        };
        true
    }

    /// A value within a string literal.
    fn value_in_string(&mut self, value: View<'_>, how: How, out: &mut Vec<u8>) {
        match value.as_text() {
            Some(text) if how != How::Literal => escape_json(text.as_bytes(), out),
            _ => {
                self.scratch.clear();
                match how {
                    How::Literal => value.write_literal(&mut self.scratch),
                    How::Plain | How::Raw => value.write_text(&mut self.scratch),
                }
                escape_json(&self.scratch, out);
            }
        }
    }

    /// A value outside a string literal.
    fn value_outside(&mut self, value: View<'_>, how: How, out: &mut Vec<u8>) -> Result<(), Box<Fault>> {
        self.scratch.clear();
        match (how, value.as_text()) {
            (How::Raw, Some(text)) => {
                if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
                    return Err(Fault::value(format!("the value of a triple brace must be JSON: {error}; it is {:?}", excerpt(text))));
                }
                self.scratch.extend_from_slice(text.trim().as_bytes());
            }
            _ => value.write_literal(&mut self.scratch),
        }
        let written = std::mem::take(&mut self.scratch);
        let fits = match self.state {
            State::Value | State::FirstItem | State::NextItem => {
                out.extend_from_slice(&written);
                self.state = if written.last().is_some_and(u8::is_ascii_digit) { number_state(&written) } else { State::After };
                true
            }
            State::FirstKey | State::NextKey if written.first() == Some(&b'"') => {
                out.extend_from_slice(&written);
                self.state = State::Colon;
                true
            }
            // `-{{x}}` or `{{x}}00`: digits that go on with a number are judged like literal ones.
            _ if written.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')) && self.in_number() => {
                self.feed(&written, out).is_ok()
            }
            _ => {
                out.extend_from_slice(&written);
                false
            }
        };
        let shown = if fits { String::new() } else { excerpt(&String::from_utf8_lossy(&written)) };
        self.scratch = written;
        if fits { Ok(()) } else { Err(self.not_json(0, &format!("the value {shown}"), out)) }
    }

    fn in_number(&self) -> bool {
        self.state.ends_number() || matches!(self.state, State::Minus | State::Point | State::Exponent | State::ExponentSign)
    }

    fn not_json(&mut self, offset: usize, found: &str, out: &[u8]) -> Box<Fault> {
        let wanted = self.state.wanted(self.in_object(), self.depth);
        let wanted = if self.depth > MAX_DEPTH { "at most 127 nested brackets" } else { wanted };
        let near: String = String::from_utf8_lossy(&out[out.len().saturating_sub(60)..]).into_owned();
        let message = format!("the body is not valid JSON here: expected {wanted}, found {found}; it is, up to there: …{near}");
        self.broken = Some(matches!(self.state, State::InString | State::Escape | State::Hex(_)));
        Box::new(Fault { offset, problem: RenderProblem::NotJson, message })
    }

    /// Takes a text that no passage is known for, or that follows a fault.
    fn text_anew(&mut self, index: usize, text: &[u8], out: &mut Vec<u8>) -> Result<(), Box<Fault>> {
        if let Some(in_string) = &mut self.broken {
            *in_string ^= has_odd_quotes(text);
            out.extend_from_slice(text);
            return Ok(());
        }
        let Err(taken) = self.take_text(index, text, out) else { return Ok(()) };
        let rest = text.get(taken..).unwrap_or_default();
        // Only the first byte of a character can be refused, and literal text is UTF-8.
        let found = match std::str::from_utf8(rest).unwrap_or_default().chars().next() {
            Some(each) if each.is_control() => format!("{each:?}"),
            Some(each) => format!("`{each}`"),
            None => "something else".to_owned(),
        };
        let kept = out.len() - rest.len();
        let fault = self.not_json(taken, &found, &out[..kept]);
        if let Some(in_string) = &mut self.broken {
            *in_string ^= has_odd_quotes(rest);
        }
        Err(fault)
    }
}

impl Sink for JsonSink {
    const NEEDS_VALUES: bool = false;

    #[inline]
    fn text(&mut self, index: usize, text: &[u8], out: &mut Vec<u8>) -> Result<(), Box<Fault>> {
        if self.broken.is_none() && self.replay(index, text, out) {
            return Ok(());
        }
        self.text_anew(index, text, out)
    }

    #[inline]
    fn value(&mut self, value: View<'_>, how: How, out: &mut Vec<u8>) -> Result<(), Box<Fault>> {
        if self.state == State::InString && self.broken.is_none() {
            match value.as_text() {
                Some(text) if how != How::Literal => escape_json(text.as_bytes(), out),
                _ => self.value_in_string(value, how, out),
            }
            return Ok(());
        }
        match (self.broken, self.state) {
            (Some(true), _) => {
                self.value_in_string(value, how, out);
                Ok(())
            }
            (Some(false), _) => {
                value.write_literal(out);
                Ok(())
            }
            (None, State::Escape | State::Hex(_)) => {
                let found = "a value (in Handlebars \\\\{{ stands for one backslash and a value: for an escaped one write four)";
                let fault = self.not_json(0, found, out);
                self.value_in_string(value, how, out);
                Err(fault)
            }
            (None, _) => self.value_outside(value, how, out),
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Box<Fault>> {
        let whole = self.depth == 0 && (self.state == State::After || self.state.ends_number());
        if self.broken.is_some() || whole {
            return Ok(());
        }
        let found = if out.iter().all(u8::is_ascii_whitespace) { "nothing: the body is empty" } else { "the end of the body" };
        Err(self.not_json(0, found, out))
    }
}

/// Whether a text leads from outside a string to within one, or back; as near as it can be known where the text is no JSON.
fn has_odd_quotes(text: &[u8]) -> bool {
    text.iter().filter(|byte| **byte == b'"').count() % 2 == 1
}

/// The state after a whole number literal.
fn number_state(number: &[u8]) -> State {
    if number.iter().any(|byte| matches!(byte, b'e' | b'E')) {
        State::ExponentDigits
    } else if number.contains(&b'.') {
        State::Fraction
    } else if number == b"0" || number == b"-0" {
        State::Zero
    } else {
        State::Integer
    }
}

fn excerpt(text: &str) -> String {
    if text.chars().count() <= 60 { text.to_owned() } else { text.chars().take(60).chain(['…']).collect() }
}
