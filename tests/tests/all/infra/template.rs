//! The template as the tests ask it: resources by type, values of parameters, conditions for given parameters. It must not say what is
//! right.

use serde_json::Value;
use std::path::{Path, PathBuf};

/// The repository's folder.
pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace").to_path_buf()
}

/// A file of the repository.
pub(super) fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// `infra/template.yaml`.
pub(super) struct Template(pub(super) Value);

/// A resource: its name and all that stands under it.
pub(super) type Resource<'a> = (&'a str, &'a Value);

impl Template {
    pub(super) fn read() -> Template {
        Template(super::yaml::read(&text("infra/template.yaml")))
    }

    /// What stands in a part of it: names and values, in the order of the file.
    pub(super) fn part(&self, name: &str) -> impl Iterator<Item = Resource<'_>> {
        let part = self.0[name].as_object().unwrap_or_else(|| panic!("the template has {name}"));
        part.iter().map(|(name, value)| (name.as_str(), value))
    }

    pub(super) fn of_type(&self, kind: &str) -> Vec<Resource<'_>> {
        let found: Vec<Resource<'_>> = self.part("Resources").filter(|(_, resource)| resource["Type"] == kind).collect();
        assert!(!found.is_empty(), "the template has no {kind}");
        found
    }

    pub(super) fn functions(&self) -> Vec<Resource<'_>> {
        self.of_type("AWS::Serverless::Function")
    }

    pub(super) fn properties(&self, resource: &str) -> &Value {
        let found = &self.0["Resources"][resource]["Properties"];
        assert!(found.is_object(), "there is no resource {resource} with properties");
        found
    }

    /// Events of one type: function, event, properties.
    pub(super) fn events(&self, kind: &str) -> Vec<(&str, &str, &Value)> {
        let mut found = Vec::new();
        for (function, resource) in self.functions() {
            let events = resource["Properties"]["Events"].as_object().expect("a function has events");
            for (name, event) in events.iter().filter(|(_, event)| event["Type"] == kind) {
                found.push((function, name.as_str(), &event["Properties"]));
            }
        }
        assert!(!found.is_empty(), "no function has an event of type {kind}");
        found
    }

    /// Queue and function of each event that polls one.
    pub(super) fn polled(&self) -> Vec<(&str, &str)> {
        self.events("SQS").into_iter().map(|(function, _, event)| (target(&event["Queue"]), function)).collect()
    }

    /// The dead-letter queue that a queue names.
    pub(super) fn dead_letters_of(&self, queue: &str) -> Option<&str> {
        let policy = &self.properties(queue)["RedrivePolicy"];
        policy.is_object().then(|| target(&policy["deadLetterTargetArn"]))
    }

    /// What a parameter is where nobody says otherwise.
    fn default_of(&self, parameter: &str) -> &Value {
        &self.0["Parameters"][parameter]["Default"]
    }

    /// Whether a condition holds, with these parameters and the others as they are by default.
    pub(super) fn holds(&self, condition: &str, given: &[(&str, &str)]) -> bool {
        self.test(&self.0["Conditions"][condition], given)
    }

    fn test(&self, value: &Value, given: &[(&str, &str)]) -> bool {
        let (name, value) = only(value);
        let all = || value.as_array().expect("a list").iter().map(|value| self.test(value, given));
        match name {
            "Condition" => self.holds(value.as_str().expect("a name"), given),
            "Fn::Not" => !all().next().expect("one"),
            "Fn::And" => all().all(|holds| holds),
            "Fn::Or" => all().any(|holds| holds),
            "Fn::Equals" => self.value(&value[0], given) == self.value(&value[1], given),
            other => panic!("{other} in a condition"),
        }
    }

    fn value(&self, value: &Value, given: &[(&str, &str)]) -> Value {
        let Some(parameter) = value["Ref"].as_str() else { return value.clone() };
        let given = given.iter().find(|(name, _)| *name == parameter).map(|(_, value)| Value::from(*value));
        given.unwrap_or_else(|| self.default_of(parameter).clone())
    }
}

/// The one key of a map, and its value.
pub(super) fn only(value: &Value) -> (&str, &Value) {
    let map = value.as_object().filter(|map| map.len() == 1).unwrap_or_else(|| panic!("a function of CloudFormation, not {value}"));
    map.iter().next().map(|(name, value)| (name.as_str(), value)).expect("one")
}

/// The resource that a `!Ref` or `!GetAtt` names.
pub(super) fn target(value: &Value) -> &str {
    value["Ref"].as_str().or_else(|| value["Fn::GetAtt"][0].as_str()).unwrap_or_else(|| panic!("{value} names no resource"))
}

/// A list of texts.
pub(super) fn texts(value: &Value) -> Vec<&str> {
    let list = value.as_array().unwrap_or_else(|| panic!("a list, not {value}"));
    list.iter().map(|item| item.as_str().unwrap_or_else(|| panic!("a text, not {item}"))).collect()
}
