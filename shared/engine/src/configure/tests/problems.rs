//! Every rule of the parser, with the path and the words of its problem.

use super::{assert_problem, base, problems, put, with};
use serde_json::{Value, json};

/// Puts each value in and expects a problem at exactly that place (dots for slashes) that says this.
pub(super) fn refuse(cases: &[(&str, Value, &str)]) {
    for (place, value, fragment) in cases {
        let path = place[1..].replace('/', ".");
        assert_problem(&with(place, value.clone()), &path, fragment);
    }
}

/// The same, where the problem stands at another path.
pub(super) fn refuse_at(cases: &[(&str, Value, &str, &str)]) {
    for (place, value, path, fragment) in cases {
        assert_problem(&with(place, value.clone()), path, fragment);
    }
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_known_key() {
    refuse(&[
        ("/destination", json!({}), "did you mean `destinations`?"),
        ("/destinations/crm/rate_limt", json!({}), "unknown key `rate_limt`; did you mean `rate_limit`?"),
        ("/destinations/crm/actions/delete", json!({}), "use `add`, `update` or `remove`"),
        ("/destinations/crm/actions/add/ulr", json!("/x"), "did you mean `url`?"),
        ("/destinations/crm/retry/max_attempt", json!(3), "did you mean `max_attempts`?"),
        ("/exports/people/modell", json!("x"), "did you mean `model`?"),
        ("/exports/people/guard/max_remove", json!(3), "did you mean `max_removed`?"),
        ("/models/people/source/pth", json!("x"), "did you mean `path`?"),
        ("/models/people/primarykey", json!(["id"]), "did you mean `primary_key`?"),
        ("/organization/nam", json!("x"), "did you mean `name`?"),
        ("/credentials/key/token", json!("x"), "unknown key `token`"),
        ("/destinations/crm/actions/add/batch/sise", json!(3), "did you mean `size`?"),
    ]);
    refuse_at(&[("/destinations/crm/a.b", json!(1), "destinations.crm[\"a.b\"]", "unknown key `a.b`")]);
}

#[test]
fn a_wrong_type_says_what_is_expected_and_shows_an_example() {
    refuse(&[
        ("/destinations", json!([]), "expected an object, as in `destinations: {crm:"),
        ("/destinations/crm", json!("x"), "expected an object"),
        ("/destinations/crm/timeout_seconds", json!("30"), "expected a number from 0.1 to 3600, as in `timeout_seconds: 30`; found a text"),
        ("/destinations/crm/concurrency", json!(1.5), "expected a whole number"),
        ("/destinations/crm/success", json!("2xx"), "expected a list, as in `success: [\"2xx\", \"404\"]`"),
        ("/destinations/crm/headers", json!(["a"]), "expected an object"),
        ("/destinations/crm/headers/X-Bool", json!(true), "put numbers and true or false into quotes"),
        ("/destinations/crm/allow_http", json!("yes"), "expected true or false"),
        ("/destinations/crm/actions", json!([]), "expected an object"),
        ("/destinations/crm/actions/add", json!([]), "expected an object"),
        ("/destinations/crm/actions/add/url", json!(3), "expected a text, as in `url:"),
        ("/destinations/crm/actions/add/body", json!(["x"]), "expected a text that holds a template"),
        ("/destinations/crm/actions/add/method", json!(1), "expected one of GET, POST"),
        ("/models/people/primary_key", json!("id"), "expected a list, as in `primary_key: [id]`; found a text"),
        ("/exports/people/fields", json!({"a": "b"}), "expected a list"),
        ("/exports/people/schedule", json!("1h"), "expected an object, as in `schedule: {every: 1h}`"),
    ]);
    assert_problem(&json!("text"), "", "expected an object; found a text");
    assert_problem(&json!(null), "", "the project file is empty");
}

#[test]
fn references_must_lead_somewhere() {
    refuse(&[
        ("/exports/people/destination", json!("crn"), "there is no destination `crn`; did you mean `crm`?"),
        ("/exports/people/model", json!("peple"), "there is no model `peple`; did you mean `people`?"),
        ("/destinations/crm/credential", json!("kee"), "there is no credential `kee`; did you mean `key`?"),
    ]);
    let mut document = base();
    document.as_object_mut().unwrap().remove("models");
    assert_problem(&document, "exports.people.model", "none is defined");
    let document = with("/exports/people", json!({}));
    assert_problem(&document, "exports.people.model", "`model` is missing");
    assert_problem(&document, "exports.people.destination", "`destination` is missing");
}

#[test]
fn a_definition_with_a_problem_can_still_be_referred_to() {
    let mut document = with("/models/people/primary_key", json!([]));
    put(&mut document, "/destinations/crm/base_url", json!("nowhere"));
    put(&mut document, "/credentials/key/headers", json!({}));
    let paths: Vec<String> = problems(&document).into_iter().map(|problem| problem.path).collect();
    assert_eq!(paths, ["credentials.key.headers", "destinations.crm.base_url", "models.people.primary_key"]);
}

#[test]
fn names_follow_the_rule_for_names() {
    refuse(&[("/organization/id", json!("Acme!"), "is not a name")]);
    refuse_at(&[("/destinations/C R M", json!({}), "destinations[\"C R M\"]", "is not a name")]);
}

/// HT-18, GL-44
#[test]
fn an_export_without_an_action_that_is_on_is_refused() {
    let document = with("/destinations/crm/actions", json!({"add": {"enabled": false}}));
    assert_problem(&document, "exports.people.actions", "no action is on; switch on at least one of add, update and remove");
    let document = with("/destinations/crm/actions", json!({"add": {}}));
    assert_problem(&document, "destinations.crm.actions.add.url", "add is on and needs a `url`");
    let document = with("/destinations/crm/actions", json!({"remove": {"enabled": true, "url": "/r"}}));
    assert_problem(&document, "exports.people.actions.add.url", "add is on unless switched off");
    let document = with("/destinations/crm/actions/remove", json!({"enabled": true}));
    assert_problem(&document, "destinations.crm.actions.remove.url", "remove is on and needs a `url`");
}

/// GL-47, GL-61, HT-22
#[test]
fn other_methods_are_refused() {
    for action in ["add", "update", "remove"] {
        let place = format!("/exports/people/actions/{action}");
        for method in ["HEAD", "OPTIONS", "TRACE", "CONNECT", "FETCH"] {
            let document = with(&place, json!({"url": "/x", "method": method}));
            assert_problem(&document, &format!("exports.people.actions.{action}.method"), "is not known here");
        }
        let document = with(&place, json!({"url": "/x", "method": "post"}));
        assert_problem(&document, &format!("exports.people.actions.{action}.method"), "did you mean `POST`?");
    }
}

/// HT-04
#[test]
fn base_urls_are_plain_http_urls() {
    refuse(&[
        ("/destinations/crm/base_url", json!("api.example.com"), "is not a URL"),
        ("/destinations/crm/base_url", json!("ftp://api.example.com"), "must begin with https://"),
        ("/destinations/crm/base_url", json!("https://u:p@api.example.com"), "credential of type basic"),
        ("/destinations/crm/base_url", json!("https://api.example.com/?a=b"), "holds a query"),
        ("/destinations/crm/base_url", json!("https://api.example.com/#a"), "holds a fragment"),
        ("/destinations/crm/base_url", json!("https://api.example.com/{{user.id}}"), "holds a template"),
        ("/destinations/crm/base_url", json!(""), "is empty"),
        ("/destinations/crm/base_url", json!(null), "`base_url` is missing; write one, as in"),
    ]);
}

#[test]
fn secrets_stay_with_the_host_they_were_given_for() {
    let elsewhere = json!("https://elsewhere.example.com/members/{{user.id}}");
    refuse(&[("/destinations/crm/actions/add/url", elsewhere.clone(), "leads to another host than base_url")]);
    let mut document = with("/destinations/crm/actions/add/url", elsewhere);
    document["destinations"]["crm"].as_object_mut().unwrap().remove("credential");
    super::sound(&document);
    super::sound(&with("/destinations/crm/actions/add/url", json!("https://api.example.com/other/{{user.id}}")));
}

/// HT-05
#[test]
fn headers_of_the_connection_are_refused() {
    for name in [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "Connection",
        "TE",
        "Upgrade",
        "Proxy-Authorization",
        "Expect",
        "Keep-Alive",
        "Trailer",
    ] {
        let value = json!({ name: "x" });
        let at = |path: &str| format!("{path}.{name}");
        assert_problem(&with("/destinations/crm/headers", value.clone()), &at("destinations.crm.headers"), "set by the connection itself");
        assert_problem(
            &with("/destinations/crm/secret_headers", value.clone()),
            &at("destinations.crm.secret_headers"),
            "set by the connection",
        );
        assert_problem(
            &with("/exports/people/actions/add", json!({"headers": value.clone()})),
            &at("exports.people.actions.add.headers"),
            "set by the",
        );
        assert_problem(&with("/credentials/key/headers", value), &at("credentials.key.headers"), "set by the connection itself");
    }
    refuse_at(&[("/destinations/crm/headers", json!({"a b": "x"}), "destinations.crm.headers[\"a b\"]", "is not a header name")]);
}

/// GL-14, GL-15
#[test]
fn a_header_is_set_in_one_place() {
    let taken = "comes from the credential too";
    refuse(&[
        ("/destinations/crm/headers/x-app-key", json!("x"), taken),
        ("/destinations/crm/secret_headers/X-App-Key", json!("x"), taken),
        ("/destinations/crm/actions/add/headers/X-App-Key", json!("x"), taken),
        ("/destinations/crm/headers/idempotency-key", json!("x"), "or write `idempotency_header: null`"),
        ("/destinations/crm/idempotency_header", json!("X-App-Key"), taken),
        ("/destinations/crm/idempotency_header", json!("Host"), "or write null to send none"),
    ]);
    refuse_at(&[
        (
            "/destinations/crm/headers",
            json!({"x-static": "a", "X-Static": "b"}),
            "destinations.crm.headers.X-Static",
            "are the same header; keep one",
        ),
        ("/destinations/crm/secret_headers/X-Static", json!("x"), "destinations.crm.headers.X-Static", "comes from secret_headers too"),
    ]);
    for credential in [
        json!({"type": "bearer", "token": "t"}),
        json!({"type": "basic", "username": "u", "password": "p"}),
        json!({"type": "headers", "headers": {"authorization": "x"}}),
        json!({"type": "api_key", "name": "Authorization", "value": "x"}),
    ] {
        for (place, path) in [
            ("/destinations/crm/headers/Authorization", "destinations.crm.headers.Authorization"),
            ("/destinations/crm/secret_headers/AUTHORIZATION", "destinations.crm.secret_headers.AUTHORIZATION"),
            ("/exports/people/actions/add/headers/Authorization", "exports.people.actions.add.headers.Authorization"),
        ] {
            let mut document = with(place, json!("Bearer x"));
            put(&mut document, "/credentials/key", credential.clone());
            assert_problem(&document, path, taken);
        }
    }
}

#[test]
fn credentials_must_be_whole() {
    refuse(&[
        ("/credentials/key", json!({}), "`type` is missing; write one of"),
        ("/credentials/key/type", json!("beerer"), "did you mean `bearer`?"),
        ("/credentials/key/headers", json!({}), "holds no header"),
        ("/credentials/key/headers/X-App-Key", json!(""), "the secret is empty"),
        ("/credentials/key/headers/X-App-Key", json!("a\n"), "the secret holds a line feed"),
    ]);
    refuse_at(&[
        ("/credentials/key", json!({"type": "bearer"}), "credentials.key.token", "`token` is missing"),
        ("/credentials/key", json!({"type": "bearer", "token": "Bearer x"}), "credentials.key.token", "without the word Bearer"),
        ("/credentials/key", json!({"type": "basic", "username": "u"}), "credentials.key.password", "`password` is missing"),
        ("/credentials/key", json!({"type": "basic", "username": "a:b", "password": "p"}), "credentials.key.username", "a colon"),
        ("/credentials/key", json!({"type": "basic", "username": "u", "password": 5}), "credentials.key.password", "expected a text"),
        ("/credentials/key", json!({"type": "api_key", "value": "v"}), "credentials.key.name", "`name` is missing"),
        ("/credentials/key", json!({"type": "api_key", "name": "a b", "value": "v"}), "credentials.key.name", "is not a header name"),
        (
            "/credentials/key",
            json!({"type": "api_key", "name": "k", "value": "v", "in": "body"}),
            "credentials.key.in",
            "use `header` or `query`",
        ),
    ]);
}

/// HT-36, HT-39
#[test]
fn limits_must_make_sense() {
    refuse(&[
        ("/destinations/crm/rate_limit", json!("none"), "write `unlimited`"),
        ("/destinations/crm/rate_limit", json!([]), "lists no limit"),
        ("/destinations/crm/rate_limit/per", json!("hours"), "did you mean `hour`?"),
        ("/destinations/crm/concurrency", json!(0), "0 is out of bounds; write a whole number from 1 to 10000"),
        ("/destinations/crm/timeout_seconds", json!(0), "out of bounds"),
        ("/organization/retention_days", json!(0), "out of bounds"),
        ("/exports/people/guard/max_removed_percent", json!(101), "from 0 to 100"),
        ("/exports/people/guard/max_removed", json!(-1), "expected a whole number"),
    ]);
    refuse_at(&[
        ("/destinations/crm/rate_limit", json!({"per": "hour"}), "destinations.crm.rate_limit.requests", "`requests` is missing"),
        ("/destinations/crm/rate_limit", json!({"requests": 5}), "destinations.crm.rate_limit.per", "`per` is missing"),
        ("/destinations/crm/rate_limit", json!({"requests": 0, "per": "hour"}), "destinations.crm.rate_limit.requests", "out of bounds"),
        (
            "/destinations/crm/rate_limit",
            json!({"requests": 5, "per": "hour", "burst": 6}),
            "destinations.crm.rate_limit.burst",
            "from 1 to 5",
        ),
        (
            "/destinations/crm/rate_limit",
            json!([{"requests": 5, "per": "hour", "mode": "even"}]),
            "destinations.crm.rate_limit[0].mode",
            "use `strict` or `paced`",
        ),
    ]);
}

#[test]
fn statuses_retries_and_durations_must_make_sense() {
    refuse_at(&[
        ("/destinations/crm/success", json!(["2xx", "99"]), "destinations.crm.success[1]", "is not a status"),
        ("/destinations/crm/success", json!(["302"]), "destinations.crm.success[0]", "redirects are not followed"),
        ("/destinations/crm/success", json!(["200-404"]), "destinations.crm.success[0]", "never count as success"),
        ("/destinations/crm/success", json!([true]), "destinations.crm.success[0]", "expected a status"),
        ("/destinations/crm/success", json!([]), "destinations.crm.success", "lists no status"),
        ("/destinations/crm/retry", json!({"on": ["timeouts"]}), "destinations.crm.retry.on[0]", "write `timeout`, `network` or a status"),
        ("/destinations/crm/retry", json!({"on": ["504-500"]}), "destinations.crm.retry.on[0]", "is not a status"),
        ("/destinations/crm/retry", json!({"max_attempts": 0}), "destinations.crm.retry.max_attempts", "out of bounds"),
        (
            "/destinations/crm/retry",
            json!({"first_delay_seconds": 10, "max_delay_seconds": 5}),
            "destinations.crm.retry.first_delay_seconds",
            "is more than",
        ),
    ]);
    for wrong in
        [json!("1 week"), json!("1w"), json!("-1h"), json!("h"), json!(""), json!(0), json!("99999999999999999999d"), json!("4000d")]
    {
        refuse(&[("/destinations/crm/sync_frequency", wrong, "is not a duration")]);
    }
    refuse(&[("/destinations/crm/sync_frequency", json!(1.5), "expected a duration like 30s")]);
}

#[test]
fn batches_and_bodies_must_make_sense() {
    refuse_at(&[
        ("/destinations/crm/actions/add/batch", json!({"size": 50}), "destinations.crm.actions.add.batch.size", "add `mode: batched`"),
        (
            "/destinations/crm/actions/add/batch",
            json!({"mode": "batched", "size": 0}),
            "destinations.crm.actions.add.batch.size",
            "out of bounds",
        ),
        (
            "/destinations/crm/actions/add/batch",
            json!({"mode": "batch"}),
            "destinations.crm.actions.add.batch.mode",
            "did you mean `batched`?",
        ),
        ("/destinations/crm/actions/add/body", json!(" "), "destinations.crm.actions.add.body", "write `body: null`"),
        (
            "/destinations/crm/actions/add/body",
            json!({"content": "json"}),
            "destinations.crm.actions.add.body.template",
            "`template` is missing",
        ),
        (
            "/destinations/crm/actions/add/body",
            json!({"content": "empty", "template": "x"}),
            "destinations.crm.actions.add.body.template",
            "an empty body has no template",
        ),
        (
            "/destinations/crm/actions/add/body",
            json!({"content": "jsn", "template": "x"}),
            "destinations.crm.actions.add.body.content",
            "did you mean `json`?",
        ),
    ]);
}

#[test]
fn templates_are_compiled_and_their_problems_name_line_and_column() {
    let broken = "/\n  {{#each users}}{{id}}";
    for (place, path) in [
        ("/destinations/crm/headers/X-Static", "destinations.crm.headers.X-Static"),
        ("/destinations/crm/actions/add/url", "destinations.crm.actions.add.url"),
        ("/destinations/crm/actions/add/body", "destinations.crm.actions.add.body"),
        ("/exports/people/actions/add/query/q", "exports.people.actions.add.query.q"),
        ("/exports/people/actions/add/headers/X-Q", "exports.people.actions.add.headers.X-Q"),
        ("/destinations/crm/actions/remove/url", "destinations.crm.actions.remove.url"),
    ] {
        assert_problem(&with(place, json!(broken)), path, "line 2, column");
    }
    let text = json!({"content": "text", "template": broken});
    assert_problem(&with("/destinations/crm/actions/add/body", text), "destinations.crm.actions.add.body.template", "line 2, column");
    assert_problem(
        &with("/destinations/crm/actions/add/success_path", json!("a[")),
        "destinations.crm.actions.add.success_path",
        "not a JMESPath expression at line 1, column 3",
    );
    // An action that is off is looked through as well.
    let off = json!({"enabled": false, "url": broken});
    assert_problem(&with("/exports/people/actions/update", off), "exports.people.actions.update.url", "line 2, column");
    // And so are those of a destination that no export uses.
    let spare = json!({"base_url": "https://a.example.com", "actions": {"add": {"url": broken}, "remove": "same_as_add"}});
    assert_problem(&with("/destinations/spare", spare.clone()), "destinations.spare.actions.add.url", "line 2, column");
    assert_problem(&with("/destinations/spare", spare), "destinations.spare.actions.remove", "for update only");
}

#[test]
fn models_and_exports_must_make_sense() {
    refuse(&[
        ("/models/people/primary_key", json!([]), "names no column"),
        ("/models/people/source", json!(null), "`source` is missing"),
        ("/models/people/source/type", json!("fle"), "did you mean `file`?"),
        ("/models/people/source/format", json!("xls"), "use `csv`, `ndjson` or `parquet`"),
        ("/models/people/source/path", json!("https://example.com/x.csv"), "is a URL"),
        ("/models/people/source/path", json!("a\u{0}b"), "NUL"),
        ("/models/people/name", json!(" "), "is empty"),
        ("/exports/people/first_run", json!("skipp"), "did you mean `skip`?"),
        ("/exports/people/on_error", json!("retry"), "use `next_run` or `give_up`"),
        ("/exports/people/schedule", json!({}), "needs either `every`"),
        ("/exports/people/schedule", json!({"every": "1h", "cron": "* * * * *"}), "needs either `every`"),
    ]);
    refuse_at(&[
        ("/models/people/primary_key", json!(["id", "id"]), "models.people.primary_key[1]", "stands here twice"),
        ("/models/people/primary_key", json!([""]), "models.people.primary_key[0]", "is empty"),
        (
            "/exports/people/fields",
            json!([{"from": "a", "to": "x"}, {"from": "b", "to": "x"}]),
            "exports.people.fields[1]",
            "two fields go to `x`",
        ),
        ("/exports/people/fields", json!([{"to": "x"}]), "exports.people.fields[0].from", "`from` is missing"),
        ("/exports/people/schedule", json!({"cron": "0 * * *"}), "exports.people.schedule.cron", "cron has five"),
        ("/exports/people/schedule", json!({"cron": "0 * * * *", "timezone": "Berlin!"}), "exports.people.schedule.timezone", "IANA name"),
        ("/exports/people/schedule", json!({"every": "1h", "timezone": "UTC"}), "exports.people.schedule.timezone", "goes with `cron`"),
    ]);
}

#[test]
fn a_source_takes_the_keys_of_its_type_and_never_shows_its_dsn() {
    let postgres = |more: Value| {
        let mut source = json!({"type": "postgres", "dsn": "postgres://reader:hush@db/shop", "query": "SELECT 1 AS id"});
        source.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        source
    };
    let source = "/models/people/source";
    refuse_at(&[
        (
            source,
            postgres(json!({"dsn": null})),
            "models.people.source.dsn",
            "`dsn` is missing; write one, as in `dsn: \"postgres://reader:${PG_PASSWORD}@",
        ),
        (source, postgres(json!({"dsn": ""})), "models.people.source.dsn", "the secret is empty"),
        (source, postgres(json!({"dsn": "hush"})), "models.people.source.dsn", "is no DSN"),
        (source, postgres(json!({"dsn": "mysql://reader:hush@db/shop"})), "models.people.source.dsn", "is no DSN"),
        (source, postgres(json!({"dsn": "host=db\n"})), "models.people.source.dsn", "line feed"),
        (source, postgres(json!({"query": " "})), "models.people.source.query", "is empty"),
        (source, postgres(json!({"query": "SELECT '\u{0}'"})), "models.people.source.query", "NUL"),
        (source, postgres(json!({"query": null})), "models.people.source.query", "`query` is missing"),
        (source, postgres(json!({"path": "a.csv"})), "models.people.source.path", "unknown key `path`"),
        (source, json!({"type": "push", "path": "a.csv"}), "models.people.source.path", "unknown key `path`"),
        (source, json!({"type": "pus"}), "models.people.source.type", "did you mean `push`?"),
    ]);
    let shown = format!("{:?}", problems(&with(source, postgres(json!({"dsn": "mysql://reader:hush@db/shop", "query": 1})))));
    assert!(!shown.contains("hush"), "{shown}");
}

/// LP-10, LP-21, LP-22, VX-08 to VX-11, GW-25: requests, rules and event types name what is wrong with them, and what they refer to.
#[test]
fn rules_requests_and_event_types_must_make_sense() {
    let rule = |steps: Value| json!({"welcome": {"on": "contact.subscribed", "steps": steps}});
    let deliver = json!({"deliver": {"destination": "crm", "action": "add"}});
    let fetch = |output: &str| json!({"fetch": {"request": "profile", "output": output}});
    let at = |steps: Value, path: &'static str, why: &'static str| ("/rules", rule(steps), path, why);
    refuse_at(&[
        at(json!([]), "rules.welcome.steps", "has no `deliver`"),
        at(json!([{}, deliver]), "rules.welcome.steps[0]", "either `fetch` or `deliver`"),
        at(json!([fetch("a"), deliver]), "rules.welcome.steps[0].fetch.request", "there is no request `profile`"),
        at(json!([{"fetch": {"output": "A b"}}, deliver]), "rules.welcome.steps[0].fetch.output", "is not an output key"),
        at(
            json!([{"deliver": {"destination": "cmr", "action": "add"}}]),
            "rules.welcome.steps[0].deliver.destination",
            "did you mean `crm`?",
        ),
        at(json!([{"deliver": {"destination": "crm", "action": "ad"}}]), "rules.welcome.steps[0].deliver.action", "did you mean `add`?"),
        at(
            json!([{"deliver": {"destination": "crm", "action": "add", "variables": {"a": "{{#if"}}}]),
            "rules.welcome.steps[0].deliver.variables.a",
            "column 1",
        ),
        (
            "/rules",
            json!({"welcome": {"on": "contact.subscribd", "steps": [deliver]}}),
            "rules.welcome.on",
            "did you mean `contact.subscribed`?",
        ),
        (
            "/rules",
            json!({"welcome": {"on": "contact.subscribed", "when": "data.[", "steps": [deliver]}}),
            "rules.welcome.when",
            "not a JMESPath expression",
        ),
        (
            "/rules",
            json!({"welcome": {"on": "contact.subscribed", "when": "!".repeat(500) + "a", "steps": [deliver]}}),
            "rules.welcome.when",
            "more than 400 operators",
        ),
        (
            "/rules",
            json!({"welcome": {"on": "contact.subscribed", "ordering": "per_kee", "steps": [deliver]}}),
            "rules.welcome.ordering",
            "did you mean `per_key`?",
        ),
        ("/requests", json!({"profile": {}}), "requests.profile.url", "`url` is missing"),
        ("/requests", json!({"profile": {"url": "/v1/{{contact.id}}"}}), "requests.profile.url", "is no whole URL"),
        ("/requests", json!({"profile": {"url": "https://{{contact.host}}/x"}}), "requests.profile.url", "must be literal text"),
        (
            "/requests",
            json!({"profile": {"url": "https://a.b", "timeout_seconds": 61}}),
            "requests.profile.timeout_seconds",
            "from 0.1 to 60",
        ),
        (
            "/requests",
            json!({"profile": {"url": "https://a.b", "max_response_bytes": 5_242_881}}),
            "requests.profile.max_response_bytes",
            "from 1 to 5242880",
        ),
        (
            "/requests",
            json!({"profile": {"url": "https://a.b", "headers": {"Host": "x"}}}),
            "requests.profile.headers.Host",
            "connection itself",
        ),
        ("/event_types", json!({"Order placed": {}}), "event_types[\"Order placed\"]", "is not an event type"),
        (
            "/event_types",
            json!({"order.placed": {"attributes": [{"key": "total", "type": "nummer"}]}}),
            "event_types[\"order.placed\"].attributes[0].type",
            "did you mean `number`?",
        ),
        (
            "/event_types",
            json!({"order.placed": {"attributes": [{"key": "total", "type": "long", "samples": [1.5]}]}}),
            "event_types[\"order.placed\"].attributes[0].samples[0]",
            "whole number of 64 bits",
        ),
    ]);
    let mut document = with("/rules", rule(json!([fetch("a"), fetch("a"), deliver])));
    document["requests"] = json!({"profile": {"url": "https://profiles.example.com"}});
    let found = problems(&document);
    assert_eq!((found[0].path.as_str(), found.len()), ("rules.welcome.steps[1].fetch.output", 1), "{found:?}");
    let mut document = with("/destinations/crm/actions/add/url", json!("/c/{email}"));
    document["rules"] = rule(json!([deliver]));
    let found = problems(&document);
    assert_eq!(found[0].path, "rules.welcome.steps[0].deliver.variables.email", "{found:?}");
}
