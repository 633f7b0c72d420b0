//! The one place that asks the template compilers whether a text is sound. It must not render anything.

use crate::success_path::{JmesPath, SuccessPath};
use crate::template::{Content, Template, UrlTemplate};
use url::Url;

/// Which part of a request a template makes; URLs have a check of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A query parameter's value.
    Query,
    /// A header's value.
    Header,
    /// A JSON body.
    Json,
    /// A text body.
    Text,
}

/// Compiles a template once; the error says where in the template it is wrong, and why.
pub(super) fn check(template: &str, part: Part) -> Result<(), String> {
    let content = match part {
        Part::Query => Content::Query,
        Part::Header => Content::Header,
        Part::Json => Content::Json,
        Part::Text => Content::Text,
    };
    Template::compile(template, content).map(drop).map_err(|error| error.to_string())
}

/// Compiles the template of a URL once and gives a URL with the origin that every rendered one has; the error says where it is wrong,
/// and why.
pub(super) fn check_url(template: &str, base: &Url) -> Result<Url, String> {
    UrlTemplate::compile(template, base).map(|url| url.origin().clone()).map_err(|error| error.to_string())
}

/// Compiles a JMESPath once; the error says where it is wrong, and why.
pub(super) fn check_success_path(expression: &str) -> Result<(), String> {
    SuccessPath::compile(expression).map(drop).map_err(|error| error.to_string())
}

/// Compiles a JMESPath over events once; the error says where it is wrong, and why.
pub(super) fn check_path(expression: &str) -> Result<(), String> {
    JmesPath::compile(expression).map(drop)
}

/// Checks the template of a whole URL; the error says where it is wrong, and why.
pub(super) fn check_whole_url(template: &str) -> Result<(), String> {
    let stand_in = Url::parse("https://base.invalid").map_err(|error| error.to_string())?;
    let url = UrlTemplate::compile(template, &stand_in).map_err(|error| error.to_string())?;
    match url.origin().host_str() == stand_in.host_str() {
        true => Err("is no whole URL; write one like https://profiles.example.com/v1/{{contact.id}}".to_string()),
        false => Ok(()),
    }
}
