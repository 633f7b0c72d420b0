//! The `handlebars` crate as an oracle for the part of the language that both have.

use handlebars::{Handlebars, no_escape};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::World;
use crate::template::{Content, Template};

fn data() -> Value {
    json!({"name": "Ada", "n": 5, "zero": 0, "empty": "", "list": ["a", "b"], "nothing": [], "people": [{"name": "Bob", "tags": ["x"]}, {"name": "Eve", "tags": []}], "o": {"k": "v"}})
}

fn theirs(source: &str) -> Option<String> {
    let mut registry = Handlebars::new();
    registry.register_escape_fn(no_escape);
    registry.render_template(source, &data()).ok()
}

fn block() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("text ".to_owned()),
        Just("\n".to_owned()),
        Just("  ".to_owned()),
        Just("{{name}}".to_owned()),
        Just("{{this.name}}".to_owned()),
        Just("{{{name}}}".to_owned()),
        Just("{{n}}".to_owned()),
        Just("{{@root.n}}".to_owned()),
        Just("{{o.k}}".to_owned()),
        Just("{{@root.list.[1]}}".to_owned()),
        Just("{{! note }}".to_owned()),
        Just("{{lookup @root.list 0}}".to_owned()),
        Just("{{#if (eq n 5)}}five{{/if}}".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let body = proptest::collection::vec(inner, 0..4).prop_map(|parts| parts.concat());
        let condition = prop_oneof![Just("name"), Just("zero"), Just("empty"), Just("nothing"), Just("nosuch"), Just("@root.list")];
        prop_oneof![
            (condition.clone(), body.clone(), body.clone())
                .prop_map(|(c, one, two)| format!("{{{{#if {c}}}}}{one}{{{{else}}}}{two}{{{{/if}}}}")),
            (condition, body.clone()).prop_map(|(c, one)| format!("{{{{#unless {c}}}}}{one}{{{{/unless}}}}")),
            body.clone()
                .prop_map(|one| format!("{{{{#each @root.people}}}}{one}{{{{@index}}}}{{{{#unless @last}}}},{{{{/unless}}}}{{{{/each}}}}")),
            body.clone().prop_map(|one| format!("{{{{#each @root.nothing}}}}{one}{{{{else}}}}none{{{{/each}}}}")),
            body.prop_map(|one| format!("{{{{#with @root.o}}}}{one}{{{{k}}}}{{{{/with}}}}")),
        ]
    })
}

proptest! {
    #[test]
    fn both_engines_render_the_same_text(parts in proptest::collection::vec(block(), 0..5)) {
        // The oracle keeps blanks between a tag that stands alone and the end, which Handlebars removes: see the test below.
        let source = parts.concat() + ".";
        let ours = World::individual(data()).render(&source, Content::Text).map_err(|error| error.to_string());
        let theirs = theirs(&source);
        prop_assert!(theirs.is_some(), "the oracle refused {}", source);
        prop_assert_eq!(ours.ok(), theirs, "{}", source);
    }
}

/// As Handlebars 4.7.10 for JavaScript renders it.
#[test]
fn blanks_behind_a_tag_that_stands_alone_are_removed_at_the_end_too() {
    for (source, expected) in [
        ("{{#unless name}}\n{{/unless}}  ", ""),
        ("x\n{{#if name}}\na\n{{/if}}  ", "x\na\n"),
        ("{{#if name}}\na\n{{/if}}  \n  ", "a\n  "),
        ("{{#if name}}\n{{#if n}}\nb\n{{/if}}  {{/if}}  ", "b\n    "),
    ] {
        assert_eq!(World::individual(data()).text(source), expected, "{source:?}");
    }
}

#[test]
fn hash_literals_and_chains_agree_with_the_oracle() {
    for source in [
        "{{#if zero includeZero=true}}a{{else}}b{{/if}}",
        "{{#if zero}}a{{else if empty}}b{{else if name}}c{{else}}d{{/if}}",
        "{{#each people as |p i|}}{{i}}{{p.name}}{{#each p.tags}}{{this}}{{../name}}{{/each}}{{/each}}",
        "a {{~name~}} b\n{{~#if n~}} c {{~else~}} d {{~/if}}\n e",
        "\\{{name}} {{name}}",
        "{{#each o}}{{@key}}={{this}}{{/each}}",
        "{{#with people.[1]}}{{name}}{{else}}x{{/with}}",
        "{{gt n 4}}{{lte n 4}}{{and n name}}{{or zero empty}}{{not zero}}{{len list}}",
        "  {{#if n}}  \n  x\n  {{/if}}  \ny\n",
    ] {
        let ours = World::individual(data()).text(source);
        assert_eq!(Some(ours), theirs(source), "{source}");
    }
    assert!(Template::compile("{{> x}}", Content::Text).is_err());
}
