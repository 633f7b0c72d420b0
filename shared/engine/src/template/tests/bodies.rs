//! JSON and text bodies, header and parameter values.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{NAUGHTY, World, compile, empty, sample};
use crate::template::{Content, RenderProblem};

/// GL-48, GL-49
#[test]
fn individual_mode_shows_one_record_as_user() {
    let world = World::individual(json!({"id": 7, "email": "O'Brien & Sons \"x\"\n"}));
    let body = world.json(r#"{"id": "{{user.id}}", "email": "{{user.email}}"}"#);
    assert_eq!(body, r#"{"id": "7", "email": "O'Brien & Sons \"x\"\n"}"#);
    assert_eq!(world.json(r#"{"id": "{{row.id}}", "email": "{{email}}"}"#), body);
}

const BATCH: &str = r#"{"users": [{{#each users}}{"id": "{{id}}"}{{#unless @last}},{{/unless}}{{/each}}]}"#;

/// GL-50
#[test]
fn batched_mode_shows_users_with_bare_fields_within_the_loop() {
    let body = sample().json(BATCH);
    assert_eq!(body, r#"{"users": [{"id": "1"},{"id": "2"},{"id": "3"}]}"#);
    assert_eq!(World::batched([]).json(BATCH), r#"{"users": []}"#);
    assert_eq!(sample().json(&BATCH.replace("users}}", "rows}}")), body);
}

/// GL-50: with values that break what trusts them.
#[test]
fn naughty_strings_come_through_a_batch_intact() {
    let world = World::batched(NAUGHTY.map(|text| json!({"id": text})));
    let body: Value = serde_json::from_str(&world.json(BATCH)).expect("one JSON document");
    assert_eq!(body, json!({"users": NAUGHTY.map(|text| json!({"id": text}))}));
}

/// GL-62
#[test]
fn removals_use_the_same_patterns() {
    let world = World::individual(json!({"email": "a@x.org"}));
    assert_eq!(world.json(r#"{"emails": ["{{user.email}}"]}"#), r#"{"emails": ["a@x.org"]}"#);
}

/// GL-33: the variables of audience lookups.
#[test]
fn audience_variables_and_other_roots_are_seen() {
    let world = empty()
        .root("audience_name", json!("VIP \"gold\""))
        .root("audience", json!({"external_id": 42}))
        .root("run", json!({"id": "run_1", "started_at": "2026-01-01T00:00:00Z"}));
    let body = world.json(r#"{"name": "{{audience_name}}", "list": {{audience.external_id}}, "run": "{{run.id}}"}"#);
    assert_eq!(body, r#"{"name": "VIP \"gold\"", "list": 42, "run": "run_1"}"#);
}

#[test]
fn a_value_renders_by_its_place() {
    let world = World::individual(json!({
        "text": "a \"b\"\n", "int": 5, "float": 1.5, "yes": true, "none": null, "list": [1, "x"], "object": {"k": "v\""}, "empty": "", "raw": " {\"a\": [1]} ",
    }));
    for (name, inside, outside) in [
        ("text", r#"a \"b\"\n"#, r#""a \"b\"\n""#),
        ("int", "5", "5"),
        ("float", "1.5", "1.5"),
        ("yes", "true", "true"),
        ("none", "", "null"),
        ("nosuch", "", "null"),
        ("list", r#"[1,\"x\"]"#, r#"[1,"x"]"#),
        ("object", r#"{\"k\":\"v\\\"\"}"#, r#"{"k":"v\""}"#),
        ("empty", "", r#""""#),
    ] {
        assert_eq!(world.json(&format!(r#"["{{{{{name}}}}}"]"#)), format!(r#"["{inside}"]"#), "{name} within a string");
        assert_eq!(world.json(&format!("[{{{{{name}}}}}]")), format!("[{outside}]"), "{name} outside of strings");
        assert_eq!(world.json(&format!("[{{{{json {name}}}}}]")), format!("[{outside}]"), "json {name}");
    }
    assert_eq!(world.json(r#"["{{{text}}}", "{{&text}}"]"#), r#"["a \"b\"\n", "a \"b\"\n"]"#);
    assert_eq!(world.json("[{{{raw}}}, {{{list}}}, {{{none}}}, {{{int}}}]"), r#"[{"a": [1]}, [1,"x"], null, 5]"#);
    assert_eq!(world.json(r#"["{{json text}}"]"#), r#"["\"a \\\"b\\\"\\n\""]"#);
    assert_eq!(world.json(r#"{ {{text}}: 1, "{{int}}": 2}"#), r#"{ "a \"b\"\n": 1, "5": 2}"#);
}

#[test]
fn a_raw_value_must_be_one_json_fragment_outside_strings() {
    for text in ["", "{", "1, 2", "x", "1}", "\"a", "null, \"admin\": true"] {
        let error = World::individual(json!({"x": text})).render(r#"{"a": {{{x}}}}"#, Content::Json).expect_err(text);
        assert_eq!(error.problem, RenderProblem::Value, "{text}: {error}");
        assert!(error.message.contains("triple brace"), "{error}");
        assert_eq!((error.line, error.column), (1, 7));
    }
}

#[test]
fn rows_and_the_top_level_can_be_put_out_whole() {
    assert_eq!(World::batched([json!({"a": "x", "b": 1})]).json("{{users}}"), r#"[{"a":"x","b":1}]"#);
    let world = World::individual(json!({"a": "x", "b": null}));
    for source in ["{{user}}", "{{json row}}", "{{this}}", "{{json .}}", "{{@root}}", "{ {{#each user}}{{@key}}: {{this}},{{/each}} }"] {
        let body: Value = serde_json::from_str(&world.json(source)).expect(source);
        assert_eq!(body, json!({"a": "x", "b": null}), "{source}");
    }
}

#[test]
fn previous_is_the_row_as_last_delivered_or_null() {
    let source = r#"{"was": "{{previous.email}}", "is": "{{user.email}}", "known": {{#if previous}}true{{else}}false{{/if}}}"#;
    let world = World::individual(json!({"email": "new"}));
    assert_eq!(world.json(source), r#"{"was": "", "is": "new", "known": false}"#);
    assert_eq!(world.previous(json!({"email": "old"})).json(source), r#"{"was": "old", "is": "new", "known": true}"#);
}

#[test]
fn reserved_names_win_over_fields_at_the_top_level_only() {
    let world = World::individual(json!({"run": "mine", "delivery": "van", "city": "Bonn"})).root("run", json!({"id": 1}));
    assert_eq!(world.text("{{run.id}} {{user.run}} {{delivery}}|{{user.delivery}} {{city}}"), "1 mine |van Bonn");
    assert_eq!(World::batched([json!({"city": "Bonn"})]).text("{{city}}|{{user.city}}"), "|");
}

/// HT-58, in Handlebars: a trailing comma within each object and after each.
#[test]
fn trailing_commas_outside_strings_are_repaired() {
    let world = sample();
    let body = world.json(r#"[{{#each users}}{"id": "{{id}},}", "x": [1,2,],},{{/each}}]"#);
    assert_eq!(body, r#"[{"id": "1,}", "x": [1,2]},{"id": "2,}", "x": [1,2]},{"id": "3,}", "x": [1,2]}]"#);
    assert_eq!(world.json("[{{#each users}}\n{{id}} ,\n{{/each}} ]"), "[\n\"1\" ,\n\n\"2\" ,\n\n\"3\" \n ]");
    for (source, expected) in
        [("[1,]", "[1]"), ("{\"a\":1 , }", "{\"a\":1  }"), ("[,]", "[]"), ("{,}", "{}"), ("[[1,],{\"a\":[],},]", "[[1],{\"a\":[]}]")]
    {
        assert_eq!(empty().json(source), expected);
    }
    for source in ["[1,,]", "[1,}", "{\"a\":,}", "{\"a\",}", "1,", "[,1]"] {
        let error = empty().render(source, Content::Json).expect_err(source);
        assert_eq!(error.problem, RenderProblem::NotJson, "{source}");
    }
}

#[test]
fn a_body_that_is_not_json_is_named_by_place_and_kept_whole() {
    let world = World::individual(json!({"id": "7", "name": "x"}));
    for (source, place, expected) in [
        ("", (1, 1), "the body is empty"),
        (" \n ", (2, 2), "the body is empty"),
        ("{\"a\": {{id}}", (1, 13), "expected `,` or `}` after the value, found the end of the body"),
        ("{\n  \"a\": {{id}} {{name}}\n}", (2, 15), "expected `,` or `}` after the value, found the value \"x\""),
        ("{\"a\" 1}", (1, 6), "expected `:` after the key, found `1`"),
        ("{a: 1}", (1, 2), "expected a key in quotes or `}`, found `a`"),
        ("[tru]", (1, 5), "the rest of true, false or null"),
        ("[1] é", (1, 5), "nothing more after the document, found `é`"),
        ("[\"a\nb\"]", (1, 4), "without line feeds"),
        ("[\"\\x\"]", (1, 4), "after the backslash"),
        ("[01]", (1, 3), "`,` or `]`"),
        ("[\"\\\\{{id}}\"]", (1, 5), "four"),
        ("{\"a\": {{#if id}}]{{/if}} }", (1, 17), "expected a value, found `]`"),
    ] {
        let template = compile(source, Content::Json);
        let mut out = Vec::new();
        let error = world.with(|scope| template.render_into(&mut out, scope)).expect_err(source);
        assert_eq!(error.problem, RenderProblem::NotJson, "{source}");
        assert!(error.message.contains(expected), "{source}: {error}");
        assert_eq!((error.line, error.column), place, "{source}: {error}");
    }
    let template = compile("{\"a\": }, \"b\": \"{{name}}\", {{id}}", Content::Json);
    let mut out = b"old".to_vec();
    world.with(|scope| template.render_into(&mut out, scope)).expect_err("not JSON");
    assert_eq!(String::from_utf8(out).expect("text"), "{\"a\": }, \"b\": \"x\", \"7\"");
}

#[test]
fn digits_may_go_on_with_a_number_but_text_may_not() {
    let world = World::individual(json!({"n": 5, "t": "5", "f": 0.5, "z": 0}));
    assert_eq!(world.json("[-{{n}}, {{n}}00, {{n}}.{{n}}, {{f}}e{{n}}, {{n}}{{n}}]"), "[-5, 500, 5.5, 0.5e5, 55]");
    for source in ["[-{{t}}]", "[{{n}}{{t}}]", "[{{t}}0]", "[{{z}}{{n}}]", "[{{n}}.{{f}}]", "[{{n}} {{n}}]"] {
        assert_eq!(world.render(source, Content::Json).expect_err(source).problem, RenderProblem::NotJson, "{source}");
    }
}

#[test]
fn text_bodies_take_values_as_they_are() {
    let world = World::individual(json!({"x": "O'Brien & Sons \"x\"\n<b>", "n": 1, "l": [1, "é"], "none": null}));
    assert_eq!(
        world.text("{{x}}|{{{x}}}|{{&x}}|{{n}}|{{l}}|{{none}}|{{nosuch}}|{{json x}}"),
        "O'Brien & Sons \"x\"\n<b>|O'Brien & Sons \"x\"\n<b>|O'Brien & Sons \"x\"\n<b>|1|[1,\"é\"]|||\"O'Brien & Sons \\\"x\\\"\\n<b>\""
    );
}

#[test]
fn headers_take_no_control_characters_and_no_missing_values() {
    let world = World::individual(json!({"ok": "a b", "n": 5, "none": null, "empty": "", "bad": "a\r\nX-Evil: 1"}));
    assert_eq!(world.render("Bearer {{ok}}{{n}}{{empty}}", Content::Header), Ok("Bearer a b5".to_owned()));
    for control in ["\r", "\n", "\0", "\t", "\u{7f}", "\u{85}"] {
        let error =
            World::individual(json!({"x": format!("a{control}b")})).render("{{x}}", Content::Header).expect_err("a control character");
        assert_eq!(error.problem, RenderProblem::Value);
    }
    assert!(world.render("v: {{bad}}", Content::Header).expect_err("line feed").message.contains("'\\r'"));
    assert_eq!(world.render("{{none}}", Content::Header).expect_err("null").problem, RenderProblem::Missing("none".into()));
    let error = world.render("a {{user.nosuch}}", Content::Header).expect_err("missing");
    assert_eq!(error.problem, RenderProblem::Missing("user.nosuch".into()));
    assert_eq!(error.to_string(), "template line 1, column 3: `user.nosuch` is missing: the row and the request have no such variable");
    assert!(crate::template::Template::compile("a\nb", Content::Header).is_err());
    assert_eq!(world.render("{{nosuch}}", Content::Query).expect_err("missing").problem, RenderProblem::Missing("nosuch".into()));
    assert_eq!(world.render("x{{bad}}", Content::Query), Ok("xa\r\nX-Evil: 1".to_owned()));
}

#[test]
fn a_strict_body_refuses_missing_variables_but_not_null() {
    let world = World::individual(json!({"none": null}));
    let strict = |source: &str| world.with(|scope| compile(source, Content::Json).strict(true).render(scope));
    assert_eq!(strict(r#"["{{none}}", {{none}}]"#), Ok(r#"["", null]"#.to_owned()));
    assert_eq!(strict("[{{#if nosuch}}1{{/if}}]"), Ok("[]".to_owned()));
    for (source, name) in
        [("[{{nosuch}}]", "nosuch"), ("[{{#each a.b as |x|}}{{/each}}]", "a.b"), ("[{{#with x}}{{/with}}]", "x"), ("[{{{ y }}}]", "y")]
    {
        assert_eq!(strict(source).expect_err(source).problem, RenderProblem::Missing(name.into()), "{source}");
    }
}

/// Templates in which strings stand in every kind of place.
const SHAPES: [&str; 6] = [
    BATCH,
    r#"{"a": "{{user.a}}", "b": {{user.b}}, "c": ["x {{user.a}} y", {{json user.b}}]}"#,
    r#"{ {{user.a}}: 1 }"#,
    r#"{"k{{user.a}}": {{user}}, "all": {{users}}}"#,
    r#"[{{#each user}}"{{@key}}={{this}}",{{/each}}]"#,
    r#"{"a": "{{json user.b}}"{{#if (eq user.a "x")}}{{else}}{{/if}}, "n": {{len user.a}}{{#with user}}, "w": {{a}}{{/with}}}"#,
];

fn shape(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::Object(fields) => Value::Array(fields.values().map(shape).collect()),
        Value::String(_) => json!("text"),
        Value::Number(_) => json!("number"),
        other => other.clone(),
    }
}

fn shape_with(source: &str, a: &str, b: &str) -> Value {
    let world = World::individual(json!({"id": a, "a": a, "b": b}));
    let body = world.json(source);
    shape(&serde_json::from_str(&body).unwrap_or_else(|error| panic!("{source} gave {body}: {error}")))
}

/// I24, over the naughty strings.
#[test]
fn naughty_strings_do_not_change_the_shape() {
    for source in SHAPES {
        for text in NAUGHTY {
            assert_eq!(shape_with(source, text, text), shape_with(source, "x", "x"), "{source} with {text:?}");
        }
    }
}

proptest! {
    /// I24: for any string data the output parses and has the shape that it has with "x".
    #[test]
    fn no_string_changes_the_shape_of_a_body(a in any::<String>(), b in "[\"\\\\{}\\[\\],: a-c\u{0}-\u{1f}]{0,20}") {
        for source in SHAPES {
            prop_assert_eq!(shape_with(source, &a, &b), shape_with(source, "x", "x"));
        }
    }

    /// Where a template leaves the shape to chance, the data still has no say in it: both fail or both have the same shape.
    #[test]
    fn random_templates_render_to_one_shape_for_any_string(pieces in proptest::collection::vec(0..14usize, 0..12), data in any::<String>()) {
        const PIECES: [&str; 14] = ["{", "}", "[", "]", "\"", ",", ":", "1", "-", " ", "\\", "{{a}}", "{{json a}}", "\"k\":"];
        let source: String = pieces.iter().map(|piece| PIECES[*piece]).collect();
        let Ok(template) = crate::template::Template::compile(&source, Content::Json) else { return Ok(()) };
        let outcome = |data: &str| World::individual(json!({"a": data})).with(|scope| template.render(scope));
        let parsed = |body: Result<String, _>| body.ok().map(|body| shape(&serde_json::from_str(&body).expect("what passes is JSON")));
        prop_assert_eq!(parsed(outcome(&data)), parsed(outcome("x")), "{}", source);
    }

    /// The automaton accepts what serde_json accepts, trailing commas aside.
    #[test]
    fn literal_text_is_judged_as_a_json_parser_judges_it(text in "[\\[\\]{}\",:0-2eE.+ tn\\\\u-]{0,12}|(\\[|\\{|\\]|\\}|\"a\"|,|:|1|-0.5e3|null|true| ){0,12}") {
        prop_assume!(!text.contains("{{"));
        let ours = empty().render(&text, Content::Json);
        let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text);
        match ours {
            Ok(body) if body == text => prop_assert!(theirs.is_ok(), "{} was accepted", text),
            Ok(body) => {
                prop_assert!(theirs.is_err() && text.contains(','), "{} was changed", text);
                prop_assert!(serde_json::from_str::<&serde_json::value::RawValue>(&body).is_ok(), "{} became {}", text, body);
            }
            Err(error) => prop_assert!(theirs.is_err(), "{} was refused: {}", text, error),
        }
    }
}
