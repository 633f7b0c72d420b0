//! Keeping secrets out of what is stored and shown: by where they come from, and by value where a receiver echoes them.

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use std::borrow::Cow;

/// What stands where a secret was.
pub const REDACTED: &str = "[redacted]";

/// Shorter secrets are not searched for by value: every text would be full of them.
const SHORTEST: usize = 4;

/// Finds secrets by value: raw, JSON-escaped, percent-encoded, in hexadecimal, and in base64 at each of its three offsets.
#[derive(Debug)]
pub struct Redactor {
    patterns: Option<AhoCorasick>,
}

impl Redactor {
    /// For these secrets.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Redactor {
        let mut forms: Vec<String> = secrets.into_iter().filter(|s| s.len() >= SHORTEST).flat_map(forms).collect();
        forms.sort();
        forms.dedup();
        if forms.is_empty() {
            return Redactor { patterns: None };
        }
        let patterns = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(forms).ok();
        Redactor { patterns }
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
}

fn forms(secret: &str) -> Vec<String> {
    let json = serde_json::to_string(secret).expect("text always serializes");
    let mut forms = vec![
        secret.to_string(),
        json[1..json.len() - 1].to_string(),
        json[1..json.len() - 1].replace('/', "\\/"),
        url::form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
        percent_encode(secret),
        percent_encode(secret).to_lowercase(),
        secret.bytes().map(|b| format!("{b:02x}")).collect(),
        secret.bytes().map(|b| format!("{b:02X}")).collect(),
    ];
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

fn percent_encode(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => (b as char).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect()
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
            percent_encode(&whole),
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
    fn text_without_secrets_is_untouched_and_short_secrets_do_not_eat_it() {
        let redactor = Redactor::new(["s3cr3t-value", "1"]);
        assert_eq!(redactor.text("1 plain text"), "1 plain text");
        assert_eq!(redactor.text("token=s3cr3t-value;"), "token=[redacted];");
    }
}
