//! Sinks for what has no structure of its own: text bodies, header values, parameter values.
//!
//! They must not change a value: it goes out as it is, or the rendering fails.

use super::TemplateError;
use super::compile::texts;
use super::program::{How, Program};
use super::run::{Fault, Sink};
use super::value::View;

fn write(value: View<'_>, how: How, out: &mut Vec<u8>) {
    match how {
        How::Literal => value.write_literal(out),
        How::Plain | How::Raw => value.write_text(out),
    }
}

/// A text body.
pub(super) struct TextSink;

impl Sink for TextSink {
    const NEEDS_VALUES: bool = false;

    fn text(&mut self, _index: usize, text: &[u8], out: &mut Vec<u8>) -> Result<(), Box<Fault>> {
        out.extend_from_slice(text);
        Ok(())
    }

    fn value(&mut self, value: View<'_>, how: How, out: &mut Vec<u8>) -> Result<(), Box<Fault>> {
        write(value, how, out);
        Ok(())
    }

    fn finish(&mut self, _out: &mut Vec<u8>) -> Result<(), Box<Fault>> {
        Ok(())
    }
}

/// The value of a parameter, before it is percent-encoded.
pub(super) struct ParameterSink;

impl Sink for ParameterSink {
    const NEEDS_VALUES: bool = true;

    fn text(&mut self, _index: usize, text: &[u8], out: &mut Vec<u8>) -> Result<(), Box<Fault>> {
        out.extend_from_slice(text);
        Ok(())
    }

    fn value(&mut self, value: View<'_>, how: How, out: &mut Vec<u8>) -> Result<(), Box<Fault>> {
        write(value, how, out);
        Ok(())
    }

    fn finish(&mut self, _out: &mut Vec<u8>) -> Result<(), Box<Fault>> {
        Ok(())
    }
}

/// A header's value.
pub(super) struct HeaderSink;

impl Sink for HeaderSink {
    const NEEDS_VALUES: bool = true;

    fn text(&mut self, _index: usize, text: &[u8], out: &mut Vec<u8>) -> Result<(), Box<Fault>> {
        out.extend_from_slice(text);
        Ok(())
    }

    fn value(&mut self, value: View<'_>, how: How, out: &mut Vec<u8>) -> Result<(), Box<Fault>> {
        let start = out.len();
        write(value, how, out);
        // The controls of Unicode beyond ASCII are multi-byte, but no receiver should have to sort them out either.
        let written = std::str::from_utf8(&out[start..]).unwrap_or_default();
        match written.chars().find(|each| each.is_control()) {
            Some(control) => Err(Fault::value(format!("the value holds {control:?}, and a header can't hold control characters"))),
            None => Ok(()),
        }
    }

    fn finish(&mut self, _out: &mut Vec<u8>) -> Result<(), Box<Fault>> {
        Ok(())
    }
}

/// A header's literal text may hold no control characters either, which can be known before there is a row.
pub(super) fn check_header_text(program: &Program) -> Result<(), TemplateError> {
    for range in texts(program) {
        if let Some(offset) = program.source[range.clone()].find(char::is_control) {
            let message = "a header can't hold control characters or line feeds: write it on one line";
            return Err(TemplateError::at(&program.source, range.start + offset, message));
        }
    }
    Ok(())
}
