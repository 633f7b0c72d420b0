//! Templates by tables, by two properties, and against the `handlebars` crate where both should agree.

mod bodies;
mod limits;
mod oracle;
mod syntax;
mod urls;

use serde_json::{Map, Value, json};

use super::{Content, RenderError, Row, Scope, Template};

/// A scope's data, owned: rows as objects.
struct World {
    names: Vec<Vec<String>>,
    values: Vec<Vec<Value>>,
    roots: Vec<(String, Value)>,
    individual: bool,
    previous: Option<usize>,
}

impl World {
    /// One request with one row.
    fn individual(row: Value) -> World {
        World { individual: true, ..World::batched([row]) }
    }

    /// One request with these rows.
    fn batched(rows: impl IntoIterator<Item = Value>) -> World {
        let mut world = World { names: Vec::new(), values: Vec::new(), roots: Vec::new(), individual: false, previous: None };
        rows.into_iter().for_each(|row| world.push(row));
        world
    }

    fn push(&mut self, row: Value) {
        let Value::Object(fields) = row else { panic!("a row is an object, not {row}") };
        let (names, values) = fields.into_iter().unzip();
        self.names.push(names);
        self.values.push(values);
    }

    fn root(mut self, name: &str, value: Value) -> World {
        self.roots.push((name.to_owned(), value));
        self
    }

    /// Adds a row that is not sent, but was before.
    fn previous(mut self, row: Value) -> World {
        self.push(row);
        self.previous = Some(self.names.len() - 1);
        self
    }

    fn with<R>(&self, run: impl FnOnce(&Scope<'_>) -> R) -> R {
        let all: Vec<Row<'_>> = self.names.iter().zip(&self.values).map(|(names, values)| Row::new(names, values)).collect();
        let sent = self.previous.unwrap_or(all.len());
        let roots: Vec<(&str, &Value)> = self.roots.iter().map(|(name, value)| (name.as_str(), value)).collect();
        let previous = self.previous.map(|index| all[index]);
        run(&Scope { rows: &all[..sent], individual: self.individual, previous, roots: &roots })
    }

    fn render(&self, source: &str, content: Content) -> Result<String, RenderError> {
        let template = compile(source, content);
        self.with(|scope| template.render(scope))
    }

    fn json(&self, source: &str) -> String {
        self.render(source, Content::Json).unwrap_or_else(|error| panic!("{source}: {error}"))
    }

    fn text(&self, source: &str) -> String {
        self.render(source, Content::Text).unwrap_or_else(|error| panic!("{source}: {error}"))
    }
}

fn compile(source: &str, content: Content) -> Template {
    Template::compile(source, content).unwrap_or_else(|error| panic!("{source}: {error}"))
}

fn empty() -> World {
    World::individual(Value::Object(Map::new()))
}

/// Strings that spoil whatever trusts them.
const NAUGHTY: [&str; 24] = [
    "",
    "x",
    "O'Brien & Sons \"x\"\n",
    "x\",\"admin\":true,\"y\":\"z",
    "\"",
    "\\",
    "\\\"",
    "}",
    "]]}}",
    ",",
    "{{user.id}}",
    "{{#each users}}",
    "\u{0}",
    "\u{1}\u{1f}\u{7f}",
    "\r\n\t\u{8}\u{c}",
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "%2e%2e",
    "//evil.example/x",
    "a?b#c&d=e",
    "\u{2028}\u{2029}\u{feff}",
    "😀 ünïcödé",
    "null",
    "-1e999",
];

fn sample() -> World {
    World::batched([json!({"id": "1", "email": "a@x.org"}), json!({"id": "2", "email": "b@x.org"}), json!({"id": "3", "email": null})])
}

#[test]
fn a_template_and_its_scope_are_shared_between_threads() {
    fn assert_shared<T: Send + Sync>() {}
    assert_shared::<Template>();
    assert_shared::<super::UrlTemplate>();
    assert_shared::<Scope<'_>>();
}
