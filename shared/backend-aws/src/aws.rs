//! One place that makes clients: one set of connections for the SDK's, one for S3, made when first needed. It must not read names from the
//! environment: who wires a function knows them.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_runtime_api::client::http::{HttpConnectorSettings, SharedHttpClient};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use aws_types::region::Region;
use engine::port::PortError;

use crate::Environment;
use crate::meter::{Count, Meter};
use crate::objects::AwsObjects;
use crate::queue::AwsQueue;
use crate::secrets::AwsSecrets;
use crate::store::AwsStore;

/// The first try and two more.
const TRIES: u32 = 3;
/// To connect; within a region it takes a few milliseconds.
const CONNECT: Duration = Duration::from_secs(1);
/// One try of a call of DynamoDB, SQS or KMS. The largest answer is a page of 1 MB.
const TRY: Duration = Duration::from_secs(3);
/// All tries of a call.
const CALL: Duration = Duration::from_secs(8);
/// Until S3 begins to answer.
const OBJECT_ANSWER: Duration = Duration::from_secs(10);
/// AWS closes idle connections after some 20 s without a word, and a frozen function does not notice.
const IDLE: Duration = Duration::from_secs(15);

/// What the stack calls its parts.
#[derive(Clone, Debug)]
pub struct Names {
    /// The table.
    pub table: String,
    /// The bucket.
    pub bucket: String,
    /// The id, alias or ARN of the KMS key that wraps data keys.
    pub key: String,
    /// A folder for copies of objects; on Lambda below `/tmp`.
    pub scratch: PathBuf,
    /// At most so many bytes of copies lie there.
    pub scratch_bytes: u64,
}

/// The way to AWS. Clones share connections, credentials and the meter; nothing is opened before the first call.
#[derive(Clone, Debug)]
pub struct Aws {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    names: Names,
    environment: Environment,
    meter: Meter,
    sdk: OnceLock<SdkConfig>,
    dynamodb: OnceLock<aws_sdk_dynamodb::Client>,
    sqs: OnceLock<aws_sdk_sqs::Client>,
    objects: OnceLock<AwsObjects>,
    secrets: OnceLock<AwsSecrets>,
}

impl Aws {
    /// With region, credentials and address from the environment (see [`Environment::read`]).
    ///
    /// # Errors
    /// `Failed`, if one of them is not there.
    pub fn from_environment(names: Names) -> Result<Aws, PortError> {
        Ok(Aws::new(Environment::read()?, names, Meter::default()))
    }

    /// With everything given.
    pub fn new(environment: Environment, names: Names, meter: Meter) -> Aws {
        let inner = Inner {
            names,
            environment,
            meter,
            sdk: OnceLock::new(),
            dynamodb: OnceLock::new(),
            sqs: OnceLock::new(),
            objects: OnceLock::new(),
            secrets: OnceLock::new(),
        };
        Aws { inner: Arc::new(inner) }
    }

    /// What was called and what it will cost, for all that came of this.
    pub fn meter(&self) -> &Meter {
        &self.inner.meter
    }

    /// The documents.
    pub fn store(&self) -> AwsStore {
        AwsStore::new(self.dynamodb().clone(), &self.inner.names.table)
    }

    /// The objects.
    ///
    /// # Errors
    /// `Failed`, if the address is none or the scratch folder cannot be made.
    pub fn objects(&self) -> Result<AwsObjects, PortError> {
        if let Some(objects) = self.inner.objects.get() {
            return Ok(objects.clone());
        }
        let made = AwsObjects::new(&self.inner.environment, &self.inner.names, s3_connector(), &self.inner.meter)?;
        Ok(self.inner.objects.get_or_init(|| made).clone())
    }

    /// Sealing. Data keys that were unwrapped once are shared by clones.
    pub fn secrets(&self) -> AwsSecrets {
        let make = || {
            let config = aws_sdk_kms::config::Builder::from(self.sdk()).interceptor(Count::new(&self.inner.meter)).build();
            AwsSecrets::new(aws_sdk_kms::Client::from_conf(config), &self.inner.names.key, self.store())
        };
        self.inner.secrets.get_or_init(make).clone()
    }

    /// The queue of this URL.
    pub fn queue(&self, url: impl Into<String>) -> AwsQueue {
        let make = || {
            let config = aws_sdk_sqs::config::Builder::from(self.sdk()).interceptor(Count::new(&self.inner.meter)).build();
            aws_sdk_sqs::Client::from_conf(config)
        };
        AwsQueue::new(self.inner.sqs.get_or_init(make).clone(), url.into())
    }

    fn dynamodb(&self) -> &aws_sdk_dynamodb::Client {
        self.inner.dynamodb.get_or_init(|| {
            let config = aws_sdk_dynamodb::config::Builder::from(self.sdk()).interceptor(Count::new(&self.inner.meter)).build();
            aws_sdk_dynamodb::Client::from_conf(config)
        })
    }

    fn sdk(&self) -> &SdkConfig {
        self.inner.sdk.get_or_init(|| {
            let environment = &self.inner.environment;
            let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(TRY).operation_timeout(CALL);
            let mut config = SdkConfig::builder()
                .behavior_version(BehaviorVersion::v2026_01_12())
                .region(Region::new(environment.region.clone()))
                .credentials_provider(SharedCredentialsProvider::new(environment.credentials.clone()))
                .retry_config(RetryConfig::standard().with_max_attempts(TRIES))
                .timeout_config(timeouts.build())
                .sleep_impl(TokioSleep::new())
                .http_client(sdk_http());
            config.set_endpoint_url(environment.endpoint.clone());
            config.build()
        })
    }
}

fn sdk_http() -> SharedHttpClient {
    Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).pool_idle_timeout(IDLE).build_https()
}

/// S3 has connections of its own: it has another host in any case, and other patience.
fn s3_connector() -> Connector {
    let settings = HttpConnectorSettings::builder().connect_timeout(CONNECT).read_timeout(OBJECT_ANSWER).build();
    Connector::builder()
        .connector_settings(settings)
        .sleep_impl(TokioSleep::new())
        .pool_idle_timeout(IDLE)
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build()
}
