//! What a write expects, in DynamoDB's words, and what its refusal means: a retry of a write that took place meets itself. It must not call
//! anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_dynamodb::config::interceptors::FinalizerInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::types::AttributeValue;
use engine::port::{Expect, PortError};

use super::item::{Item, number, version_of};

/// A condition, and the values it names.
pub(super) struct Condition {
    /// The expression.
    pub(super) expression: &'static str,
    /// Its values.
    pub(super) values: Vec<(String, AttributeValue)>,
}

/// What must hold; `None` where anything may. An expired document counts as absent, since DynamoDB deletes it days later.
pub(super) fn of(expect: Expect, now: u64) -> Option<Condition> {
    let now = (":now".to_owned(), number(now));
    match expect {
        Expect::Any => None,
        Expect::Absent => Some(Condition { expression: "attribute_not_exists(pk) OR x < :now", values: vec![now] }),
        Expect::At(version) => Some(Condition {
            expression: "v = :v AND (attribute_not_exists(x) OR x >= :now)",
            values: vec![now, (":v".to_owned(), number(version))],
        }),
    }
}

/// Sees whether a try ended so that it may have taken place: then the refusal of a later one says nothing of what was written.
#[derive(Clone, Debug, Default)]
pub(super) struct Doubt(Arc<AtomicBool>);

impl Doubt {
    /// Whether one did.
    pub(super) fn is_there(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Intercept for Doubt {
    fn name(&self) -> &'static str {
        "Doubt"
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // Refusals are 4xx, throttling included, and tell that nothing was written. No answer, or 5xx, tells nothing.
        let refused = context.response().is_some_and(|response| response.status().is_client_error());
        if !refused && !matches!(context.output_or_error(), Some(Ok(_))) {
            self.0.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// What the refusal of a put at `version` means, `found` being what is there.
pub(super) fn refused_put(found: Option<&Item>, version: u64, doubt: &Doubt) -> Result<u64, PortError> {
    if found.and_then(version_of) == Some(version) {
        // The first try took place, and its answer was lost.
        return Ok(version);
    }
    Err(refusal(doubt))
}

/// What the refusal of a deletion means.
pub(super) fn refused_delete(found: Option<&Item>, doubt: &Doubt) -> PortError {
    // What is there was not deleted by us; where nothing is, it may have been us or another.
    if found.is_some() { PortError::Conflict } else { refusal(doubt) }
}

fn refusal(doubt: &Doubt) -> PortError {
    if doubt.is_there() {
        let message = "DynamoDB refused the second try of a write whose first try had no answer: whether it took place is not known";
        return PortError::Failed(message.to_owned());
    }
    PortError::Conflict
}
