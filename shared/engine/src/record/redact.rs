//! Keeping secrets out of what is stored and shown: by where they come from, and by value where a receiver echoes them.

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use std::borrow::Cow;

/// What stands where a secret was.
pub const REDACTED: &str = "[redacted]";

/// Shorter secrets are not searched for by value: every text would be full of them.
const SHORTEST: usize = 4;

/// Finds secrets by value: raw, escaped as JSON and HTML do it, percent-encoded, in hexadecimal, and in base64 at each of its three
/// offsets.
#[derive(Debug)]
pub struct Redactor {
    patterns: Option<AhoCorasick>,
    forms: Vec<String>,
}

impl Redactor {
    /// For these secrets.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Redactor {
        let mut forms: Vec<String> = secrets.into_iter().filter(|s| s.len() >= SHORTEST).flat_map(forms).collect();
        forms.sort();
        forms.dedup();
        if forms.is_empty() {
            return Redactor { patterns: None, forms };
        }
        let patterns = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&forms).ok();
        Redactor { patterns, forms }
    }

    /// `text` without secrets.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match &self.patterns {
            Some(patterns) if patterns.is_match(text) => {
                let mut out = String::with_capacity(text.len());
                patterns.replace_all_with(text, &mut out, |_, _, out| {
                    out.push_str(REDACTED);
                    true
                });
                Cow::Owned(out)
            }
            _ => Cow::Borrowed(text),
        }
    }

    /// Text that breaks off without secrets, nor the beginning of one at its end.
    pub fn text_cut_short(&self, text: &str) -> String {
        // Half a character may be left too.
        let text = text.trim_end_matches(char::REPLACEMENT_CHARACTER);
        let longest = self.forms.iter().map(String::len).max().unwrap_or_default();
        let begins = |end: &str| end.len() >= SHORTEST && self.forms.iter().any(|form| form.len() > end.len() && form.starts_with(end));
        let first = text.len().saturating_sub(longest);
        match (first..text.len()).find(|at| text.is_char_boundary(*at) && begins(&text[*at..])) {
            Some(at) => format!("{}{REDACTED}", self.text(&text[..at])),
            None => self.text(text).into_owned(),
        }
    }
}

fn forms(secret: &str) -> Vec<String> {
    let json = serde_json::to_string(secret).expect("text always serializes");
    let json = &json[1..json.len() - 1];
    let mut forms = vec![
        secret.to_string(),
        json.to_string(),
        json.replace('/', "\\/"),
        // As libraries write JSON that keep to ASCII, or let nothing through that HTML might read.
        unicode_escaped(json, |c| !c.is_ascii()),
        unicode_escaped(json, |c| matches!(c, '<' | '>' | '&')),
        unicode_escaped(json, |c| !c.is_ascii() || matches!(c, '<' | '>' | '&')),
        secret.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;"),
        url::form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
        secret.bytes().map(|b| format!("{b:02x}")).collect(),
        secret.bytes().map(|b| format!("{b:02X}")).collect(),
    ];
    // What encoders leave as it is: RFC 3986's unreserved, with what `encodeURIComponent` or a path takes besides; letters and digits.
    for plain in ["-._~", "-._~!'()*", "-._~/", ""] {
        forms.push(percent_encode(secret, plain, |b| format!("%{b:02X}")));
        forms.push(percent_encode(secret, plain, |b| format!("%{b:02x}")));
    }
    for offset in 0..3 {
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let shifted = [&[0u8; 2][..offset], secret.as_bytes()].concat();
            let encoded = engine.encode(&shifted);
            // The first characters hold bits of what stands before; the last one, if it is not full, of what follows.
            let first = if offset == 0 { 0 } else { offset + 1 };
            let partial = usize::from(shifted.len() % 3 != 0);
            let inner = &encoded[first..encoded.len() - partial];
            if inner.len() >= 5 {
                forms.push(inner.to_string());
            }
        }
    }
    forms
}

fn percent_encode(text: &str, plain: &str, escaped: impl Fn(u8) -> String) -> String {
    text.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => (b as char).to_string(),
            b if b.is_ascii() && plain.contains(b as char) => (b as char).to_string(),
            b => escaped(b),
        })
        .collect()
}

/// JSON text with some characters as `\uXXXX`.
fn unicode_escaped(json: &str, which: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if which(c) {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    use proptest::prelude::*;

    fn encodings(secret: &str, before: &str, after: &str) -> Vec<String> {
        let whole = format!("{before}{secret}{after}");
        vec![
            whole.clone(),
            serde_json::to_string(&whole).unwrap(),
            STANDARD.encode(&whole),
            URL_SAFE.encode(&whole),
            url::form_urlencoded::byte_serialize(whole.as_bytes()).collect(),
            percent_encode(&whole, "-._~", |b| format!("%{b:02X}")),
            percent_encode(&whole, "", |b| format!("%{b:02x}")),
            whole.bytes().map(|b| format!("{b:02x}")).collect(),
        ]
    }

    proptest! {
        /// faults.md S17: whatever surrounds it and however it is encoded, nothing of ten characters of the secret is left.
        #[test]
        fn an_echoed_secret_is_found_in_every_usual_encoding(secret in "[ -~]{12,40}", before in "[a-z ]{0,7}", after in "[a-z ]{0,7}") {
            let redactor = Redactor::new([secret.as_str()]);
            for text in encodings(&secret, &before, &after) {
                let shown = redactor.text(&text);
                prop_assert!(shown.contains(REDACTED), "{} still shows {}", shown, secret);
            }
        }
    }

    #[test]
    fn a_secret_is_found_however_a_library_escapes_it() {
        let redactor = Redactor::new(["Tök&n/<1>!"]);
        for text in [
            "T\\u00f6k&n/<1>!",
            "T\\u00f6k\\u0026n/\\u003c1\\u003e!",
            "Tök&amp;n/&lt;1&gt;!",
            "T%c3%b6k%26n%2f%3c1%3e%21",
            "T%C3%B6k%26n%2F%3C1%3E!",
        ] {
            assert_eq!(redactor.text(text), REDACTED, "{text}");
        }
    }

    #[test]
    fn the_beginning_of_a_secret_where_text_breaks_off_is_not_shown() {
        let redactor = Redactor::new(["s3cr3t-välue"]);
        for (text, shown) in [
            ("a s3cr", "a [redacted]"),
            ("a s3cr3t-v\u{fffd}", "a [redacted]"),
            ("a s3cr3t-välue, then s3cr3t-välu", "a [redacted], then [redacted]"),
            ("a czNjcjN0LX", "a [redacted]"),
            ("a s3cr3t-välue", "a [redacted]"),
            ("a s3c", "a s3c"),
        ] {
            assert_eq!(redactor.text_cut_short(text), shown);
        }
    }

    #[test]
    fn text_without_secrets_is_untouched_and_short_secrets_do_not_eat_it() {
        let redactor = Redactor::new(["s3cr3t-value", "1"]);
        assert_eq!(redactor.text("1 plain text"), "1 plain text");
        assert_eq!(redactor.text("token=s3cr3t-value;"), "token=[redacted];");
    }
}
