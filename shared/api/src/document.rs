//! The OpenAPI document, made from the table of operations and from the types. It must not say anything that the router does not do.

use crate::operation::{Body, Chapter, Collect, Content, Good, Link, Operation, Parameter, Place, Value, Verb};
use crate::problem::{Code, ProblemBody};
use crate::routes::OPERATIONS;
use serde_json::json;
use std::collections::BTreeMap;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, HeaderBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, PathItem, Paths, Ref, RefOr,
    Required, ResponseBuilder, Schema,
};

type Schemas = Vec<(String, RefOr<Schema>)>;

/// What bearer tokens are called in the document.
const SECURITY: &str = "token";

/// The whole document.
pub fn document() -> OpenApi {
    let mut schemas: Schemas = Vec::new();
    crate::operation::of::<ProblemBody>(&mut schemas);
    let mut paths = Paths::new();
    for operation in OPERATIONS {
        let described = described(operation, &mut schemas);
        let method = match operation.verb {
            Verb::Get => HttpMethod::Get,
            Verb::Put => HttpMethod::Put,
            Verb::Post => HttpMethod::Post,
            Verb::Delete => HttpMethod::Delete,
        };
        let item = PathItem::new(method, described);
        match paths.paths.get_mut(operation.path) {
            Some(path) => path.merge_operations(item),
            None => drop(paths.paths.insert(operation.path.to_string(), item)),
        }
    }
    let mut components = ComponentsBuilder::new().security_scheme(
        SECURITY,
        SecurityScheme::Http(
            HttpBuilder::new()
                .scheme(HttpAuthScheme::Bearer)
                .description(Some(
                    "A token of `penstock token create` or `POST /v1/tokens`. It belongs to one organization and carries scopes.",
                ))
                .build(),
        ),
    );
    for status in statuses(&OPERATIONS.iter().flat_map(|operation| operation.codes()).collect::<Vec<_>>()).into_keys() {
        components = components.response(response_name(status), problem(status));
    }
    let schemas = each_once(schemas);
    let about = "Sends the rows of models, and only what changed since last time, to any HTTP API, at the rate that the API can take. \
                 Errors are `application/problem+json` (RFC 9457) with a stable `code`. Lists go on with `after`.";
    let info = InfoBuilder::new()
        .title("Penstock")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(about))
        .license(Some(LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build()));
    let tags = Chapter::ALL.iter().map(|(_, title, about)| TagBuilder::new().name(*title).description(Some(*about)).build());
    OpenApiBuilder::new()
        .info(info.build())
        .paths(paths)
        .components(Some(components.schemas_from_iter(schemas).build()))
        .tags(Some(tags))
        .build()
}

/// Schemas by name. Panics where two types have one name: the document's test finds it.
fn each_once(schemas: Schemas) -> BTreeMap<String, RefOr<Schema>> {
    let mut named: BTreeMap<String, RefOr<Schema>> = BTreeMap::new();
    for (name, schema) in schemas {
        let other = named.insert(name.clone(), schema.clone());
        assert!(other.is_none_or(|other| other == schema), "two schemas are called `{name}`: give one of them another name");
    }
    named
}

/// The document as it is served and committed.
pub fn document_text() -> String {
    let mut text = document().to_pretty_json().expect("the document always serializes");
    text.push('\n');
    text
}

fn described(operation: &Operation, schemas: &mut Schemas) -> utoipa::openapi::path::Operation {
    let mut builder = OperationBuilder::new()
        .operation_id(Some(operation.id))
        .tag(operation.chapter.title())
        .summary(Some(operation.summary))
        .description(Some(about(operation)));
    for parameter in operation.parameters {
        builder = builder.parameter(self::parameter(parameter));
    }
    if let Some(body) = &operation.body {
        builder = builder.request_body(Some(request_body(body, schemas)));
    }
    for good in operation.good {
        builder = builder.response(good.status.to_string(), response(good, schemas));
    }
    for (status, codes) in statuses(&operation.codes()) {
        let words: Vec<&str> = codes.iter().map(|code| code.meaning().word).collect();
        let reference = Ref::builder().ref_location(format!("#/components/responses/{}", response_name(status)));
        builder = builder
            .response(status.to_string(), RefOr::<utoipa::openapi::Response>::Ref(reference.description(Some(words.join(", "))).build()));
    }
    match operation.scope {
        Some(_) => builder.security(SecurityRequirement::new(SECURITY, Vec::<String>::new())).build(),
        None => builder.securities(Some(Vec::new())).build(),
    }
}

fn about(operation: &Operation) -> String {
    let needs = match operation.scope {
        Some(scope) => format!("Needs a token with the scope `{}`.", scope.as_str()),
        None => "Needs no token.".to_string(),
    };
    if operation.about.is_empty() { needs } else { format!("{} {needs}", operation.about) }
}

/// Codes by their statuses, both in order.
fn statuses(codes: &[Code]) -> BTreeMap<u16, Vec<Code>> {
    let mut statuses: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in codes {
        let same = statuses.entry(code.status()).or_default();
        if !same.contains(code) {
            same.push(*code);
        }
    }
    statuses
}

fn response_name(status: u16) -> String {
    format!("Problem{status}")
}

fn problem(status: u16) -> utoipa::openapi::Response {
    let meanings: Vec<_> = crate::problem::CODES.iter().filter(|meaning| meaning.status == status).collect();
    let listed: Vec<String> =
        meanings.iter().map(|meaning| format!("- `{}`: {}. {}", meaning.word, meaning.title, meaning.about)).collect();
    let example = meanings.first().map(|meaning| {
        json!({
            "type": format!("/docs#{}", meaning.word), "title": meaning.title, "status": status, "code": meaning.word,
            "detail": meaning.about,
        })
    });
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).example(example).build();
    let mut response = ResponseBuilder::new().description(listed.join("\n")).content("application/problem+json", content);
    if status == 401 || status == 403 {
        response = response.header("WWW-Authenticate", text_header("Which kind of token is asked for (RFC 6750)."));
    }
    response.build()
}

fn text_header(about: &str) -> utoipa::openapi::Header {
    HeaderBuilder::new().schema(Some(ObjectBuilder::new().schema_type(Type::String).build())).description(Some(about)).build()
}

fn parameter(parameter: &Parameter) -> utoipa::openapi::path::Parameter {
    let example = match parameter.value {
        Value::Number(..) => parameter.example.parse::<u64>().map_or(json!(parameter.example), |number| json!(number)),
        Value::Boolean => json!(parameter.example == "true"),
        _ => json!(parameter.example),
    };
    ParameterBuilder::new()
        .name(parameter.name)
        .parameter_in(match parameter.place {
            Place::Path => ParameterIn::Path,
            Place::Query => ParameterIn::Query,
            Place::Header => ParameterIn::Header,
        })
        .required(if parameter.required { Required::True } else { Required::False })
        .description(Some(parameter.about))
        .schema(Some(value_schema(parameter.value)))
        .example(Some(example))
        .build()
}

/// What a definition's name looks like.
pub(crate) const NAME_PATTERN: &str = "^[a-z0-9][a-z0-9_-]{0,63}$";

/// What an event type's name looks like.
const EVENT_TYPE_PATTERN: &str = "^[a-z0-9][a-z0-9_-]*(\\.[a-z0-9][a-z0-9_-]*)*$";

fn value_schema(value: Value) -> Schema {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let schema = match value {
        Value::Name => text().pattern(Some(NAME_PATTERN)),
        Value::EventType => text().max_length(Some(64)).pattern(Some(EVENT_TYPE_PATTERN)),
        Value::Id(prefix) => text().pattern(Some(format!("^{prefix}[0-9a-z_]{{1,60}}$"))),
        Value::Text(longest) => text().min_length(Some(1)).max_length(Some(longest)),
        Value::Number(low, high) => ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(low as f64)).maximum(Some(high as f64)),
        Value::Boolean => ObjectBuilder::new().schema_type(Type::Boolean),
        Value::Word(words) => text().enum_values(Some(words())),
        Value::Time => text().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))),
        Value::Key => text().min_length(Some(1)).max_length(Some(255)).pattern(Some("^[!-~]([ -~]{0,253}[!-~])?$")),
        Value::Tag => text().pattern(Some("^(\\*|\"[0-9]{1,18}\")$")),
    };
    schema.build().into()
}

fn media_type(content: Content) -> &'static str {
    match content {
        Content::Json(_) | Content::OneOrLines(_) => "application/json",
        Content::Lines(_) => "application/x-ndjson",
        Content::Bytes => "application/octet-stream",
        Content::Text(kind) => kind,
    }
}

/// What stands under a media type. Of NDJSON the schema is that of one line.
fn media(content: Content, example: &str, schemas: &mut Schemas) -> utoipa::openapi::Content {
    let builder = ContentBuilder::new();
    let text = || Schema::from(ObjectBuilder::new().schema_type(Type::String).build());
    let example = (!example.is_empty()).then(|| match content {
        Content::Json(_) | Content::OneOrLines(_) => {
            serde_json::from_str(example).unwrap_or_else(|error| panic!("the example `{example}` is no JSON: {error}"))
        }
        _ => json!(example),
    });
    match content {
        Content::Json(collect) | Content::OneOrLines(collect) => builder.schema(Some(collect(schemas))),
        Content::Lines(collect) => {
            let line = collect(schemas);
            let about = match &line {
                RefOr::Ref(reference) => reference.ref_location.rsplit('/').next().unwrap_or_default().to_string(),
                RefOr::T(_) => "an object".to_string(),
            };
            let lines = ObjectBuilder::new().schema_type(Type::String).description(Some(format!("A JSON object a line: {about}.")));
            builder.schema(Some(Schema::from(lines.build())))
        }
        Content::Bytes => builder.schema(Some(
            ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary))).build(),
        )),
        Content::Text(_) => builder.schema(Some(text())),
    }
    .example(example)
    .build()
}

fn request_body(body: &Body, schemas: &mut Schemas) -> utoipa::openapi::request_body::RequestBody {
    let mut builder = RequestBodyBuilder::new()
        .description(Some(body.about))
        .required(Some(if body.required { Required::True } else { Required::False }))
        .content(media_type(body.content), media(body.content, body.example, schemas));
    if let Content::OneOrLines(collect) = body.content {
        let lines = Content::Lines(collect);
        builder = builder.content(media_type(lines), media(lines, &format!("{}\n", body.example), schemas));
    }
    builder.build()
}

fn response(good: &Good, schemas: &mut Schemas) -> utoipa::openapi::Response {
    let mut response = ResponseBuilder::new().description(good.about);
    if let Some(content) = good.content {
        response = response.content(media_type(content), media(content, good.example, schemas));
    }
    for (name, about) in good.headers {
        response = response.header(*name, text_header(about));
    }
    for link in good.links {
        response = response.link(link.name, self::link(link));
    }
    response.build()
}

fn link(link: &Link) -> utoipa::openapi::link::Link {
    let builder = utoipa::openapi::link::Link::builder().operation_id(link.operation);
    link.parameters.iter().fold(builder, |builder, (name, value)| builder.parameter(*name, *value)).build()
}

/// A page of a list: `items`, and `next` to go on with.
pub(crate) fn page_of(items: Collect, schemas: &mut Schemas) -> RefOr<Schema> {
    let items = items(schemas);
    let next = ObjectBuilder::new()
        .schema_type(utoipa::openapi::schema::SchemaType::from_iter([Type::String, Type::Null]))
        .description(Some("Give it as `after` to go on; null: nothing is left."));
    let list = utoipa::openapi::ArrayBuilder::new().items(items).max_items(Some(crate::parameters::MOST_ITEMS as usize));
    let page = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("items", list.build())
        .property("next", next.build())
        .required("items")
        .required("next");
    RefOr::T(page.build().into())
}
