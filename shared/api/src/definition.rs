//! The schemas of definitions, made from the very table of keys that the parser goes by, so that the document cannot drift from what is
//! read. Only how the table's words for values look in JSON Schema stands here.

use crate::document::NAME_PATTERN;
use engine::configure::keys::{Key, SECTIONS, Section};
use serde_json::{Value, json};
use std::borrow::Cow;
use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::schema::{AdditionalProperties, SchemaType, Type};
use utoipa::openapi::{ArrayBuilder, Object, ObjectBuilder, OneOfBuilder, Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// The longest text of a definition, which may have 64 KB in all.
const LONGEST_TEXT: usize = 65_536;

/// A key whose value has a section of its own: the key's section, the key, the section, and whether it is a list of such.
const NESTED: &[(&str, &str, &str)] = &[
    ("destinations.<name>", "retry", "Retry"),
    ("destinations.<name>", "actions", "Actions"),
    ("exports.<name>", "actions", "Actions"),
    ("destinations.<name>.actions", "remove", "Action"),
    ("destinations.<name>.actions.<action>", "batch", "Batch"),
    ("models.<name>", "source", "Source"),
    ("exports.<name>", "schedule", "Schedule"),
    ("exports.<name>", "guard", "Guard"),
    ("rules.<name>.steps[]", "fetch", "Fetch"),
    ("rules.<name>.steps[]", "deliver", "Deliver"),
];

/// What the schemas are called, and the place of their sections.
pub(crate) const NAMES: &[(&str, &str)] = &[
    ("OrganizationDefinition", "organization"),
    ("Credential", "credentials.<name>"),
    ("Destination", "destinations.<name>"),
    ("RateLimit", "destinations.<name>.rate_limit"),
    ("Retry", "destinations.<name>.retry"),
    ("Actions", "destinations.<name>.actions"),
    ("Action", "destinations.<name>.actions.<action>"),
    ("Batch", "destinations.<name>.actions.<action>.batch"),
    ("Body", "destinations.<name>.actions.<action>.body"),
    ("Model", "models.<name>"),
    ("Source", "models.<name>.source"),
    ("Export", "exports.<name>"),
    ("Field", "exports.<name>.fields[]"),
    ("Schedule", "exports.<name>.schedule"),
    ("Guard", "exports.<name>.guard"),
    ("RequestDefinition", "requests.<name>"),
    ("Rule", "rules.<name>"),
    ("Step", "rules.<name>.steps[]"),
    ("Fetch", "rules.<name>.steps[].fetch"),
    ("Deliver", "rules.<name>.steps[].deliver"),
    ("EventType", "event_types.<name>"),
    ("Attribute", "event_types.<name>.attributes[]"),
];

macro_rules! definitions {
    ($($kind:ident => $name:literal needs [$($inner:literal),*]),* $(,)?) => { $(
        #[doc = concat!("The schema `", $name, "`.")]
        #[derive(Debug)]
        pub(crate) struct $kind;

        impl PartialSchema for $kind {
            fn schema() -> RefOr<Schema> {
                named($name)
            }
        }

        impl ToSchema for $kind {
            fn name() -> Cow<'static, str> {
                $name.into()
            }

            fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
                schemas.extend([$($inner),*].into_iter().map(|name: &str| (name.to_string(), named(name))));
            }
        }
    )* };
}

definitions! {
    Organization => "OrganizationDefinition" needs [],
    Credential => "Credential" needs [],
    Destination => "Destination" needs ["RateLimit", "Retry", "Actions", "Action", "Batch", "Body"],
    Model => "Model" needs ["Source"],
    Export => "Export" needs ["Actions", "Action", "Batch", "Body", "Field", "Schedule", "Guard"],
    Request => "RequestDefinition" needs ["Body"],
    Rule => "Rule" needs ["Step", "Fetch", "Deliver"],
    EventType => "EventType" needs ["Attribute"],
}

fn named(name: &str) -> RefOr<Schema> {
    let place = NAMES.iter().find(|(own, _)| *own == name).map_or("", |(_, place)| place);
    let sections: Vec<&Section> = SECTIONS.iter().copied().filter(|section| section.place == place).collect();
    match sections[..] {
        [section] => RefOr::T(object(section).into()),
        // Several sections at one place: the type tells which.
        _ => {
            let all = sections.iter().fold(OneOfBuilder::new(), |all, section| all.item(Schema::from(object(section))));
            RefOr::T(all.build().into())
        }
    }
}

fn object(section: &Section) -> Object {
    let about = section.about.replace('\n', " ");
    let mut object = ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some(about))
        .additional_properties(Some(AdditionalProperties::FreeForm(false)));
    for key in section.keys.iter().filter(|key| !key.later && !is_fixed(section, key)) {
        let required = key.default.is_empty() && is_needed(section, key);
        object = object.property(key.name, property(section, key, required));
        if required {
            object = object.required(key.name);
        }
    }
    object.build()
}

/// The organization's id comes from the token.
fn is_fixed(section: &Section, key: &Key) -> bool {
    section.place == "organization" && key.name == "id"
}

/// Keys without a default that may be missing all the same: an export brings what its destination's action lacks, and the other way
/// round; an empty body has no template.
fn is_needed(section: &Section, key: &Key) -> bool {
    !matches!(
        (section.place, key.name),
        ("destinations.<name>.actions.<action>", "url") | ("destinations.<name>.actions.<action>.body", "template")
    )
}

/// The value of a key. What may be left away may be null too: that is how it is left away where something would stand otherwise.
fn property(section: &Section, key: &Key, required: bool) -> RefOr<Schema> {
    let about = match key.default {
        "" => key.about.to_string(),
        default => format!("{} Unless given: {default}.", key.about),
    };
    let value = value(section, key);
    if required {
        return described(value, about);
    }
    match value {
        RefOr::T(Schema::Object(mut object)) => {
            object.schema_type = nullable(object.schema_type);
            if let Some(words) = &mut object.enum_values {
                words.push(Value::Null);
            }
            described(RefOr::T(object.into()), about)
        }
        RefOr::T(Schema::Array(mut array)) => {
            array.schema_type = nullable(array.schema_type);
            described(RefOr::T(array.into()), about)
        }
        RefOr::T(Schema::AnyOf(mut any)) => {
            any.items.push(null());
            described(RefOr::T(Schema::AnyOf(any)), about)
        }
        other => described(RefOr::T(AnyOfBuilder::new().item(other).item(null()).build().into()), about),
    }
}

fn null() -> RefOr<Schema> {
    RefOr::T(ObjectBuilder::new().schema_type(Type::Null).build().into())
}

fn nullable(kind: SchemaType) -> SchemaType {
    match kind {
        SchemaType::Type(kind) => SchemaType::from_iter([kind, Type::Null]),
        SchemaType::Array(mut kinds) => {
            kinds.push(Type::Null);
            SchemaType::Array(kinds)
        }
        SchemaType::AnyValue => SchemaType::AnyValue,
    }
}

fn described(schema: RefOr<Schema>, about: String) -> RefOr<Schema> {
    match schema {
        RefOr::T(Schema::Object(mut object)) => {
            object.description = Some(about);
            RefOr::T(object.into())
        }
        RefOr::T(Schema::Array(mut array)) => {
            array.description = Some(about);
            RefOr::T(array.into())
        }
        RefOr::T(Schema::AnyOf(mut any)) => {
            any.description = Some(about);
            RefOr::T(Schema::AnyOf(any))
        }
        other => other,
    }
}

fn reference(name: &str) -> RefOr<Schema> {
    Ref::from_schema_name(name).into()
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).max_length(Some(LONGEST_TEXT))
}

fn any(items: impl IntoIterator<Item = RefOr<Schema>>) -> RefOr<Schema> {
    RefOr::T(items.into_iter().fold(AnyOfBuilder::new(), |any, item| any.item(item)).build().into())
}

fn list(item: RefOr<Schema>) -> RefOr<Schema> {
    RefOr::T(ArrayBuilder::new().items(item).build().into())
}

/// How the value of a key looks. Panics at a kind of value that is not known here: the document's test finds it.
fn value(section: &Section, key: &Key) -> RefOr<Schema> {
    if let Some((.., name)) = NESTED.iter().find(|(place, name, _)| *place == section.place && *name == key.name) {
        return reference(name);
    }
    match (section.place, key.name) {
        ("destinations.<name>", "rate_limit") => {
            let unlimited = text().enum_values(Some(["unlimited"]));
            return any([reference("RateLimit"), list(reference("RateLimit")), plain(unlimited)]);
        }
        ("destinations.<name>.actions", "add") => return reference("Action"),
        ("destinations.<name>.actions", "update") => {
            return any([reference("Action"), plain(text().enum_values(Some(["same_as_add"])))]);
        }
        ("destinations.<name>.actions.<action>" | "requests.<name>", "body") => return any([plain(text()), reference("Body")]),
        ("exports.<name>", "fields") => return list(reference("Field")),
        ("rules.<name>", "steps") => return list(reference("Step")),
        ("event_types.<name>", "attributes") => return list(reference("Attribute")),
        ("event_types.<name>.attributes[]", "type") => {}
        // In sections that its value chooses, a type is the one word of its example.
        (_, "type") => return plain(text().enum_values(Some([key.example]))),
        _ => {}
    }
    of_kind(key)
}

fn plain(builder: ObjectBuilder) -> RefOr<Schema> {
    RefOr::T(builder.build().into())
}

fn of_kind(key: &Key) -> RefOr<Schema> {
    let example = || json!(key.example.trim_matches(['"', '\'']));
    if let Some(bounds) = key.kind.strip_prefix("whole number") {
        return plain(bounded(ObjectBuilder::new().schema_type(Type::Integer), bounds));
    }
    if let Some(bounds) = key.kind.strip_prefix("number") {
        return plain(bounded(ObjectBuilder::new().schema_type(Type::Number), bounds));
    }
    if key.kind == "true \\| false" {
        return plain(ObjectBuilder::new().schema_type(Type::Boolean));
    }
    if key.kind.contains(" \\| ") || matches!(key.kind, "handlebars" | "fail") {
        return plain(text().enum_values(Some(key.kind.split(" \\| "))));
    }
    if key.kind.starts_with("name of ") {
        return plain(text().pattern(Some(NAME_PATTERN)));
    }
    match key.kind {
        "duration" => any([
            plain(text().pattern(Some("^\\s*[0-9]+\\s*[smhd]?\\s*$")).examples([example()])),
            plain(ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1))),
        ]),
        "list of statuses" | "list of statuses, timeout, network" => {
            list(any([plain(text()), plain(ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(100)).maximum(Some(599)))]))
        }
        "list of columns" | "list of origins" => list(plain(text().min_length(Some(1)))),
        "object of text" => plain(ObjectBuilder::new().schema_type(Type::Object).additional_properties(Some(Schema::from(text().build())))),
        "object of templates" => {
            let value = any([plain(text()), plain(ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)))]);
            plain(ObjectBuilder::new().schema_type(Type::Object).additional_properties(Some(value)))
        }
        "object of values" => plain(ObjectBuilder::new().schema_type(Type::Object)),
        "http or https URL" => plain(text().format(Some(utoipa::openapi::SchemaFormat::Custom("uri".to_string())))),
        "list of values" => list(RefOr::T(ObjectBuilder::new().schema_type(SchemaType::AnyValue).build().into())),
        "header name or null" => plain(text()),
        kind if TEXTS.contains(&kind) => plain(text().min_length(Some(1))),
        kind => panic!("`{}` has a value of kind `{kind}`, which shared/api/src/definition.rs does not know: add it there", key.name),
    }
}

/// Kinds of values that are texts, whatever the parser asks of them besides.
const TEXTS: &[&str] = &[
    "text",
    "text without a colon",
    "text without spaces",
    "template",
    "JMESPath",
    "path",
    "column",
    "cron expression",
    "IANA time zone",
    "name",
    "event type",
    "output key",
    "postgres:// URL or key=value pairs",
    "SQL",
];

/// `, 1 to 3600`, perhaps with something behind it; an upper bound that is not a number is left to the parser.
fn bounded(builder: ObjectBuilder, bounds: &str) -> ObjectBuilder {
    let mut words = bounds.trim_start_matches(',').split_whitespace();
    let low = words.next().and_then(|word| word.parse::<f64>().ok());
    let high = words.nth(1).and_then(|word| word.trim_end_matches(',').parse::<f64>().ok());
    builder.minimum(Some(low.unwrap_or(0.0))).maximum(high)
}
