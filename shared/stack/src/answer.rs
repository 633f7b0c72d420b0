//! What a function tells SQS of a batch: which of its messages are to come again. It must not decide which.

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse};

/// The answer to a batch of which these messages (by their ids) are to come again.
pub fn answer(failures: Vec<String>) -> SqsBatchResponse {
    let mut response = SqsBatchResponse::default();
    response.batch_item_failures = failures
        .into_iter()
        .map(|id| {
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = id;
            failure
        })
        .collect();
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C5: Lambda takes an answer of another shape for complete success.
    #[test]
    fn the_answer_names_failures_as_lambda_reads_them() {
        let text = serde_json::to_string(&answer(vec!["one".into(), "two".into()])).unwrap();
        assert_eq!(text, r#"{"batchItemFailures":[{"itemIdentifier":"one"},{"itemIdentifier":"two"}]}"#);
        assert_eq!(serde_json::to_string(&answer(vec![])).unwrap(), r#"{"batchItemFailures":[]}"#);
    }
}
