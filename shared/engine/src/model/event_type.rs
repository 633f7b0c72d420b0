//! Event types: which events there are, and what their attributes are. Two come built in.

use serde_json::{Value, json};

/// A type of events.
#[derive(Clone, Debug, PartialEq)]
pub struct EventType {
    /// As events name it: `contact.subscribed`.
    pub id: String,
    /// Its label for people.
    pub name: String,
    /// What it is about.
    pub description: String,
    /// What is known of its attributes; others may be there too.
    pub attributes: Vec<Attribute>,
}

/// An attribute of the events of a type (GW-25). It stands in `data.contact`, or in `data` where there is no contact.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// Its member's name.
    pub key: String,
    /// What its values are; null is always fine.
    pub kind: AttributeKind,
    /// Its label for people.
    pub title: String,
    /// What it is about.
    pub description: String,
    /// Examples of its values.
    pub samples: Vec<Value>,
}

/// What the values of an attribute are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttributeKind {
    /// A whole number of 64 bits.
    Long,
    /// Any number.
    Number,
    /// A point in time, as RFC 3339 writes it.
    Timestamp,
    /// Text.
    Text,
    /// True or false.
    Boolean,
}

impl AttributeKind {
    /// All, with the words for them.
    pub const WORDS: [(&'static str, AttributeKind); 5] = [
        ("long", AttributeKind::Long),
        ("number", AttributeKind::Number),
        ("timestamp", AttributeKind::Timestamp),
        ("text", AttributeKind::Text),
        ("boolean", AttributeKind::Boolean),
    ];

    /// Why a value is none of this kind; `None`: it is one.
    pub fn refuses(self, value: &Value) -> Option<&'static str> {
        let fits = match self {
            _ if value.is_null() => true,
            AttributeKind::Long => value.is_i64(),
            AttributeKind::Number => value.is_number(),
            AttributeKind::Timestamp => value.as_str().is_some_and(|text| crate::time::parse_rfc3339(text).is_some()),
            AttributeKind::Text => value.is_string(),
            AttributeKind::Boolean => value.is_boolean(),
        };
        (!fits).then_some(match self {
            AttributeKind::Long => "must be a whole number of 64 bits, as in 5599999999999",
            AttributeKind::Number => "must be a number",
            AttributeKind::Timestamp => "must be a point in time like 2026-01-01T00:00:00.000Z",
            AttributeKind::Text => "must be a text",
            AttributeKind::Boolean => "must be true or false",
        })
    }
}

/// Key, kind, description and sample of what every contact event may have (GW-04 to GW-24).
const CONTACT: [(&str, AttributeKind, &str, &str); 20] = [
    ("msisdn", AttributeKind::Long, "Phone number.", "5599999999999"),
    ("profileCreatedAt", AttributeKind::Timestamp, "When the contact was first acquired.", "\"2022-11-24T09:59:41.163Z\""),
    ("source", AttributeKind::Text, "form, keyword, mobile_identity or import.", "\"form\""),
    ("source_value", AttributeKind::Text, "Which form, keyword, identity or import.", "\"csv\""),
    ("eshop_opt_in", AttributeKind::Boolean, "Whether the contact opted in.", "true"),
    ("last_eshop_opt_in_date", AttributeKind::Timestamp, "When the contact last opted in.", "\"2023-11-16T11:33:29.485Z\""),
    ("ecom_email", AttributeKind::Text, "The latest e-mail address.", "\"ada@example.com\""),
    ("ecom_signups_count", AttributeKind::Long, "How often the contact signed up.", "1"),
    ("ecom_device_type", AttributeKind::Text, "mobile or desktop.", "\"mobile\""),
    ("ecom_browser_name", AttributeKind::Text, "The browser.", "\"Firefox\""),
    ("ecom_locale", AttributeKind::Text, "The locale.", "\"pt-br\""),
    ("ecom_timezone", AttributeKind::Text, "The time zone.", "\"UTC-03:00\""),
    ("ecom_os_name", AttributeKind::Text, "The operating system.", "\"Android\""),
    ("ecom_signup_domain", AttributeKind::Text, "The domain that the contact signed up at.", "\"shop.example.com\""),
    ("ecom_signup_path", AttributeKind::Text, "The path that the contact signed up at.", "\"/lancamentos\""),
    ("ecom_signup_referrer_url", AttributeKind::Text, "Where the contact came from.", "\"https://example.com/\""),
    ("last_order_date", AttributeKind::Timestamp, "When the contact last ordered.", "\"2023-11-16T11:33:29.485Z\""),
    ("ecom_total_order_count", AttributeKind::Long, "How often the contact ordered.", "3"),
    ("ecom_total_order_amount", AttributeKind::Long, "What the contact ordered for.", "4200"),
    ("last_click_date", AttributeKind::Timestamp, "When the contact last clicked.", "\"2023-11-16T11:33:29.485Z\""),
];

/// The types that come built in (GW-02, GW-03).
pub fn built_in() -> [EventType; 2] {
    let attributes: Vec<Attribute> = CONTACT
        .iter()
        .map(|(key, kind, description, sample)| Attribute {
            key: (*key).to_string(),
            kind: *kind,
            title: key.replace('_', " "),
            description: (*description).to_string(),
            samples: serde_json::from_str(sample).into_iter().collect(),
        })
        .collect();
    let of = |id: &str, name: &str, description: &str| EventType {
        id: id.to_string(),
        name: name.to_string(),
        description: description.to_string(),
        attributes: attributes.clone(),
    };
    [
        of("contact.subscribed", "Contact subscribes", "The contact subscribed to the list, by an on-site campaign for example."),
        of("contact.unsubscribed", "Contact unsubscribes", "The contact has unsubscribed."),
    ]
}

impl EventType {
    /// The `data` of a sample event.
    pub fn sample(&self) -> Value {
        let values =
            self.attributes.iter().map(|attribute| (attribute.key.clone(), attribute.samples.first().cloned().unwrap_or(Value::Null)));
        json!({"contact": values.collect::<serde_json::Map<_, _>>()})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GW-02 to GW-25.
    #[test]
    fn both_contact_events_come_with_twenty_attributes_whose_samples_are_of_their_kind() {
        for event_type in built_in() {
            assert_eq!(event_type.attributes.len(), 20);
            for attribute in &event_type.attributes {
                let [sample] = attribute.samples.as_slice() else { panic!("{} has no sample", attribute.key) };
                assert_eq!(attribute.kind.refuses(sample), None, "{}", attribute.key);
            }
        }
        assert!(AttributeKind::Long.refuses(&json!(1.5)).is_some());
        assert!(AttributeKind::Long.refuses(&json!("5599999999999")).is_some());
        assert!(AttributeKind::Timestamp.refuses(&json!("yesterday")).is_some());
        assert!(AttributeKind::Boolean.refuses(&Value::Null).is_none());
    }
}
