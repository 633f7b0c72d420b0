//! Examples of answers, for the document. A test holds each against its schema.

/// A run.
pub(crate) const RUN: &str = r#"{
    "id": "run_06c1m2k3n4p5q6r7", "export": "newsletter", "destination": "crm", "status": "completed_with_errors",
    "plan": "plan_06c1m2k3n4p5q6r7", "trigger": "api", "cancel_asked": false,
    "changes": {"added": 3, "changed": 1, "removed": 0}, "requests": 4, "settled": 0, "left": 0,
    "rows": {"delivered": 3, "rejected": 1, "invalid": 0, "pending": 0, "given_up": 0},
    "deliveries": {"succeeded": 3, "failed": 1}, "attempts": 5, "invalid": [], "reason": null,
    "started_at": "2026-01-01T08:00:00.000Z", "finished_at": "2026-01-01T08:00:01.250Z", "duration_ms": 1250
}"#;

/// A plan that a guard holds.
pub(crate) const PLAN: &str = r#"{
    "id": "plan_06c1m2k3n4p5q6r7", "run": "run_06c1m2k3n4p5q6r7", "export": "newsletter", "destination": "crm", "status": "ready",
    "changes": {"added": 3, "changed": 1, "removed": 40}, "requests": 44, "settled": 0, "left": 0, "invalid_rows": 1,
    "invalid": [{"place": "line 7", "key": "7", "reason": "body: not JSON"}],
    "reason": "40 of 100 rows would be removed, which is more than 30 %", "started_at": "2026-01-01T08:00:00.000Z"
}"#;

/// A delivery with its request and its attempt.
pub(crate) const DELIVERY: &str = r#"{
    "id": "dlv_06c1m2k3n4p5q6r7_0_0", "run": "run_06c1m2k3n4p5q6r7", "export": "newsletter", "destination": "crm", "action": "add",
    "status": "succeeded", "rows": 1, "row_keys": ["42"], "idempotency_key": "dlv_06c1m2k3n4p5q6r7_0_0",
    "request": {"method": "POST", "url": "https://api.example.com/members", "headers": [["Content-Type", "application/json"], ["Authorization", "[redacted]"]], "body": "{\"id\": \"42\"}"},
    "credential": {"id": "crm", "type": "bearer"},
    "attempts": [{
        "id": "att_06c1m2k3n4p5q6r7_0_0_1", "number": 1, "class": "success", "status_code": 201,
        "started_at": "2026-01-01T08:00:00.100Z", "completed_at": "2026-01-01T08:00:00.140Z", "duration_ms": 40,
        "response": {"status": 201, "headers": [["Content-Type", "application/json"]], "body": "{}", "truncated": false}
    }],
    "created_at": "2026-01-01T08:00:00.000Z"
}"#;

/// A part of a list of deliveries.
pub(crate) const DELIVERIES: &str = r#"{"items": [{
    "id": "dlv_06c1m2k3n4p5q6r7_0_0", "run": "run_06c1m2k3n4p5q6r7", "export": "newsletter", "destination": "crm", "action": "add",
    "status": "succeeded", "rows": 1, "row_keys": ["42"], "idempotency_key": "dlv_06c1m2k3n4p5q6r7_0_0",
    "attempts": [{
        "id": "att_06c1m2k3n4p5q6r7_0_0_1", "number": 1, "class": "success", "status_code": 201,
        "started_at": "2026-01-01T08:00:00.100Z", "completed_at": "2026-01-01T08:00:00.140Z", "duration_ms": 40
    }],
    "created_at": "2026-01-01T08:00:00.000Z"
}], "next": "MjAyNi0wMS0wMVQwODowMDow"}"#;

/// What is sent again.
pub(crate) const REDELIVERY: &str = r#"{"deliveries": 12, "sent": true, "runs": ["run_06c1m2k3n4p5q6r7"], "refused": []}"#;

/// A token just made.
pub(crate) const TOKEN: &str = r#"{
    "id": "tok_06c1m2k3n4p5q6r7", "name": "nightly import", "scopes": ["read", "write"], "created_at": "2026-01-01T08:00:00.000Z",
    "expires_at": "2026-04-01T08:00:00.000Z", "text": "pst_9QbLq0mS3cG7yqv0JZr6k2d1mE8nqkP4w5x6y7z8A9B"
}"#;

/// An upload.
pub(crate) const UPLOAD: &str = r#"{
    "id": "upl_06c1m2k3n4p5q6r7", "model": "newsletter", "expires_at": "2026-01-02T08:00:00.000Z", "part_bytes": 8388608
}"#;

/// Where a part goes.
pub(crate) const PART_URL: &str =
    r#"{"url": "/v1/models/newsletter/uploads/upl_06c1m2k3n4p5q6r7/parts/1", "presigned": false, "part_bytes": 8388608}"#;

/// What came of a test.
pub(crate) const TESTED: &str = r#"{
    "request": {"method": "POST", "url": "https://api.example.com/members", "headers": [["Authorization", "[redacted]"]], "body": "{\"id\": 1}", "truncated": false},
    "response": {"status": 422, "headers": [["Content-Type", "application/json"]], "body": "{\"error\": \"email is missing\"}", "truncated": false},
    "class": "client_error", "error": "the destination answered 422", "duration_ms": 87
}"#;

/// What was rendered.
pub(crate) const RENDERED: &str = r#"{
    "request": {"method": "POST", "url": "https://sample.invalid/", "headers": [["Content-Type", "application/json"]], "body": "{\"email\": \"ada@example.com\"}", "truncated": false},
    "invalid": []
}"#;

/// An organization.
pub(crate) const ORGANIZATION: &str =
    r#"{"id": "acme", "revision": 3, "updated_at": "2026-01-01T08:00:00.000Z", "definition": {"name": "Acme", "retention_days": 30}}"#;
