//! Connections to AWS. Whoever makes a connector reads and parses the machine's certificates for it, some milliseconds each time, so none is
//! made before the first call. It must not know what is called.

use std::sync::OnceLock;
use std::time::Duration;

use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{HttpClient, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

/// To connect; within a region it takes a few milliseconds.
pub(crate) const CONNECT: Duration = Duration::from_secs(1);
/// Until S3 begins to answer.
const OBJECT_ANSWER: Duration = Duration::from_secs(10);
/// AWS closes idle connections after some 20 s without a word, and a frozen function does not notice.
const IDLE: Duration = Duration::from_secs(15);

/// The connections of the SDK's clients.
pub(crate) fn sdk() -> SharedHttpClient {
    let client = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).pool_idle_timeout(IDLE).build_https();
    SharedHttpClient::new(WhenCalled(client))
}

/// The SDK's client makes a connector and throws it away while each client is configured, to meet trouble early; this one leaves that out.
#[derive(Debug)]
struct WhenCalled(SharedHttpClient);

impl HttpClient for WhenCalled {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        self.0.http_connector(settings, components)
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.0.connector_metadata()
    }
}

/// The connections to S3, which has another host than the SDK's services and is given more patience.
#[derive(Debug, Default)]
pub(crate) struct S3Http(OnceLock<Connector>);

impl S3Http {
    /// The connector, made when it is first asked for.
    pub(crate) fn connector(&self) -> &Connector {
        self.0.get_or_init(|| {
            let settings = HttpConnectorSettings::builder().connect_timeout(CONNECT).read_timeout(OBJECT_ANSWER).build();
            Connector::builder()
                .connector_settings(settings)
                .sleep_impl(TokioSleep::new())
                .pool_idle_timeout(IDLE)
                .tls_provider(Provider::Rustls(CryptoMode::Ring))
                .build()
        })
    }
}
