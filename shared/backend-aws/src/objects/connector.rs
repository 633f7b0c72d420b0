//! `object_store` on the HTTP client of the AWS SDK, so that there is one client and one TLS stack; and the count of what S3 charges for.
//! It must not repeat or change a request.

use std::sync::Arc;

use async_trait::async_trait;
use aws_smithy_runtime_api::client::http::HttpConnector as _;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest as SdkRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use http::Method;
use http_body_util::BodyExt;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody, HttpService,
};

use crate::http::S3Http;
use crate::meter::Meter;

/// Makes the client that `object_store` asks for.
#[derive(Clone, Debug)]
pub(super) struct S3Connector {
    http: Arc<S3Http>,
    meter: Meter,
}

impl S3Connector {
    pub(super) fn new(http: Arc<S3Http>, meter: Meter) -> S3Connector {
        S3Connector { http, meter }
    }
}

impl HttpConnector for S3Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for S3Connector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let request = SdkRequest::try_from(request.map(sdk_body)).map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        let answer = self.http.connector().call(request).await;
        let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
        self.meter.s3(&method, &uri, status);
        let answer = answer
            .map_err(|error| of_connector(&method, error))?
            .try_into_http1x()
            .map_err(|error| HttpError::new(HttpErrorKind::Decode, error))?;
        Ok(answer.map(|body| HttpResponseBody::new(body.map_err(|error| HttpError::new_boxed(HttpErrorKind::Interrupted, error)))))
    }
}

/// A body in one piece can be sent again by the client where a connection broke before it went; one in pieces cannot.
fn sdk_body(body: HttpRequestBody) -> SdkBody {
    match body.as_bytes() {
        Some(bytes) => SdkBody::from(bytes.clone()),
        None => SdkBody::from_body_1_x(body),
    }
}

/// The kind decides whether `object_store` tries again: not what could not be sent at all; a deletion always, which does no harm the second
/// time; of the rest what it knows to do no harm.
fn of_connector(method: &Method, error: ConnectorError) -> HttpError {
    let kind = match method {
        _ if error.is_user() => HttpErrorKind::Unknown,
        &Method::DELETE => HttpErrorKind::Request,
        _ if error.is_timeout() => HttpErrorKind::Timeout,
        _ => HttpErrorKind::Interrupted,
    };
    HttpError::new(kind, error)
}
