//! Hostile templates and data end in errors.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{World, compile};
use crate::template::{Content, Limits, MAX_NESTING, RenderProblem, Template};

#[test]
fn deep_nesting_is_a_clean_error() {
    for (open, close) in
        [("{{#if a}}", "{{/if}}"), ("{{#each a}}", "{{/each}}"), ("{{#with a}}", "{{/with}}"), ("{{#unless a}}", "{{/unless}}")]
    {
        let nested = |depth: usize| format!("{}{}", open.repeat(depth), close.repeat(depth));
        assert!(Template::compile(&nested(MAX_NESTING), Content::Text).is_ok());
        for depth in [MAX_NESTING + 1, 2000] {
            let error = Template::compile(&nested(depth), Content::Text).expect_err(open);
            assert!(error.message.contains("nest deeper than 32"), "{error}");
        }
    }
    let nested = |depth: usize| format!("{{{{{}a{}}}}}", "(not ".repeat(depth), ")".repeat(depth));
    assert!(Template::compile(&nested(MAX_NESTING), Content::Text).is_ok());
    for depth in [MAX_NESTING + 1, 10_000] {
        assert!(Template::compile(&nested(depth), Content::Text).expect_err("deep").message.contains("nest deeper"));
    }
    let open = format!("{{{{{}}}}}", "(".repeat(20_000));
    assert!(Template::compile(&open, Content::Text).is_err());
    let chain = format!("{{{{#if a}}}}{}x{{{{/if}}}}", "{{else if b}}".repeat(4000));
    assert!(Template::compile(&chain, Content::Text).is_ok(), "a chain does not nest");
    let chain = format!("{{{{#if a}}}}{}x{{{{/if}}}}", "{{else each b}}".repeat(4000));
    assert!(Template::compile(&chain, Content::Text).is_err());
    assert!(Template::compile(&"x".repeat(65 * 1024), Content::Text).expect_err("long").message.contains("at most 65536 bytes"));
}

#[test]
fn deep_bodies_are_a_clean_error() {
    let world = World::individual(json!({"a": 1}));
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(world.render(&nested(127), Content::Json).is_ok());
    for depth in [128, 129, 20_000] {
        assert_eq!(world.render(&nested(depth), Content::Json).expect_err("deep").problem, RenderProblem::NotJson);
    }
    let looped = World::individual(json!({"a": vec![0; 1000]}));
    assert_eq!(looped.render("{{#each a}}[{{/each}}", Content::Json).expect_err("deep").problem, RenderProblem::NotJson);
    assert_eq!(looped.render("{{#each a}}{\"a\":{{/each}}", Content::Json).expect_err("deep").problem, RenderProblem::NotJson);
    let fits = World::individual(json!({"a": vec![0; 127]}));
    assert_eq!(fits.json("{{#each a}}[{{/each}}{{#each a}}]{{/each}}"), nested(127));
}

#[test]
fn nested_loops_run_out_of_operations() {
    let world = World::individual(json!({"a": vec![0; 200]}));
    let source = format!("{}x{}", "{{#each @root.a}}".repeat(4), "{{/each}}".repeat(4));
    let error = world.render(&source, Content::Text).expect_err("1.6 billion turns");
    assert_eq!(error.problem, RenderProblem::Limit);
    assert!(error.message.contains("more than 5000000 operations"), "{error}");
    let silent = format!("{}{}", "{{#each @root.a}}".repeat(4), "{{/each}}".repeat(4));
    assert_eq!(world.render(&silent, Content::Text).expect_err("without output too").problem, RenderProblem::Limit);
}

#[test]
fn comparing_large_values_costs_operations() {
    let large = json!(vec![vec!["x"; 10]; 10_000]);
    let world = World::individual(json!({"a": large, "b": large, "many": vec![0; 1000]}));
    let error = world.render("{{#each many}}{{#if (eq ../a ../b)}}x{{/if}}{{/each}}", Content::Text).expect_err("too much work");
    assert_eq!(error.problem, RenderProblem::Limit);
}

#[test]
fn long_output_is_stopped() {
    let world = World::individual(json!({"a": vec!["x".repeat(10_000); 1000]}));
    for (source, content) in
        [("{{#each a}}{{this}}{{/each}}", Content::Text), ("[{{#each a}}\"{{this}}\",{{/each}}]", Content::Json), ("{{a}}", Content::Json)]
    {
        let error = world.render(source, content).expect_err(source);
        assert_eq!(error.problem, RenderProblem::Limit);
        assert!(error.message.contains("longer than 8388608 bytes"), "{error}");
    }
    let template = compile("{{#each a}}{{this}}{{/each}}", Content::Text).limits(Limits { output_bytes: 100, ..Limits::default() });
    let mut out = Vec::new();
    world.with(|scope| template.render_into(&mut out, scope)).expect_err("over 100 bytes");
    assert!(out.len() <= 10_100, "it stops at once");
}

proptest! {
    #[test]
    fn no_source_panics(pieces in proptest::collection::vec(0..30usize, 0..14)) {
        const PIECES: [&str; 30] = [
            "{{", "}}", "{{{", "}}}", "#if ", "#each ", "/if", "/each", "else", "~", "a", "..", "../", ".", "@", "@index", "(", ")", "eq ", "'", "\"", "[", "]",
            " as |x|", "|", "!", "!--", "--", "\\", "é",
        ];
        let source: String = pieces.iter().map(|piece| PIECES[*piece]).collect();
        for content in [Content::Json, Content::Text, Content::Header, Content::Query] {
            if let Ok(template) = Template::compile(&source, content) {
                let world = World::individual(json!({"a": [1, "x", {"a": null}], "x": Value::Null}));
                let _ = world.with(|scope| template.render(scope));
            }
        }
    }

    #[test]
    fn any_text_compiles_or_fails_cleanly(source in any::<String>(), inner in ".{0,20}") {
        for source in [source, format!("{{{{{inner}}}}}"), format!("a{{{{#if {inner}}}}}b{{{{/if}}}}")] {
            if let Err(error) = Template::compile(&source, Content::Json) {
                prop_assert!(error.line >= 1 && error.column >= 1 && !error.message.is_empty());
            }
        }
    }
}
