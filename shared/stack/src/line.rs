//! Lines for CloudWatch: one JSON object a line on standard output. They must hold no row, no secret and no URL.

use serde_json::{Map, Value};

/// Something worth knowing has happened.
pub fn note(message: &str, fields: &[(&str, &str)]) {
    print("info", message, fields);
}

/// Something of ours failed; what follows from it is in the message.
pub fn trouble(message: &str, fields: &[(&str, &str)]) {
    print("error", message, fields);
}

fn print(level: &str, message: &str, fields: &[(&str, &str)]) {
    let mut line = Map::new();
    line.insert("level".to_string(), level.into());
    line.insert("message".to_string(), message.into());
    line.extend(fields.iter().map(|(key, value)| ((*key).to_string(), Value::from(*value))));
    println!("{}", Value::Object(line));
}
