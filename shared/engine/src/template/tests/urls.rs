//! URLs: how they are joined, encoded and protected.

use proptest::prelude::*;
use serde_json::{Value, json};
use url::Url;

use super::{NAUGHTY, World, empty};
use crate::template::{RenderError, RenderProblem, UrlTemplate};

fn template(base: &str, source: &str) -> UrlTemplate {
    UrlTemplate::compile(source, &Url::parse(base).expect("a base")).unwrap_or_else(|error| panic!("{source}: {error}"))
}

fn render(base: &str, source: &str, row: Value) -> Result<Url, RenderError> {
    let template = template(base, source);
    World::individual(row).root("audience", json!({"external_id": "li st"})).with(|scope| template.render(scope))
}

#[test]
fn a_url_is_joined_with_its_base_part_by_part() {
    let row = json!({"id": "a/b c?d#e&f=g", "n": 5, "none": null});
    for (base, source, expected) in [
        ("https://h", "/x", "https://h/x"),
        ("https://h/", "x/y/", "https://h/x/y/"),
        ("https://h/api", "/x", "https://h/api/x"),
        ("https://h/api/", "/x", "https://h/api/x"),
        ("https://h/api/", "", "https://h/api/"),
        ("https://h/api", "", "https://h/api"),
        ("https://h", "", "https://h/"),
        ("https://h/api", "/", "https://h/api/"),
        ("https://h/api", "?a=1", "https://h/api?a=1"),
        ("https://h/api?key=k", "/x", "https://h/api/x?key=k"),
        ("https://h/api?key=k", "/x?a=1", "https://h/api/x?key=k&a=1"),
        ("https://h/api?key=k", "", "https://h/api?key=k"),
        ("https://h:8443/api", "/x/{{n}}", "https://h:8443/api/x/5"),
        ("https://h/api", "https://other.example:444/y/{{n}}?z", "https://other.example:444/y/5?z"),
        ("https://h/api", "https://other.example", "https://other.example/"),
        ("https://h", "/{{id}}", "https://h/a%2Fb%20c%3Fd%23e%26f%3Dg"),
        ("https://h", "{{id}}/x", "https://h/a%2Fb%20c%3Fd%23e%26f%3Dg/x"),
        ("https://h", "/pre-{{n}}.json", "https://h/pre-5.json"),
        ("https://h", "/x?q={{id}}&n={{user.n}}&{{n}}=1", "https://h/x?q=a%2Fb%20c%3Fd%23e%26f%3Dg&n=5&5=1"),
        ("https://h", "/lists/{{audience.external_id}}/members", "https://h/lists/li%20st/members"),
        ("https://h", "/a b/ü/%20/%/x:batch?q=a b|c", "https://h/a%20b/%C3%BC/%20/%25/x:batch?q=a%20b%7Cc"),
        ("https://h", "  /x\n", "https://h/x"),
        ("https://h", "/x{{#if n}}/y?a={{n}}{{else}}/z{{/if}}", "https://h/x/y?a=5"),
        ("https://h", "/x{{#if none}}/y?a={{n}}{{else}}/z{{/if}}", "https://h/x/z"),
        ("https://h", "/users({{n}})", "https://h/users(5)"),
        ("https://h", "/x?u=http://a/b", "https://h/x?u=http://a/b"),
    ] {
        let url = render(base, source, row.clone()).unwrap_or_else(|error| panic!("{base} {source}: {error}"));
        assert_eq!(url.as_str(), expected, "{base} {source}");
    }
}

#[test]
fn parameters_are_added_and_encoded() {
    let url = |source: &str| {
        template("https://h/api", source).parameter("q[]", "a {{x}}&").and_then(|url| url.parameter("n", "{{n}}")).expect("compiles")
    };
    let world = World::individual(json!({"x": "é=", "n": 1}));
    assert_eq!(world.with(|scope| url("/s").render(scope)).expect("renders").as_str(), "https://h/api/s?q%5B%5D=a%20%C3%A9%3D%26&n=1");
    assert_eq!(
        world.with(|scope| url("/s?z=0").render(scope)).expect("renders").as_str(),
        "https://h/api/s?z=0&q%5B%5D=a%20%C3%A9%3D%26&n=1"
    );
    assert_eq!(empty().with(|scope| url("/s").render(scope)).expect_err("missing").problem, RenderProblem::Missing("x".into()));
}

#[test]
fn a_url_that_could_lead_elsewhere_does_not_compile() {
    for (source, expected) in [
        ("https://{{host}}/x", "must be literal"),
        ("https://api.{{x}}.com/", "must be literal"),
        ("https://h{{x}}", "must be literal"),
        ("https://h:{{port}}/x", "must be literal"),
        ("{{scheme}}://h/x", "must be literal"),
        ("ht{{x}}tp://h/x", "must be literal"),
        ("//evil.example/x", "starts with https://"),
        ("ftp://h/x", "`ftp:` is no scheme"),
        ("javascript:alert(1)", "`javascript:` is no scheme"),
        ("https:/x", "is no scheme"),
        ("https://", "not the start of a URL"),
        ("https://user:pw@h/x", "credential"),
        ("/x#frag", "fragment"),
        ("/x#{{id}}", "fragment"),
        ("/a\nb", "one line"),
        ("/a/../b", "climb"),
        ("/a/%2e%2E/b", "climb"),
        ("/.", "climb"),
        ("https://h/..", "climb"),
        ("/{{#each x}}", "never closed"),
    ] {
        let error = UrlTemplate::compile(source, &Url::parse("https://h/api").expect("a base")).expect_err(source);
        assert!(error.message.contains(expected), "{source}: {error}");
    }
    for base in ["ftp://h", "https://u:p@h", "https://h/#f", "data:x"] {
        assert!(UrlTemplate::compile("/x", &Url::parse(base).expect("a URL")).is_err(), "{base}");
    }
}

/// faults.md E12
#[test]
fn an_empty_or_climbing_path_segment_is_an_error() {
    for id in ["", ".", "..", "%2e%2e", "%2E.", "%252e%252e", "../admin", "a/../b", "..\\x", "%2e%2e%2fadmin"] {
        for source in ["/customers/{{id}}", "/customers/{{id}}/orders", "/customers/{{id}}?x=1", "{{id}}", "/a/{{id}}{{none}}/"] {
            let error = render("https://h/api", &source.replace("{{none}}", "{{{empty}}}"), json!({"id": id, "empty": ""})).expect_err(id);
            assert_eq!(error.problem, RenderProblem::Value, "{source} with {id:?}: {error}");
        }
    }
    for (source, id) in [("/a/.{{id}}", "."), ("/a/{{id}}.", "."), ("/a/%2e{{id}}", "."), ("/a/{{id}}{{id}}", "."), ("/a/%2{{id}}/x", "e")]
    {
        assert_eq!(render("https://h/api", source, json!({"id": id})).expect_err(source).problem, RenderProblem::Value, "{source}");
    }
    assert_eq!(render("https://h", "/a/%{{id}}", json!({"id": "41"})).expect("a literal percent sign").as_str(), "https://h/a/%2541");
    assert_eq!(render("https://h", "/a?b={{id}}", json!({"id": ".."})).expect("a query may").as_str(), "https://h/a?b=..");
    assert_eq!(render("https://h", "/a/{{id}}", json!({"id": "..."})).expect("three dots are a name").as_str(), "https://h/a/...");
}

#[test]
fn a_missing_variable_is_named_with_its_place() {
    for row in [json!({}), json!({"id": null})] {
        let error = render("https://h", "/a/{{ user.id }}", row).expect_err("missing");
        assert_eq!(error.problem, RenderProblem::Missing("user.id".into()));
        assert_eq!((error.line, error.column), (1, 4));
    }
}

#[test]
fn whether_a_url_depends_on_the_row_is_known() {
    assert!(!template("https://h", "/lists/{{audience.external_id}}").depends_on_row());
    assert!(template("https://h", "/lists/{{audience.external_id}}").uses("audience"));
    assert!(template("https://h", "/{{user.id}}").depends_on_row());
    assert!(template("https://h", "/x").parameter("q", "{{id}}").expect("compiles").depends_on_row());
    assert_eq!(template("https://h/a", "https://g:1/{{id}}").origin().as_str(), "https://g:1/");
}

#[test]
fn an_endless_url_is_refused() {
    let error = render("https://h", "/{{id}}", json!({"id": "x".repeat(40_000)})).expect_err("long");
    assert_eq!(error.problem, RenderProblem::Limit);
}

const SKELETONS: [&str; 6] = [
    "/a/{{id}}",
    "/a/{{id}}/b",
    "{{id}}/x-{{id}}-y?q={{id}}",
    "/a?{{id}}={{id}}",
    "https://g.example:8443/v1/{{id}}/z?{{id}}",
    "/{{id}}{{id}}/%2e{{id}}x",
];

fn keeps_its_skeleton(data: &str) -> Result<(), TestCaseError> {
    for source in SKELETONS {
        let with = |data: &str| render("https://h:444/api/v2?k=1", source, json!({"id": data}));
        let skeleton = with("x").expect("the skeleton");
        let Ok(url) = with(data) else { continue };
        let parts =
            |url: &Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port(), url.path_segments().map(Iterator::count));
        prop_assert_eq!(parts(&url), parts(&skeleton), "{} with {:?}", source, data);
        prop_assert_eq!(url.fragment(), None);
        prop_assert_eq!(url.username(), "");
        prop_assert_eq!(url.query_pairs().count(), skeleton.query_pairs().count(), "{} with {:?}", source, data);
    }
    Ok(())
}

#[test]
fn naughty_strings_do_not_change_where_a_request_goes() {
    for text in NAUGHTY {
        keeps_its_skeleton(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
    }
}

proptest! {
    /// faults.md E12, S11: scheme, host, port and the number of segments are those of the skeleton for any string data.
    #[test]
    fn no_string_changes_where_a_request_goes(any in any::<String>(), sharp in "[./%2eE\\\\?#&=:@ x\t\n]{0,8}") {
        keeps_its_skeleton(&any)?;
        keeps_its_skeleton(&sharp)?;
    }
}
