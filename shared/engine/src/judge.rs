//! What an exchange means: the one place that turns an answer into a verdict.

use crate::model::action::Action;
use crate::model::export::OnPartial;
use crate::model::retry::RetryPolicy;
use crate::model::status::StatusSet;
use crate::port::{Exchange, FailureReason, Response};
use crate::success_path::SuccessPath;
use serde::{Deserialize, Serialize};

/// The outcome classes of an attempt (contract.md; VX-23 to VX-32).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Class {
    /// VX-23, or what `success` says.
    Success = 0,
    /// VX-24: 300 to 399; never followed.
    RedirectionError = 1,
    /// VX-26: 429.
    TooManyRequestsError = 2,
    /// VX-27: 400 to 499 other than 429.
    ClientError = 3,
    /// VX-28: 500 and above.
    ServerError = 4,
    /// VX-29: could not be sent, or the connection broke.
    NetworkError = 5,
    /// VX-30: too slow to handle the request and complete its response.
    TimeoutError = 6,
    /// VX-31: the credential is not there.
    AuthConfigError = 7,
    /// VX-32: our own fault.
    InternalError = 8,
    /// A template could not be rendered, or what it rendered cannot be sent.
    RenderError = 9,
    /// The address is not allowed.
    PolicyError = 10,
    /// A success by its status, but `success_path` said no or could not be read.
    ResponseError = 11,
}

impl Class {
    /// All twelve, in order.
    pub const ALL: [Class; 12] = [
        Class::Success,
        Class::RedirectionError,
        Class::TooManyRequestsError,
        Class::ClientError,
        Class::ServerError,
        Class::NetworkError,
        Class::TimeoutError,
        Class::AuthConfigError,
        Class::InternalError,
        Class::RenderError,
        Class::PolicyError,
        Class::ResponseError,
    ];

    /// The word that documents use.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Success => "success",
            Class::RedirectionError => "redirection_error",
            Class::TooManyRequestsError => "too_many_requests_error",
            Class::ClientError => "client_error",
            Class::ServerError => "server_error",
            Class::NetworkError => "network_error",
            Class::TimeoutError => "timeout_error",
            Class::AuthConfigError => "auth_config_error",
            Class::InternalError => "internal_error",
            Class::RenderError => "render_error",
            Class::PolicyError => "policy_error",
            Class::ResponseError => "response_error",
        }
    }

    /// The class of that word.
    pub fn parse(text: &str) -> Option<Class> {
        Class::ALL.into_iter().find(|class| class.as_str() == text)
    }

    /// The class of that number in a packed segment.
    pub fn from_number(number: u8) -> Option<Class> {
        Class::ALL.get(usize::from(number)).copied()
    }
}

/// What an attempt came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The outcome class.
    pub class: Class,
    /// The status, if a response came.
    pub status: Option<u16>,
    /// How many of the rows succeeded.
    pub succeeded: u64,
    /// Whether the request may have taken effect although it did not succeed (semantics.md 2).
    pub uncertain: bool,
    /// Whether the policy allows another attempt, were there any left.
    pub retryable: bool,
    /// Whether it counts towards opening the circuit.
    pub destination_down: bool,
    /// Seconds that the destination asked to wait, at most an hour; slows all of it.
    pub retry_after_seconds: Option<f64>,
    /// Why, for a person; a lowercase fragment.
    pub error: Option<String>,
}

/// No Retry-After is honoured beyond this (semantics.md 21).
const LONGEST_RETRY_AFTER_SECONDS: f64 = 3600.0;

/// What counts as success for a delivery.
#[derive(Debug)]
pub struct SuccessRule<'a> {
    /// Statuses.
    pub statuses: &'a StatusSet,
    /// GL-54.
    pub path: Option<&'a SuccessPath>,
    /// What fewer than sent means.
    pub on_partial: OnPartial,
}

impl<'a> SuccessRule<'a> {
    /// Of an action.
    pub fn of(action: &'a Action, path: Option<&'a SuccessPath>, on_partial: OnPartial) -> SuccessRule<'a> {
        SuccessRule { statuses: &action.success, path, on_partial }
    }
}

/// Judges an exchange of a request that carried `rows` rows. `wall` is the time of the answer, Unix microseconds, for a
/// Retry-After that is a date.
pub fn judge(exchange: &Exchange, rows: u64, rule: &SuccessRule, retry: &RetryPolicy, wall: u64) -> Verdict {
    match exchange {
        Exchange::Response(response) => judge_response(response, rows, rule, retry, wall),
        Exchange::Failure { reason, message, maybe_sent } => judge_failure(*reason, message, *maybe_sent, retry),
    }
}

fn judge_response(response: &Response, rows: u64, rule: &SuccessRule, retry: &RetryPolicy, wall: u64) -> Verdict {
    let status = response.status;
    if rule.statuses.contains(status) && !(300..400).contains(&status) {
        return judge_success(response, rows, rule);
    }
    let class = match status {
        0..200 => Class::NetworkError,
        200..300 => Class::ResponseError,
        300..400 => Class::RedirectionError,
        429 => Class::TooManyRequestsError,
        400..500 => Class::ClientError,
        500.. => Class::ServerError,
    };
    let wait = response.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("retry-after"));
    let wait = match (wait, class) {
        (Some((_, value)), Class::TooManyRequestsError | Class::ServerError) => read_retry_after(value, wall),
        _ => RetryAfter::Unreadable,
    };
    let retryable = retry.enabled && retry.statuses.contains(status) && wait != RetryAfter::Stop;
    Verdict {
        class,
        status: Some(status),
        succeeded: 0,
        uncertain: matches!(class, Class::ServerError | Class::NetworkError | Class::ResponseError),
        retryable,
        destination_down: class == Class::ServerError && retry.statuses.contains(status),
        retry_after_seconds: match wait {
            RetryAfter::Seconds(seconds) => Some(seconds),
            _ => None,
        },
        error: Some(format!("the destination answered {status}")),
    }
}

fn judge_success(response: &Response, rows: u64, rule: &SuccessRule) -> Verdict {
    let status = Some(response.status);
    let done = |succeeded, error| Verdict {
        class: Class::Success,
        status,
        succeeded,
        uncertain: false,
        retryable: false,
        destination_down: false,
        retry_after_seconds: None,
        error,
    };
    let Some(path) = rule.path else { return done(rows, None) };
    let refused = |succeeded, error| Verdict { class: Class::ResponseError, uncertain: true, ..done(succeeded, Some(error)) };
    if response.truncated {
        return refused(0, "the response is too long for success_path to be read".to_string());
    }
    match path.count(&response.body, rows as usize) {
        Ok(count) if count >= rows => done(rows, None),
        Ok(count) if rule.on_partial == OnPartial::Accept => done(count, Some(format!("success_path counted {count} of {rows} rows"))),
        Ok(count) => refused(0, format!("success_path counted {count} of {rows} rows")),
        Err(why) => refused(0, why),
    }
}

fn judge_failure(reason: FailureReason, message: &str, maybe_sent: bool, retry: &RetryPolicy) -> Verdict {
    let class = match reason {
        FailureReason::Policy => Class::PolicyError,
        FailureReason::Unsendable => Class::RenderError,
        FailureReason::Timeout => Class::TimeoutError,
        FailureReason::TooLarge => Class::ResponseError,
        FailureReason::Dns | FailureReason::Connect | FailureReason::Tls | FailureReason::Broken => Class::NetworkError,
    };
    let retryable = match class {
        Class::TimeoutError => retry.timeout,
        Class::NetworkError => retry.network,
        _ => false,
    };
    Verdict {
        class,
        status: None,
        succeeded: 0,
        uncertain: maybe_sent,
        retryable: retry.enabled && retryable,
        destination_down: matches!(class, Class::TimeoutError | Class::NetworkError),
        retry_after_seconds: None,
        error: Some(message.to_string()),
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum RetryAfter {
    Seconds(f64),
    /// A negative number: do not try this request again (the rule of EventBridge API destinations).
    Stop,
    Unreadable,
}

/// Retry-After as RFC 9110 10.2.3 has it: seconds (a fraction is taken too) or an IMF-fixdate.
fn read_retry_after(value: &str, wall: u64) -> RetryAfter {
    let value = value.trim();
    if value.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'-') {
        return match value.parse::<f64>() {
            Ok(seconds) if seconds < 0.0 => RetryAfter::Stop,
            Ok(seconds) if seconds.is_finite() => RetryAfter::Seconds(seconds.min(LONGEST_RETRY_AFTER_SECONDS)),
            _ => RetryAfter::Unreadable,
        };
    }
    match jiff::fmt::rfc2822::parse(value) {
        Ok(date) => {
            let wait = date.timestamp().as_second() as f64 - wall as f64 / 1e6;
            RetryAfter::Seconds(wait.clamp(0.0, LONGEST_RETRY_AFTER_SECONDS))
        }
        Err(_) => RetryAfter::Unreadable,
    }
}

/// The delay before attempt `attempt + 1`, microseconds: doubling from the first delay, with full jitter (`chance` in 0..1),
/// never above the longest (GL-20).
pub fn backoff(retry: &RetryPolicy, attempt: u32, chance: f64) -> u64 {
    let ceiling = (retry.first_delay_seconds * 2f64.powi(attempt.saturating_sub(1).min(30) as i32)).min(retry.max_delay_seconds);
    (ceiling * chance * 1e6) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, headers: &[(&str, &str)], body: &str) -> Exchange {
        let headers = headers.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        Exchange::Response(Response { status, headers, body: body.into(), truncated: false })
    }

    fn plain(exchange: &Exchange) -> Verdict {
        let statuses = StatusSet::two_hundreds();
        let rule = SuccessRule { statuses: &statuses, path: None, on_partial: OnPartial::NextRun };
        judge(exchange, 1, &rule, &RetryPolicy::default(), 784_111_777_000_000)
    }

    /// VX-23, 24, 26, 27, 28; HT-47; GL-18, GL-19, GL-58
    #[test]
    fn every_status_has_its_class() {
        let table = [
            (200, Class::Success, false),
            (204, Class::Success, false),
            (299, Class::Success, false),
            (301, Class::RedirectionError, false),
            (399, Class::RedirectionError, false),
            (400, Class::ClientError, false),
            (408, Class::ClientError, true),
            (422, Class::ClientError, false),
            (429, Class::TooManyRequestsError, true),
            (499, Class::ClientError, false),
            (500, Class::ServerError, true),
            (504, Class::ServerError, true),
            (505, Class::ServerError, false),
            (599, Class::ServerError, false),
        ];
        for (status, class, retryable) in table {
            let verdict = plain(&response(status, &[], ""));
            assert_eq!((verdict.class, verdict.retryable), (class, retryable), "{status}");
        }
    }

    /// VX-29, VX-30
    #[test]
    fn a_failure_without_a_response_has_its_class_and_its_certainty() {
        let table = [
            (FailureReason::Dns, false, Class::NetworkError, true),
            (FailureReason::Tls, false, Class::NetworkError, true),
            (FailureReason::Connect, false, Class::NetworkError, true),
            (FailureReason::Broken, true, Class::NetworkError, true),
            (FailureReason::Timeout, true, Class::TimeoutError, true),
            (FailureReason::Timeout, false, Class::TimeoutError, true),
            (FailureReason::Policy, false, Class::PolicyError, false),
            (FailureReason::Unsendable, false, Class::RenderError, false),
            (FailureReason::TooLarge, true, Class::ResponseError, false),
        ];
        for (reason, maybe_sent, class, retryable) in table {
            let verdict = plain(&Exchange::Failure { reason, message: "why".into(), maybe_sent });
            assert_eq!((verdict.class, verdict.uncertain, verdict.retryable), (class, maybe_sent, retryable), "{reason:?}");
        }
    }

    #[test]
    fn statuses_listed_as_success_succeed_but_a_redirect_never_does() {
        let statuses = StatusSet::new(vec![(200, 399), (404, 404)]);
        let rule = SuccessRule { statuses: &statuses, path: None, on_partial: OnPartial::NextRun };
        for (status, class) in [(404, Class::Success), (302, Class::RedirectionError), (410, Class::ClientError)] {
            let verdict = judge(&response(status, &[], ""), 1, &rule, &RetryPolicy::default(), 0);
            assert_eq!(verdict.class, class, "{status}");
        }
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date_and_garbage_is_ignored() {
        let table = [
            ("7", Some(7.0), true),
            ("1.5", Some(1.5), true),
            ("0", Some(0.0), true),
            ("999999", Some(3600.0), true),
            ("-1", None, false),
            ("soon", None, true),
            ("", None, true),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10.0), true),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0.0), true),
            ("Sun, 06 Foo 1994 08:49:47 GMT", None, true),
        ];
        for (value, seconds, retryable) in table {
            let verdict = plain(&response(429, &[("Retry-After", value)], ""));
            assert_eq!((verdict.retry_after_seconds, verdict.retryable), (seconds, retryable), "{value}");
        }
    }

    /// GL-17: switched off, nothing is retried.
    #[test]
    fn a_policy_that_is_off_retries_nothing() {
        let retry = RetryPolicy { enabled: false, ..RetryPolicy::default() };
        let statuses = StatusSet::two_hundreds();
        let rule = SuccessRule { statuses: &statuses, path: None, on_partial: OnPartial::NextRun };
        for exchange in
            [response(503, &[], ""), Exchange::Failure { reason: FailureReason::Timeout, message: "slow".into(), maybe_sent: true }]
        {
            assert!(!judge(&exchange, 1, &rule, &retry, 0).retryable);
        }
    }

    /// GL-54 to GL-57
    #[test]
    fn a_success_path_decides_over_a_good_status() {
        let statuses = StatusSet::two_hundreds();
        let path = SuccessPath::compile("created").unwrap();
        let table = [
            (r#"{"created":[1,2,3]}"#, Class::Success, Class::Success, 3),
            (r#"{"created":true}"#, Class::Success, Class::Success, 3),
            (r#"{"created":3}"#, Class::Success, Class::Success, 3),
            (r#"{"created":2}"#, Class::ResponseError, Class::Success, 2),
            (r#"{"created":false}"#, Class::ResponseError, Class::Success, 0),
            (r#"{"created":4}"#, Class::ResponseError, Class::ResponseError, 0),
            (r#"{"created":null}"#, Class::ResponseError, Class::ResponseError, 0),
            (r#"{"created":"3"}"#, Class::ResponseError, Class::ResponseError, 0),
            ("<html>", Class::ResponseError, Class::ResponseError, 0),
        ];
        for (body, strict, lenient, count) in table {
            for (on_partial, class) in [(OnPartial::NextRun, strict), (OnPartial::Accept, lenient)] {
                let rule = SuccessRule { statuses: &statuses, path: Some(&path), on_partial };
                let verdict = judge(&response(200, &[], body), 3, &rule, &RetryPolicy::default(), 0);
                assert_eq!(verdict.class, class, "{body} {on_partial:?}");
                if class == Class::Success {
                    assert_eq!(verdict.succeeded, count, "{body}");
                }
                assert_eq!(verdict.uncertain, class != Class::Success, "{body}");
            }
        }
    }

    /// GL-20
    #[test]
    fn delays_double_up_to_their_ceiling() {
        let retry = RetryPolicy::default();
        let seconds: Vec<u64> = (1..=12).map(|attempt| backoff(&retry, attempt, 1.0) / 1_000_000).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
        assert_eq!(backoff(&retry, 5, 0.0), 0);
    }
}
