//! One row as a line of JSON. The database writes the values, but for decimals, whose digits a double may not hold. It must not know
//! where rows go.

use ::postgres::types::Type;
use ::postgres::{Error, Row};
use serde_json::Value;

/// What the cursor selects for a column.
pub(super) fn expression(alias: &str, of: &Type) -> String {
    match *of {
        Type::NUMERIC => format!("{alias}::text"),
        _ => format!("to_json({alias})::text"),
    }
}

/// Writes rows whose columns were selected by [`expression`].
pub(super) struct RowWriter {
    /// What stands before each value: `{"id":`, then `,"email":`.
    before: Vec<String>,
    decimal: Vec<bool>,
}

impl RowWriter {
    pub(super) fn new(names: &[String], types: &[Type]) -> RowWriter {
        let start = |at: usize| if at == 0 { '{' } else { ',' };
        let before = names.iter().enumerate().map(|(at, name)| format!("{}{}:", start(at), Value::from(name.as_str()))).collect();
        RowWriter { before, decimal: types.iter().map(|of| *of == Type::NUMERIC).collect() }
    }

    /// Appends a line.
    pub(super) fn append(&self, row: &Row, out: &mut Vec<u8>) -> Result<(), Error> {
        for (at, before) in self.before.iter().enumerate() {
            out.extend_from_slice(before.as_bytes());
            match row.try_get::<_, Option<&str>>(at)? {
                None => out.extend_from_slice(b"null"),
                Some(text) if self.decimal[at] => decimal(text, out),
                Some(text) => json(text, out),
            }
        }
        out.extend_from_slice(b"}\n");
        Ok(())
    }
}

/// JSON on one line: a `json` column keeps its line feeds, which stand between its tokens and nowhere else.
fn json(text: &str, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(text.as_bytes());
    for byte in &mut out[start..] {
        if matches!(*byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

/// A decimal as a number where a double gives it back digit by digit, else as text. Zeros at the end of a fraction say nothing.
fn decimal(text: &str, out: &mut Vec<u8>) {
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text };
    let whole = text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok();
    let exact = || text.contains('.') && text.parse::<f64>().is_ok_and(|number| number.to_string() == text);
    match whole || exact() {
        true => out.extend_from_slice(text.as_bytes()),
        // Digits, signs and the names of what is no number: nothing to escape.
        false => out.extend_from_slice(format!("\"{text}\"").as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn decimals_are_numbers_only_where_no_digit_is_lost() {
        for (from, to) in [
            ("123.45", "123.45"),
            ("10.50", "10.5"),
            ("100.00", "100"),
            ("100", "100"),
            ("0.00", "0"),
            ("-0.05", "-0.05"),
            ("18446744073709551615", "18446744073709551615"),
            ("18446744073709551616", "\"18446744073709551616\""),
            ("12345678901234567890.123", "\"12345678901234567890.123\""),
            ("NaN", "\"NaN\""),
            ("-Infinity", "\"-Infinity\""),
        ] {
            assert_eq!(written(|out| decimal(from, out)), to);
        }
    }

    #[test]
    fn a_value_keeps_to_its_line() {
        assert_eq!(written(|out| json("{\"a\":\r\n \"\\n\"}", out)), "{\"a\":   \"\\n\"}");
    }
}
