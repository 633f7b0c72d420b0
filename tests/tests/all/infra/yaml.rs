//! Reads a CloudFormation template into JSON: `!Ref X` and its like become what they are short for. It must not know what a template
//! means, and it need not bear what nobody writes there: it panics at aliases, and at keys that stand twice.

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::{Map, Value};

/// Reads one document.
pub(super) fn read(text: &str) -> Value {
    let mut open: Vec<Frame> = Vec::new();
    let mut root = None;
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.unwrap_or_else(|error| panic!("not YAML: {error}"));
        let value = match event {
            Event::MappingStart(_, tag) => {
                open.push(Frame::new(tag.as_deref(), Kind::Map(Map::new(), None)));
                continue;
            }
            Event::SequenceStart(_, tag) => {
                open.push(Frame::new(tag.as_deref(), Kind::List(Vec::new())));
                continue;
            }
            Event::MappingEnd | Event::SequenceEnd => open.pop().expect("what ends has begun").close(),
            Event::Scalar(text, style, _, tag) => {
                if let Some(Frame { kind: Kind::Map(map, key @ None), .. }) = open.last_mut() {
                    assert!(!map.contains_key(text.as_ref()), "line {}: `{text}` stands there twice", span.start.line());
                    *key = Some(text.to_string());
                    continue;
                }
                short(tag.as_deref(), scalar(&text, style))
            }
            Event::Alias(_) => panic!("line {}: CloudFormation knows no aliases", span.start.line()),
            _ => continue,
        };
        match open.last_mut().map(|frame| &mut frame.kind) {
            None => root = Some(value),
            Some(Kind::List(items)) => items.push(value),
            Some(Kind::Map(map, key)) => {
                map.insert(key.take().expect("a value has a key"), value);
            }
        }
    }
    root.expect("a document")
}

/// A list or map that is not closed yet.
struct Frame {
    tag: Option<Tag>,
    kind: Kind,
}

enum Kind {
    List(Vec<Value>),
    /// With the key whose value comes next.
    Map(Map<String, Value>, Option<String>),
}

impl Frame {
    fn new(tag: Option<&Tag>, kind: Kind) -> Frame {
        Frame { tag: tag.cloned(), kind }
    }

    fn close(self) -> Value {
        let value = match self.kind {
            Kind::List(items) => Value::Array(items),
            Kind::Map(map, _) => Value::Object(map),
        };
        short(self.tag.as_ref(), value)
    }
}

/// The long form of what a tag makes of a value.
fn short(tag: Option<&Tag>, value: Value) -> Value {
    let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema()) else { return value };
    let (name, value) = match (tag.suffix.as_str(), value) {
        (name @ ("Ref" | "Condition"), value) => (name.to_string(), value),
        ("GetAtt", Value::String(path)) => {
            let (resource, attribute) = path.split_once('.').expect("!GetAtt names resource and attribute");
            ("Fn::GetAtt".to_string(), serde_json::json!([resource, attribute]))
        }
        (name, value) => (format!("Fn::{name}"), value),
    };
    Value::Object(Map::from_iter([(name, value)]))
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::from(text);
    }
    match text {
        "" | "~" | "null" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => text.parse::<i64>().map_or_else(|_| Value::from(text), Value::from),
    }
}

#[test]
fn short_forms_become_what_they_are_short_for() {
    let read = read("a: !Ref B\nb: !GetAtt C.Arn\nc: !If [D, !Sub \"${E}\", 7]\nd: !Not [!Condition F]\n");
    let long = serde_json::json!({
        "a": {"Ref": "B"},
        "b": {"Fn::GetAtt": ["C", "Arn"]},
        "c": {"Fn::If": ["D", {"Fn::Sub": "${E}"}, 7]},
        "d": {"Fn::Not": [{"Condition": "F"}]},
    });
    assert_eq!(read, long);
}
