//! What AWS answered, as text for an operator: which call, on what, and what to do. It must not repeat what was sent.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use engine::port::PortError;

/// `Failed`, for a call that did not come to its end. `what` is like `DynamoDB PutItem on table penstock`.
pub(crate) fn failed<E: ProvideErrorMetadata, R>(what: &str, error: &SdkError<E, R>) -> PortError {
    let why = match error {
        SdkError::ServiceError(answer) => {
            let answer = answer.err();
            let code = answer.code().unwrap_or("an error without a code");
            let message = answer.message().map(|message| format!(" ({message})")).unwrap_or_default();
            format!("was answered with {code}{message}{}", way_out(code))
        }
        SdkError::TimeoutError(_) => "had no answer in time: AWS may have done it all the same".to_owned(),
        SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
            Some(cause) => format!("did not reach AWS: {}", chain(cause)),
            None => "did not reach AWS".to_owned(),
        },
        SdkError::ResponseError(_) => "had an answer that is none of AWS: is AWS_ENDPOINT_URL right?".to_owned(),
        _ => "could not be built".to_owned(),
    };
    PortError::Failed(format!("{what} {why}"))
}

fn way_out(code: &str) -> &'static str {
    match code {
        "ThrottlingException" | "ProvisionedThroughputExceededException" | "RequestLimitExceeded" | "RequestThrottled" => {
            ": tried several times; it passes by itself, or the account's quota must be raised"
        }
        "AccessDeniedException" | "AccessDenied" => ": the function's role lacks this call",
        "ResourceNotFoundException" | "QueueDoesNotExist" | "NotFoundException" => ": is the stack whole, and its name right?",
        "ExpiredTokenException" | "UnrecognizedClientException" | "InvalidClientTokenId" => ": are the credentials right?",
        _ => "",
    }
}

/// An error with what caused it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    // No chain of causes is longer, unless it goes round.
    for _ in 0..10 {
        let Some(error) = cause else { break };
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
