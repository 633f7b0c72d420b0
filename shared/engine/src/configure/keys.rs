//! Every key of the project file: what the parser knows, what the reference page says and where `${NAME}` is replaced come from these
//! tables. They must not decide anything: the rules stand in the parser.

mod events;

pub(super) use events::{ATTRIBUTE, DELIVER, EVENT_TYPE, FETCH, REQUEST, RULE, STEP};

/// A key of a section.
#[derive(Debug)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// What is allowed, for people.
    pub kind: &'static str,
    /// What holds when it is not written; empty: it must be written.
    pub default: &'static str,
    /// An example of its value, in YAML's flow style.
    pub example: &'static str,
    /// What it does.
    pub about: &'static str,
    /// Whether the documents name it and this version does not know it yet.
    pub later: bool,
    /// Whether `${NAME}` in it, or in what stands below it, is replaced from the environment.
    pub environment: bool,
    /// Whether its text, or every text below it, is a secret: sealed where it is stored and never shown.
    pub secret: bool,
}

/// The keys that may stand together in one object.
#[derive(Debug)]
pub struct Section {
    /// The path to it; `<name>` stands for any key, `[]` for any list place.
    pub place: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
}

impl Section {
    /// The key of that name.
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

const fn key(name: &'static str, kind: &'static str, default: &'static str, example: &'static str, about: &'static str) -> Key {
    Key { name, kind, default, example, about, later: false, environment: false, secret: false }
}

const fn later(name: &'static str, about: &'static str) -> Key {
    Key { name, kind: "", default: "", example: "", about, later: true, environment: false, secret: false }
}

const fn environment(key: Key) -> Key {
    Key { environment: true, ..key }
}

/// A secret may come from the environment.
const fn secret(key: Key) -> Key {
    Key { environment: true, secret: true, ..key }
}

const ORIGINS: Key = environment(key(
    "origins",
    "list of origins",
    "any",
    "[\"https://api.example.com\"]",
    "The only hosts that it may be sent to: scheme, host and port. See docs/operations.md.",
));

/// All sections, in the order of the reference page.
pub const SECTIONS: &[&Section] = &[
    &TOP,
    &ORGANIZATION,
    &CREDENTIAL_HEADERS,
    &CREDENTIAL_BASIC,
    &CREDENTIAL_BEARER,
    &CREDENTIAL_API_KEY,
    &DESTINATION,
    &RATE_LIMIT,
    &RETRY,
    &ACTIONS,
    &ACTION,
    &BATCH,
    &BODY,
    &MODEL,
    &SOURCE_FILE,
    &SOURCE_POSTGRES,
    &SOURCE_ATHENA,
    &SOURCE_PUSH,
    &EXPORT,
    &FIELD,
    &SCHEDULE,
    &GUARD,
    &REQUEST,
    &RULE,
    &STEP,
    &FETCH,
    &DELIVER,
    &EVENT_TYPE,
    &ATTRIBUTE,
];

pub(super) static TOP: Section = Section {
    place: "",
    about: "The file itself. Names of definitions are 1 to 64 of a-z, 0-9, _ and -, starting with a letter or digit.",
    keys: &[
        key("organization", "object", "{id: default}", "{id: acme, name: Acme}", "Whose project it is."),
        key("credentials", "object by name", "{}", "{crm: {type: bearer, token: \"${CRM_TOKEN}\"}}", "Named secrets."),
        key("destinations", "object by name", "{}", "{crm: {base_url: \"https://api.example.com\"}}", "HTTP APIs that rows are sent to."),
        key(
            "models",
            "object by name",
            "{}",
            "{newsletter: {primary_key: [id], source: {type: file, path: rows/newsletter.csv}}}",
            "Named sets of rows.",
        ),
        key(
            "exports",
            "object by name",
            "{}",
            "{newsletter: {model: newsletter, destination: crm}}",
            "Which model goes to which destination.",
        ),
        key(
            "requests",
            "object by name",
            "{}",
            "{customer_profile: {url: \"https://profiles.example.com/v1/{{contact.id}}\"}}",
            "Reusable pulls of JSON that rules run.",
        ),
        key(
            "rules",
            "object by name",
            "{}",
            "{welcome: {on: contact.subscribed, steps: [{deliver: {destination: crm, action: add}}]}}",
            "What is sent when an event comes.",
        ),
        key(
            "event_types",
            "object by event type",
            "{}",
            "{order.placed: {attributes: [{key: total, type: number}]}}",
            "Events that rules may name, besides `contact.subscribed` and `contact.unsubscribed`, which come built in.",
        ),
    ],
};

pub(super) static ORGANIZATION: Section = Section {
    place: "organization",
    about: "Whose project it is.",
    keys: &[
        key("id", "name", "default", "acme", "Its name in documents."),
        key("name", "text", "the id", "Acme", "Its label; what `{{organization_name}}` shows."),
        key("retention_days", "whole number, 1 to 3650", "30", "30", "How long deliveries and attempts are kept."),
        key("attributes", "object of values", "{}", "{store_name: Acme Berlin}", "What rules see as `team.custom_attributes`."),
    ],
};

const TYPE: &str = "headers \\| basic \\| bearer \\| api_key";

pub(super) static CREDENTIAL_HEADERS: Section = Section {
    place: "credentials.<name>",
    about: "`type: headers`: any headers, put on every request.",
    keys: &[
        key("type", TYPE, "", "headers", "What it holds."),
        secret(key("headers", "object of text", "", "{X-API-Key: \"${CRM_KEY}\"}", "The headers; their values are never shown.")),
        ORIGINS,
    ],
};

pub(super) static CREDENTIAL_BASIC: Section = Section {
    place: "credentials.<name>",
    about: "`type: basic`: a user name and a password (RFC 7617).",
    keys: &[
        key("type", TYPE, "", "basic", "What it holds."),
        environment(key("username", "text without a colon", "", "penstock", "The user name.")),
        secret(key("password", "text", "", "\"${CRM_PASSWORD}\"", "The password; never shown.")),
        ORIGINS,
    ],
};

pub(super) static CREDENTIAL_BEARER: Section = Section {
    place: "credentials.<name>",
    about: "`type: bearer`: a token in `Authorization: Bearer …` (RFC 6750).",
    keys: &[
        key("type", TYPE, "", "bearer", "What it holds."),
        secret(key("token", "text without spaces", "", "\"${CRM_TOKEN}\"", "The token; never shown.")),
        ORIGINS,
    ],
};

pub(super) static CREDENTIAL_API_KEY: Section = Section {
    place: "credentials.<name>",
    about: "`type: api_key`: a key in a header or in the query.",
    keys: &[
        key("type", TYPE, "", "api_key", "What it holds."),
        key("name", "text", "", "X-API-Key", "The header's or query parameter's name."),
        secret(key("value", "text", "", "\"${CRM_KEY}\"", "The key; never shown.")),
        key("in", "header \\| query", "header", "query", "Where it goes."),
        ORIGINS,
    ],
};

pub(super) static DESTINATION: Section = Section {
    place: "destinations.<name>",
    about: "An HTTP API that rows are sent to.",
    keys: &[
        key("name", "text", "its name in the file", "CRM", "The label used everywhere afterwards."),
        environment(key(
            "base_url",
            "http or https URL",
            "",
            "https://api.example.com/v1",
            "Where it is; its path is a prefix of every action's. No user name, query or fragment.",
        )),
        key("allow_http", "true \\| false", "false", "true", "Whether plain http may be used to public addresses."),
        key("credential", "name of a credential", "none", "crm", "Put on every request."),
        key(
            "headers",
            "object of templates",
            "{}",
            "{X-API-Key: your-key}",
            "Headers of every request. Not those of the connection: Host, Content-Length and the like.",
        ),
        secret(key(
            "secret_headers",
            "object of text",
            "{}",
            "{X-App-Secret: \"${APP_SECRET}\"}",
            "Headers of every request whose values are never shown; no templates.",
        )),
        later("tls", "Certificates of its own."),
        key("timeout_seconds", "number, 0.1 to 3600", "30", "30", "From the first attempt to connect to the last byte of the response."),
        key(
            "rate_limit",
            "object, list of objects, or `unlimited`",
            "{requests: 1000, per: second}",
            "{requests: 3600, per: hour}",
            "How many requests it takes; of a list, all hold at once.",
        ),
        key("concurrency", "whole number, 1 to 10000", "100", "100", "At most this many requests in flight."),
        key("sync_frequency", "duration", "none", "1h", "How often its exports run under `penstock serve`, unless they have a schedule."),
        key(
            "idempotency_header",
            "header name or null",
            "Idempotency-Key",
            "Idempotency-Key",
            "Carries the delivery's key, the same on every attempt; null sends none.",
        ),
        key("retry", "object", "see retry", "{max_attempts: 8}", "When a failed attempt is repeated within the run."),
        key(
            "success",
            "list of statuses",
            "[\"2xx\"]",
            "[\"2xx\", \"404\"]",
            "Statuses that count as success: one like 404, a range like 500-504, a class like 2xx. Never 1xx or 3xx.",
        ),
        later("output_schema", "Which fields are sent, and as what type."),
        later("audience", "Looking up and creating the audience first."),
        key("engine", "handlebars", "handlebars", "handlebars", "The language of its templates; Liquid and JMESPath come later."),
        key("actions", "object", "{}", "{add: {url: /members}}", "The requests; exports may bring or change them."),
    ],
};

pub(super) static RATE_LIMIT: Section = Section {
    place: "destinations.<name>.rate_limit",
    about: "At most so many requests in any window, retries included.",
    keys: &[
        key("requests", "whole number, 1 to 10000000", "", "3600", "How many."),
        key("per", "second \\| minute \\| hour \\| day", "", "hour", "The window."),
        key(
            "mode",
            "strict \\| paced",
            "strict",
            "paced",
            "`strict`: never more in any window, whatever the latency. `paced`: even spacing at 99 %, which may exceed a window by a few per cent.",
        ),
        key("burst", "whole number, 1 to `requests`", "what 0.1 s allows, at least 1", "10", "How many may go at once."),
        key(
            "spread_seconds",
            "whole number, 1 to 3600",
            "evenly; 10 on a stack",
            "60",
            "What so many seconds allow goes at once, then nothing until as much is allowed again. On a stack, longer spreads cost less.",
        ),
    ],
};

pub(super) static RETRY: Section = Section {
    place: "destinations.<name>.retry",
    about: "When a failed attempt is repeated within the run. What is not delivered is found again by the next run.",
    keys: &[
        key("enabled", "true \\| false", "true", "false", "The switch."),
        key(
            "on",
            "list of statuses, timeout, network",
            "[\"408\", \"429\", \"500-504\", timeout, network]",
            "[\"429\", \"500-504\", timeout]",
            "What is tried again.",
        ),
        key("max_attempts", "whole number, 1 to 1000, or null", "8", "3", "Attempts in all; null: until give_up_after."),
        key("first_delay_seconds", "number, 0.01 to 86400", "1", "1", "The first delay's upper bound; it doubles, with jitter."),
        key(
            "max_delay_seconds",
            "number, 0.01 to 86400",
            "900",
            "900",
            "No delay of our own is longer; Retry-After may be, up to an hour.",
        ),
        key("give_up_after", "duration", "24h", "24h", "No attempt begins this long after a delivery's first."),
    ],
};

pub(super) static ACTIONS: Section = Section {
    place: "destinations.<name>.actions",
    about: "The requests, also under `exports.<name>.actions`: an export's keys go over the destination's, key by key; lists and bodies whole; \
            null takes a key away. At least one action must be on.",
    keys: &[
        key("add", "object", "on", "{url: /members}", "For rows that were added; on unless `enabled: false`."),
        key(
            "update",
            "object or `same_as_add`",
            "off",
            "same_as_add",
            "For rows that changed; off unless written. `same_as_add` takes the export's merged add.",
        ),
        key(
            "remove",
            "object",
            "off",
            "{enabled: true, method: DELETE, url: \"/members/{{user.id}}\"}",
            "For rows that were removed; on with `enabled: true` only.",
        ),
        later("get_audience", "Looks the audience up."),
        later("create_audience", "Creates the audience."),
    ],
};

pub(super) static ACTION: Section = Section {
    place: "destinations.<name>.actions.<action>",
    about: "One request. Templates are Handlebars.",
    keys: &[
        key("enabled", "true \\| false", "true; of remove false", "true", "The switch."),
        key("method", "GET \\| POST \\| PUT \\| PATCH \\| DELETE", "POST", "PUT", "The method."),
        key(
            "url",
            "template",
            "",
            "\"/members/{{user.id}}\"",
            "A path under base_url, or a whole URL; must be there when the action is on.",
        ),
        key("query", "object of templates", "{}", "{source: penstock}", "Query parameters, appended to the URL's own."),
        key("headers", "object of templates", "{}", "{X-Run: \"{{run.id}}\"}", "Headers; over the destination's of the same name."),
        key("body", "template, object or null", "null", "'{\"id\": \"{{user.id}}\"}'", "A text is a template for JSON; null sends none."),
        key("batch", "object", "{mode: individual}", "{mode: batched, size: 100}", "How many rows a request carries."),
        key("success", "list of statuses", "the destination's", "[\"2xx\", \"409\"]", "Statuses that count as success."),
        key(
            "success_path",
            "JMESPath",
            "none",
            "created",
            "Over the response: a list's length, true or false, or a number tells how many rows succeeded.",
        ),
        key(
            "strict",
            "true \\| false",
            "false",
            "true",
            "Whether a missing variable in the body is an error; in URLs and headers it always is.",
        ),
        later("results", "Which rows of a batch succeeded."),
    ],
};

pub(super) static BATCH: Section = Section {
    place: "destinations.<name>.actions.<action>.batch",
    about: "How many rows a request carries.",
    keys: &[
        key("mode", "individual \\| batched", "individual", "batched", "One row, shown as `user`, or several, shown as `users`."),
        key("size", "whole number, 1 to 10000", "100", "100", "Rows per request at most, in batched mode."),
        later("max_bytes", "A batch's size at most."),
    ],
};

pub(super) static BODY: Section = Section {
    place: "destinations.<name>.actions.<action>.body",
    about: "A body that is more than a JSON template.",
    keys: &[
        key("content", "json \\| text \\| empty", "json", "text", "What it is; JSON is checked before it is sent."),
        key("engine", "handlebars", "handlebars", "handlebars", "The template's language."),
        key("template", "template", "", "\"{{user.id}}\"", "The template; none for `empty`."),
        later("column", "A column that holds the whole body."),
        later("fields", "A body composed field by field."),
    ],
};

pub(super) static MODEL: Section = Section {
    place: "models.<name>",
    about: "A named set of rows.",
    keys: &[
        key("name", "text", "its name in the file", "Newsletter", "Its label; what `{{audience_name}}` shows."),
        key("primary_key", "list of columns", "", "[id]", "Columns that together tell rows apart."),
        key("source", "object", "", "{type: file, path: rows/newsletter.csv}", "Where the rows are."),
        later("duplicates", "Which of several rows with one key counts."),
    ],
};

const SOURCE_TYPE: &str = "file \\| postgres \\| athena \\| push";

pub(super) static SOURCE_FILE: Section = Section {
    place: "models.<name>.source",
    about: "`type: file`: rows lie in files.",
    keys: &[
        key("type", SOURCE_TYPE, "", "file", "The kind of source."),
        environment(key(
            "path",
            "path",
            "",
            "rows/newsletter.csv",
            "A file, a folder or a glob; relative to the project file. Also .gz and .zst. On a stack: `s3://bucket/` and a key, or what the keys of several objects begin with.",
        )),
        key("format", "csv \\| ndjson \\| parquet", "by extension", "csv", "The format."),
    ],
};

pub(super) static SOURCE_POSTGRES: Section = Section {
    place: "models.<name>.source",
    about: "`type: postgres`: rows are those of a query, read in one transaction that can only read.",
    keys: &[
        key("type", SOURCE_TYPE, "", "postgres", "The kind of source."),
        secret(key(
            "dsn",
            "postgres:// URL or key=value pairs",
            "",
            "\"postgres://reader:${PG_PASSWORD}@db.example.com:5432/shop\"",
            "Server, database, user and password; never shown. TLS as `sslmode` says: disable, prefer (unless it is written) or require; \
             certificates are always checked.",
        )),
        key("query", "SQL", "", "\"SELECT id, email FROM people\"", "One SELECT; its columns are the model's."),
    ],
};

pub(super) static SOURCE_ATHENA: Section = Section {
    place: "models.<name>.source",
    about: "`type: athena`: rows are those of a query, which Athena runs and unloads as Parquet. Only a stack can ask for them.",
    keys: &[
        key("type", SOURCE_TYPE, "", "athena", "The kind of source."),
        key("database", "text", "", "shop", "The database of the data catalog."),
        key("query", "SQL", "", "\"SELECT id, email FROM people\"", "One SELECT; its columns are the model's."),
        key("workgroup", "text", "primary", "penstock", "The workgroup, with its limits and its costs."),
    ],
};

pub(super) static SOURCE_PUSH: Section = Section {
    place: "models.<name>.source",
    about: "`type: push`: rows are handed in to `penstock serve`, as changes or as whole snapshots.",
    keys: &[key("type", SOURCE_TYPE, "", "push", "The kind of source.")],
};

pub(super) static EXPORT: Section = Section {
    place: "exports.<name>",
    about: "Joins a model to a destination.",
    keys: &[
        key("model", "name of a model", "", "newsletter", "Which rows."),
        key("destination", "name of a destination", "", "crm", "Where to."),
        key(
            "fields",
            "list of objects",
            "[]",
            "[{from: email_address, to: email}]",
            "What templates see; empty: all columns under their own names.",
        ),
        key("actions", "object", "{}", "{add: {batch: {mode: batched, size: 50}}}", "Over the destination's; see actions."),
        key(
            "success",
            "list of statuses",
            "the destination's",
            "[\"2xx\"]",
            "Statuses that count as success, where the action has none of its own.",
        ),
        key(
            "first_run",
            "backfill \\| skip",
            "backfill",
            "skip",
            "Rows that are there when it first runs: `backfill` sends them, `skip` takes them as delivered.",
        ),
        key(
            "on_error",
            "next_run \\| give_up",
            "next_run",
            "give_up",
            "A row that used up its retries: found again by the next run, or left until it changes.",
        ),
        key(
            "on_partial",
            "next_run \\| accept",
            "next_run",
            "accept",
            "success_path counted fewer rows than were sent: all are sent again, or all count as delivered.",
        ),
        key("on_rejected", "fail", "fail", "fail", "A batch refused with a 4xx fails as a whole."),
        key("ignore_in_diff", "list of columns", "[]", "[updated_at]", "Columns whose change alone is no change."),
        key(
            "schedule",
            "object",
            "the destination's sync_frequency, else by hand",
            "{every: 1h}",
            "When it runs by itself, under `penstock serve`.",
        ),
        key("guard", "object", "see guard", "{max_removed_percent: 10}", "When a plan waits for `--approve`."),
        later("output_schema", "Which fields are sent, and as what type."),
        later("audience", "Looking up and creating the audience first."),
    ],
};

pub(super) static FIELD: Section = Section {
    place: "exports.<name>.fields[]",
    about: "One field of an export.",
    keys: &[
        key("from", "column", "", "email_address", "The model's column."),
        key("to", "text", "the column's name", "email", "What templates call it."),
    ],
};

pub(super) static SCHEDULE: Section = Section {
    place: "exports.<name>.schedule",
    about: "When an export runs by itself: `every`, or `cron`.",
    keys: &[
        key("every", "duration", "none", "1h", "So often."),
        key("cron", "cron expression", "none", "\"0 * * * *\"", "Minute, hour, day of month, month, day of week."),
        key("timezone", "IANA time zone", "UTC", "Europe/Berlin", "What `cron` counts in."),
    ],
};

pub(super) static GUARD: Section = Section {
    place: "exports.<name>.guard",
    about: "A plan that goes beyond one of these, or removes everything, is held; never for fewer than ten removals unless it removes everything.",
    keys: &[
        key("max_removed_percent", "number, 0 to 100", "30", "30", "Removals, per cent of the snapshot."),
        key("max_removed", "whole number or null", "null", "1000", "Removals."),
        key("max_invalid_percent", "number, 0 to 100", "10", "10", "Invalid rows, per cent of those read."),
    ],
};

/// Whether `${NAME}` is replaced from the environment in the text that these keys lead to (contract.md: secrets, URLs and source
/// locations, never templates). A list place counts as no key.
pub fn takes_environment(keys: &[&str]) -> bool {
    leads_to(keys, |key| key.environment)
}

/// Whether the text that these keys lead to is a secret. A list place counts as no key.
pub fn is_secret(keys: &[&str]) -> bool {
    leads_to(keys, |key| key.secret)
}

fn leads_to(keys: &[&str], what: impl Fn(&Key) -> bool) -> bool {
    SECTIONS.iter().any(|section| {
        let place: Vec<&str> = section.place.split('.').filter(|word| !word.is_empty()).collect();
        let inside = keys.len() > place.len() && place.iter().zip(keys).all(|(word, key)| word.starts_with('<') || word == key);
        inside && section.keys.iter().any(|key| key.name == keys[place.len()] && what(key))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_reaches_secrets_urls_and_source_locations_only() {
        for (path, takes) in [
            ("credentials.crm.token", true),
            ("credentials.crm.password", true),
            ("credentials.crm.username", true),
            ("credentials.crm.value", true),
            ("credentials.crm.headers.X-Key", true),
            ("destinations.crm.base_url", true),
            ("destinations.crm.secret_headers.X-Secret", true),
            ("models.rows.source.path", true),
            ("models.rows.source.dsn", true),
            ("models.rows.source.query", false),
            ("credentials.crm.type", false),
            ("credentials.crm.name", false),
            ("destinations.crm.headers.X-Key", false),
            ("destinations.crm.actions.add.url", false),
            ("destinations.crm.actions.add.body", false),
            ("exports.a.actions.add.body.template", false),
            ("models.rows.name", false),
            ("base_url", false),
        ] {
            let keys: Vec<&str> = path.split('.').collect();
            assert_eq!(takes_environment(&keys), takes, "{path}");
        }
    }
}
