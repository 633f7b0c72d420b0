//! The language: paths, blocks, helpers, white space, errors, and what is known of a template before it runs.

use serde_json::json;

use super::{World, compile, sample};
use crate::template::{Content, Template};

fn people() -> World {
    World::individual(json!({
        "name": "Ada", "n": 5, "zero": 0, "none": null, "empty": "", "no": false, "list": ["a", "b", "c"], "nothing": [],
        "object": {"k": "v", "weird name": "w", "deep": {"x": [10, {"y": 11}]}}, "friends": [{"name": "Bob", "pets": ["cat", "dog"]}, {"name": "Eve", "pets": []}],
        "hyphen-ated": "h", "text": "12",
    }))
}

#[test]
fn templates_render_as_written() {
    let world = people();
    for (source, expected) in [
        ("plain", "plain"),
        ("{{name}} {{ name }} {{user.name}} {{row.name}} {{this.name}} {{./name}} {{@root.name}}", "Ada Ada Ada Ada Ada Ada Ada"),
        ("{{object.k}} {{object/k}} {{object.[weird name]}} {{object.[k]}} {{[name]}} {{hyphen-ated}}", "v v w v Ada h"),
        ("{{list.0}} {{list.[1]}} {{list[2]}} {{list.9}}| {{list.length}} {{object.deep.x.1.y}}", "a b c | 3 11"),
        ("{{\"text\"}} {{'it\\'s'}} {{5}} {{-1.5}} {{true}} {{null}}|", "text it's 5 -1.5 true |"),
        ("a{{! comment }}b{{!-- with }} inside --}}c", "abc"),
        ("\\{{name}} \\\\{{name}} \\{{{x}}} \\ {{name}}", "{{name}} \\Ada {{{x}}} \\ Ada"),
        ("{{#if name}}y{{else}}n{{/if}}{{#if none}}y{{else}}n{{/if}}{{#if nosuch}}y{{^}}n{{/if}}", "ynn"),
        ("{{#if zero}}y{{else}}n{{/if}}{{#if zero includeZero=true}}y{{else}}n{{/if}}{{#if empty}}y{{else}}n{{/if}}", "nyn"),
        ("{{#if nothing}}y{{else}}n{{/if}}{{#if object}}y{{/if}}{{#if no}}y{{else}}n{{/if}}{{#if list}}y{{/if}}", "nyny"),
        ("{{#unless no}}a{{else}}b{{/unless}}{{#unless n}}a{{else}}b{{/unless}}", "ab"),
        ("{{#if no}}1{{else if none}}2{{else if n}}3{{else}}4{{/if}}", "3"),
        ("{{#if no}}1{{else if none}}2{{else unless n}}3{{else}}4{{/if}}", "4"),
        ("{{#if no}}1{{else each list}}{{this}}{{else}}none{{/if}}", "abc"),
        ("{{#each nothing}}x{{else if n}}empty{{else}}y{{/each}}", "empty"),
        ("{{#each list}}{{@index}}{{this}}{{.}}{{#if @first}}F{{/if}}{{#if @last}}L{{/if}} {{/each}}", "0aaF 1bb 2ccL "),
        ("{{#each object}}{{@key}}:{{@index}}{{#unless @last}},{{/unless}}{{/each}}", "k:0,weird name:1,deep:2"),
        (
            "{{#each list as |item i|}}{{i}}{{item}}{{/each}}{{#each object.deep as |value key|}}{{key}}={{value.[0]}}{{/each}}",
            "0a1b2cx=10",
        ),
        (
            "{{#each friends}}{{name}}/{{../name}}:{{#each pets}}{{this}}-{{../name}}-{{../../name}}-{{@../index}}-{{../@index}} {{/each}}{{/each}}",
            "Bob/Ada:cat-Bob-Ada-0-0 dog-Bob-Ada-0-0 Eve/Ada:",
        ),
        ("{{#each friends as |friend|}}{{#each friend.pets as |pet|}}{{friend.name}} {{pet}} {{/each}}{{/each}}", "Bob cat Bob dog "),
        ("{{#each friends}}{{n}}|{{@root.n}} {{#if pets}}{{../n}}{{/if}}{{/each}}", "|5 5|5 "),
        (
            "{{#with object.deep}}{{x.0}}{{../name}}{{/with}}{{#with none}}x{{else}}nobody{{/with}}{{#with object as |o|}}{{o.k}}{{/with}}",
            "10Adanobodyv",
        ),
        ("{{#with friends.[0]}}{{name}}{{#each ../list}}{{this}}{{@last}}{{/each}}{{/with}}", "Bobafalsebfalsectrue"),
        (
            "{{lookup list 1}} {{lookup object \"k\"}} {{lookup friends.[0] \"name\"}} {{lookup (lookup friends 1) \"name\"}} {{lookup this \"name\"}}",
            "b v Bob Eve Ada",
        ),
        ("{{#each list}}{{lookup @root.list @index}}{{/each}}{{#with (lookup users 0)}}{{name}}{{/with}}", "abcAda"),
        (
            "{{eq n 5}} {{eq n 5.0}} {{eq n \"5\"}} {{ne name 'Ada'}} {{gt n 4}} {{gte n 5}} {{lt n 5}} {{lte n 5}} {{gt text 9}} {{lt 'a' 'b'}} {{gt list 1}}",
            "true true false false true true false true true true false",
        ),
        (
            "{{and n name}} {{and n none list}} {{or none n}} {{or none no}} {{not none}} {{len list}} {{len name}} {{len object}} {{len nosuch}}",
            "true false true false true 3 3 3 0",
        ),
        ("{{#if (and (gt n 1) (not (eq name 'Bob')))}}yes{{/if}}{{#unless (or no none)}}no{{/unless}}", "yesno"),
        ("{{eq none nosuch}} {{eq list list}} {{eq object (lookup this 'object')}} {{eq list nothing}}", "true true true false"),
        ("a {{~name~}} b {{~#if n~}} c {{~/if~}} d {{~{name}~}} e {{~! x ~}} f {{~!-- y --~}} g", "aAdabcdAdaefg"),
    ] {
        assert_eq!(world.text(source), expected, "{source}");
    }
}

#[test]
fn lines_with_a_block_tag_alone_leave_no_trace() {
    let world = sample();
    assert_eq!(world.text("a\n  {{#each users}}  \n- {{id}}\n  {{/each}}\nb"), "a\n- 1\n- 2\n- 3\nb");
    assert_eq!(world.text("{{#if users}}\r\nx\r\n{{else}}\r\ny\r\n{{/if}}\r\n"), "x\r\n");
    assert_eq!(world.text("a\n {{! note }} \nb\n{{!-- long --}}"), "a\nb\n");
    assert_eq!(world.text("a {{#if users}} b {{/if}} c\n"), "a  b  c\n");
    assert_eq!(world.text("{{run}}\nx"), "\nx", "a value's line stays");
    assert_eq!(world.text("{{#if users}} {{#if rows}}\nx{{/if}}{{/if}}"), " \nx", "two tags on a line do not stand alone");
}

#[test]
fn errors_name_the_place_and_the_way_out() {
    for (source, line, column, expected) in [
        ("a {{", 1, 3, "add }}"),
        ("a\n {{{x}}", 2, 2, "add }}}"),
        ("{{!-- x", 1, 1, "add --}}"),
        ("{{#if x}}", 1, 1, "this #if is never closed: add {{/if}}"),
        ("a\n  {{#each users}}\n{{#if x}}{{/if}}", 2, 3, "this #each is never closed"),
        ("{{#if x}}\n{{/each}}", 2, 1, "{{/each}} stands where {{/if}} is due, for the #if of line 1, column 1"),
        ("{{/if}}", 1, 1, "closes a block that is not open"),
        ("{{else}}", 1, 1, "outside a block"),
        ("{{#if x}}{{else}}{{else}}{{/if}}", 1, 18, "already has its else"),
        ("{{#rows}}{{/rows}}", 1, 1, "for a list use {{#each rows}}"),
        ("{{#list items}}{{/list}}", 1, 1, "there are #if #unless #each #with"),
        ("{{#eq a b}}{{/eq}}", 1, 1, "write {{#if (eq …)}}"),
        ("{{^rows}}{{/rows}}", 1, 1, "use {{#unless rows}}"),
        ("{{upper name}}", 1, 1, "no helper `upper`: there are eq ne gt gte lt lte and or not len lookup json"),
        ("{{#if (upper name)}}{{/if}}", 1, 7, "no helper `upper`"),
        ("{{> footer}}", 1, 1, "partials are not supported"),
        ("{{#> layout}}{{/layout}}", 1, 1, "partials are not supported"),
        ("{{* deco}}", 1, 1, "decorators are not supported"),
        ("{{{{raw}}}} x {{{{/raw}}}}", 1, 1, "raw blocks are not supported"),
        ("{{}}", 1, 1, "empty"),
        ("{{#if}}{{/if}}", 1, 1, "`#if` takes 1 argument, not 0"),
        ("{{#each a b}}{{/each}}", 1, 1, "`#each` takes 1 argument, not 2"),
        ("{{#if a as |x|}}{{/if}}", 1, 1, "no block parameters"),
        ("{{#each a as |x y z|}}{{/each}}", 1, 11, "one or two plain names"),
        ("{{#each a x=1}}{{/each}}", 1, 1, "no option `x`"),
        ("{{eq a}}", 1, 1, "`eq` takes 2 arguments, not 1"),
        ("{{or a}}", 1, 1, "`or` takes 2 or more arguments, not 1"),
        ("{{len a b=1}}", 1, 1, "no option `b`"),
        ("{{#if (json a)}}{{/if}}", 1, 7, "`json` can't stand within"),
        ("{{a.}}", 1, 5, "expected a name after the dot"),
        ("{{a..b}}", 1, 5, "expected a name after the dot"),
        ("{{a.[b}}", 1, 1, "add }}"),
        ("{{(eq a b}}", 1, 3, "add )"),
        ("{{()}}", 1, 3, "needs a helper's name"),
        ("{{a)}}", 1, 4, "unexpected `)`"),
        ("{{'a}}", 1, 1, "add }}"),
        ("{{=a}}", 1, 3, "found `=`"),
        ("{{@index}}", 1, 3, "within #each only"),
        ("{{#each a}}{{@../index}}{{/each}}", 1, 14, "within #each only"),
        ("{{@nosuch}}", 1, 3, "there are @index @key @first @last @root"),
        ("é {{../x}}", 1, 5, "beyond the top level"),
        ("{{#each a}}{{../../x}}{{/each}}", 1, 14, "beyond the top level"),
        ("{{5 x}}", 1, 3, "starts with a helper's name"),
    ] {
        let error = Template::compile(source, Content::Text).expect_err(source);
        assert!(error.message.contains(expected), "{source}: {error}");
        assert_eq!((error.line, error.column), (line, column), "{source}: {error}");
    }
}

#[test]
fn what_a_template_reads_is_known_before_it_runs() {
    let template = compile(
        "{{user.id}} {{#each rows as |r|}}{{email}}{{r.phone}}{{this.city}}{{../audience_name}}{{deep.x}}{{/each}}{{previous.old}}{{top}}{{users.0.first}}{{#with user}}{{w}}{{/with}}{{#with (lookup users 0)}}{{l}}{{/with}}",
        Content::Text,
    );
    let fields: Vec<&str> = template.usage().fields().map(|(name, _)| name).collect();
    assert_eq!(fields, ["city", "deep", "email", "first", "id", "l", "old", "phone", "top", "w"]);
    let variables: Vec<&str> = template.variables().collect();
    assert_eq!(variables, ["audience_name", "previous.old", "rows", "top", "user", "user.id", "users", "users.0.first"]);
    for (name, expected) in [
        ("user", true),
        ("row", true),
        ("users", true),
        ("rows", true),
        ("previous", true),
        ("audience_name", true),
        ("audience", false),
        ("run", false),
    ] {
        assert_eq!(template.uses(name), expected, "{name}");
    }
    let fields = |source: &str| {
        compile(source, Content::Text)
            .usage()
            .fields()
            .map(|(name, field)| (name.to_owned(), field.top_level, field.column))
            .collect::<Vec<_>>()
    };
    assert_eq!(fields("x {{city}}"), [("city".to_owned(), true, 5)]);
    assert_eq!(fields("x {{city}} {{user.city}}"), [("city".to_owned(), false, 5)]);
    assert!(fields("{{audience.external_id}} {{run.id}} {{#each audience.tags}}{{name}}{{/each}}").is_empty());
}

#[test]
fn whether_the_output_can_differ_between_rows_is_known() {
    for (source, expected) in [
        ("x", false),
        ("{{audience_name}} {{run.id}} {{export.id}} {{organization_name}}", false),
        ("{{#if audience}}{{audience.external_id}}{{/if}}", false),
        ("{{user.id}}", true),
        ("{{#each users}}x{{/each}}", true),
        ("{{previous.id}}", true),
        ("{{delivery.id}}", true),
        ("{{city}}", true),
        ("{{this}}", true),
        ("{{lookup @root 'x'}}", true),
        ("{{#if (eq run.id city)}}{{/if}}", true),
    ] {
        assert_eq!(compile(source, Content::Text).depends_on_row(), expected, "{source}");
    }
}
