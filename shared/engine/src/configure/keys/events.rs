//! The keys of requests, rules and event types.

use super::{Section, key};

pub(in crate::configure) static REQUEST: Section = Section {
    place: "requests.<name>",
    about: "A pull of JSON from any HTTP API, run by rules before they deliver. Its response must be a 2xx with a JSON object or list.",
    keys: &[
        key("name", "text", "its name in the file", "Customer profile", "Its label."),
        key("enabled", "true \\| false", "true", "false", "The switch: the fetch of one that is off fails."),
        key("method", "GET \\| POST \\| PUT \\| PATCH \\| DELETE", "GET", "POST", "The method."),
        key(
            "url",
            "template",
            "",
            "\"https://profiles.example.com/v1/{{contact.id}}\"",
            "A whole URL; scheme, host and port are literal text. Plain http to public addresses goes only from a rule whose destination allows it.",
        ),
        key("query", "object of templates", "{}", "{source: penstock}", "Query parameters, appended to the URL's own."),
        key("headers", "object of templates", "{}", "{Accept: application/json}", "Headers."),
        key(
            "body",
            "template, object or null",
            "null",
            "'{\"id\": \"{{contact.id}}\"}'",
            "A text is a template for JSON; null sends none.",
        ),
        key("timeout_seconds", "number, 0.1 to 60", "10", "10", "From the first attempt to connect to the last byte of the response."),
        key("max_response_bytes", "whole number, 1 to 5242880", "1048576", "65536", "A longer response is a failure."),
    ],
};

pub(in crate::configure) static RULE: Section = Section {
    place: "rules.<name>",
    about: "What is sent when an event comes. The rule as it is when the event comes is the one that counts.",
    keys: &[
        key("name", "text", "its name in the file", "Welcome", "Its label."),
        key("enabled", "true \\| false", "true", "false", "The switch."),
        key("on", "event type", "", "contact.subscribed", "The type of events that it is for."),
        key(
            "when",
            "JMESPath",
            "always",
            "\"data.source == 'form'\"",
            "Over the event: it goes on where that is neither false nor null nor empty.",
        ),
        key(
            "ordering",
            "per_key \\| none",
            "per_key",
            "none",
            "`per_key`: events with the same key arrive at a destination in order, one after the other; one that waits for its retry blocks its key alone.",
        ),
        key(
            "key",
            "JMESPath",
            "the contact's id, msisdn, email, ecom_email or phone",
            "data.order.customer",
            "Over the event: whose it is. Events in which it finds nothing are in nobody's way.",
        ),
        key(
            "steps",
            "list of objects",
            "",
            "[{deliver: {destination: crm, action: add}}]",
            "What is done, in order; one of them delivers.",
        ),
    ],
};

pub(in crate::configure) static STEP: Section = Section {
    place: "rules.<name>.steps[]",
    about: "One step: `fetch` or `deliver`. Each `deliver` is a delivery of its own, and runs the fetches before it for itself.",
    keys: &[
        key("fetch", "object", "none", "{request: customer_profile, output: customer_profile}", "Runs a request and keeps its JSON."),
        key("deliver", "object", "none", "{destination: crm, action: add}", "Sends a request to a destination."),
    ],
};

pub(in crate::configure) static FETCH: Section = Section {
    place: "rules.<name>.steps[].fetch",
    about: "Runs a request and keeps its JSON: templates of later steps see it as `workflow.<output>`.",
    keys: &[
        key("request", "name of a request", "", "customer_profile", "Which request."),
        key("output", "output key", "", "customer_profile", "The key: a-z, 0-9 and _, starting with a letter; once in a rule."),
        key(
            "on_failure",
            "stop \\| continue",
            "stop",
            "continue",
            "`stop`: the delivery fails, after the destination's retries where trying again may help. `continue`: it goes on without the output.",
        ),
    ],
};

pub(in crate::configure) static DELIVER: Section = Section {
    place: "rules.<name>.steps[].deliver",
    about: "Sends a request to a destination, through its lane: its limits, retries and credential hold.",
    keys: &[
        key("destination", "name of a destination", "", "crm", "Where to."),
        key("action", "add \\| update \\| remove", "", "add", "Which of its actions; the contact takes the place of the row."),
        key(
            "variables",
            "object of templates",
            "{}",
            "{contact_email: \"{{contact.email}}\"}",
            "What the action sees as `variables.<name>`, and its URL as `{name}`.",
        ),
    ],
};

pub(in crate::configure) static EVENT_TYPE: Section = Section {
    place: "event_types.<name>",
    about: "A type of events. Its name may have dots between words.",
    keys: &[
        key("name", "text", "its name in the file", "Order placed", "Its label."),
        key("description", "text", "none", "A customer has ordered.", "What it is about."),
        key(
            "attributes",
            "list of objects",
            "[]",
            "[{key: total, type: number}]",
            "What is checked of its events; other attributes may be there too.",
        ),
    ],
};

pub(in crate::configure) static ATTRIBUTE: Section = Section {
    place: "event_types.<name>.attributes[]",
    about: "An attribute: a member of `data.contact`, or of `data` where there is no contact. It may be null or missing.",
    keys: &[
        key("key", "text", "", "total", "The member's name."),
        key(
            "type",
            "long \\| number \\| timestamp \\| text \\| boolean",
            "",
            "number",
            "What its values are; a long is a whole number of 64 bits.",
        ),
        key("title", "text", "its key", "Total", "Its label."),
        key("description", "text", "none", "What the order costs.", "What it is about."),
        key("samples", "list of values", "[]", "[42.5]", "Examples of its values."),
    ],
};
