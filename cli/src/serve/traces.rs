//! OpenTelemetry traces, where the usual environment variables ask for them: one trace a run, one span an attempt, one for the run.
//! It must not hold the work up: what the collector does not take in time is dropped by the exporter's own queue.

use engine::deliver::Attempted;
use engine::judge::Class;
use engine::model::name::Name;
use engine::port::{Exchange, Method, Outgoing, Transport};
use engine::run::document::{Run, Status};
use opentelemetry::trace::{
    Span, SpanContext, SpanId, SpanKind, Status as SpanStatus, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use ring::digest::{SHA256, digest};
use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use transport::{AddressPolicy, HttpTransport, TransportOptions};

/// The collector has so long to answer, microseconds.
const TIMEOUT: u64 = 10_000_000;
/// What is read of its answer, bytes.
const LONGEST_ANSWER: usize = 1 << 20;
/// Any of these asks for traces (OpenTelemetry environment variable specification).
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// Where spans go.
pub struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Traces {
    /// As the environment says; `None`: it asks for none.
    pub fn from_environment() -> Result<Option<Traces>, String> {
        let set = |name: &str| std::env::var(name).is_ok_and(|value| !value.is_empty());
        let disabled = std::env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true"));
        if disabled || !ENDPOINTS.into_iter().any(set) {
            return Ok(None);
        }
        let exporter = SpanExporter::builder().with_http().with_http_client(Collector).build();
        let exporter = exporter.map_err(|e| format!("traces cannot be sent: {e}"))?;
        let mut resource = Resource::builder();
        if !set("OTEL_SERVICE_NAME") {
            resource = resource.with_service_name("penstock");
        }
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build();
        let tracer = provider.tracer("penstock");
        Ok(Some(Traces { provider, tracer }))
    }

    /// One attempt.
    pub fn attempt(&self, attempted: &Attempted<'_>) {
        let start = UNIX_EPOCH + Duration::from_millis(attempted.started_ms);
        let mut attributes = vec![
            KeyValue::new("penstock.organization", attempted.lane.organization.to_string()),
            KeyValue::new("penstock.destination", attempted.lane.destination.to_string()),
            KeyValue::new("penstock.export", attempted.export.to_string()),
            KeyValue::new("penstock.run", attempted.run.to_string()),
            KeyValue::new("penstock.delivery", attempted.delivery.to_string()),
            KeyValue::new("penstock.attempt", i64::from(attempted.number)),
            KeyValue::new("penstock.class", attempted.class.as_str()),
            KeyValue::new("penstock.rows", attempted.rows as i64),
        ];
        attributes.extend(attempted.rule.map(|rule| KeyValue::new("penstock.rule", rule.to_string())));
        attributes.extend(attempted.status.map(|status| KeyValue::new("http.response.status_code", i64::from(status))));
        let error = (attempted.class != Class::Success).then(|| attempted.error.unwrap_or_default().to_string());
        let end = start + Duration::from_millis(attempted.duration_ms);
        self.span("attempt", SpanKind::Client, attempted.run, (start, end), attributes, error);
    }

    /// A run that has ended.
    pub fn run(&self, run: &Run, organization: &Name) {
        let Some(finished_at) = run.finished_at else { return };
        let attributes = vec![
            KeyValue::new("penstock.organization", organization.to_string()),
            KeyValue::new("penstock.destination", run.destination.to_string()),
            KeyValue::new("penstock.export", run.export.to_string()),
            KeyValue::new("penstock.run", run.id.clone()),
            KeyValue::new("penstock.status", run.status.as_str()),
            KeyValue::new("penstock.rows.delivered", run.rows.delivered as i64),
        ];
        let time = |micros: u64| UNIX_EPOCH + Duration::from_micros(micros);
        let well = matches!(run.status, Status::Succeeded | Status::Held | Status::Canceled);
        let error = (!well).then(|| run.reason.clone().unwrap_or_default());
        self.span("run", SpanKind::Internal, &run.id, (time(run.started_at), time(finished_at)), attributes, error);
    }

    fn span(
        &self,
        name: &'static str,
        kind: SpanKind,
        run: &str,
        (start, end): (SystemTime, SystemTime),
        attributes: Vec<KeyValue>,
        error: Option<String>,
    ) {
        let builder = self.tracer.span_builder(name).with_kind(kind).with_start_time(start).with_attributes(attributes);
        let mut span = builder.start_with_context(&self.tracer, &trace_of(run));
        if let Some(error) = error {
            span.set_status(SpanStatus::error(error));
        }
        span.end_with_timestamp(end);
    }

    /// Sends what is left.
    pub fn end(&self) {
        // A collector that is gone has nothing to say about the end of this process.
        let _ = self.provider.shutdown();
    }
}

/// The trace of a run follows from its id, so that what a later process does for the run stands in the same trace.
fn trace_of(run: &str) -> Context {
    let hash = digest(&SHA256, run.as_bytes());
    let mut trace = [0; 16];
    let mut span = [0; 8];
    trace.copy_from_slice(&hash.as_ref()[..16]);
    span.copy_from_slice(&hash.as_ref()[16..24]);
    let ids = (TraceId::from_bytes(trace), SpanId::from_bytes(span));
    Context::new().with_remote_span_context(SpanContext::new(ids.0, ids.1, TraceFlags::SAMPLED, true, TraceState::default()))
}

/// Sends to the collector; called on the exporter's own thread.
#[derive(Debug)]
struct Collector;

type Sending<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Collector {
    fn send_bytes<'life0, 'async_trait>(&'life0 self, request: Request<Bytes>) -> Sending<'async_trait>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move { send(request).map_err(HttpError::from) })
    }
}

fn send(request: Request<Bytes>) -> Result<Response<Bytes>, String> {
    let url = url::Url::parse(&request.uri().to_string()).map_err(|e| format!("the collector's address is no URL: {e}"))?;
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    // The transport writes these itself.
    let own = |name: &str| !engine::port::is_forbidden_header(name);
    let headers =
        request.headers().iter().filter(|(name, _)| own(name.as_str())).map(|(name, value)| (name.to_string(), text(value.as_bytes())));
    let outgoing = Outgoing {
        method: Method::Post,
        url,
        headers: headers.collect(),
        body: Some(request.into_body().to_vec()),
        timeout: TIMEOUT,
        keep_limit: LONGEST_ANSWER,
        read_limit: LONGEST_ANSWER,
    };
    // The operator's own collector, wherever it is.
    let policy = AddressPolicy { allow_private: true, ranges: Vec::new(), allow_http: true };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let transport = HttpTransport::new(TransportOptions { policy, ..TransportOptions::default() })?;
    match runtime.block_on(transport.send(outgoing)) {
        Exchange::Response(response) => {
            Response::builder().status(response.status).body(Bytes::from(response.body)).map_err(|e| e.to_string())
        }
        Exchange::Failure { message, .. } => Err(message),
    }
}
