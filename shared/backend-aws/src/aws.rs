//! One place that makes clients: one set of connections for the SDK's, one for S3, made when first needed. It must not read names from the
//! environment: who wires a function knows them.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use aws_types::region::Region;
use engine::port::PortError;

use crate::Environment;
use crate::athena::AwsAthena;
use crate::files::AwsFiles;
use crate::http::{self, S3Http};
use crate::meter::{Count, Meter};
use crate::objects::{self, AwsObjects};
use crate::queue::AwsQueue;
use crate::secrets::AwsSecrets;
use crate::store::AwsStore;

/// The first try and two more.
const TRIES: u32 = 3;
/// One try of a call of DynamoDB, SQS or KMS. The largest answer is a page of 1 MB.
const TRY: Duration = Duration::from_secs(3);
/// All tries of a call.
const CALL: Duration = Duration::from_secs(8);

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
    s3: Arc<S3Http>,
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
            s3: Arc::default(),
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

    /// The same names and counts with connections of its own, as a thread with a runtime of its own needs. Copies of `objects` are shared: they
    /// lie on one disk.
    pub fn anew(&self, objects: &AwsObjects) -> Result<Aws, PortError> {
        let Inner { names, environment, meter, .. } = &*self.inner;
        let anew = Aws::new(environment.clone(), names.clone(), meter.clone());
        let objects = objects.anew(environment, &names.bucket, Arc::clone(&anew.inner.s3), meter)?;
        // It was made a moment ago, so nobody has set it.
        let _ = anew.inner.objects.set(objects);
        Ok(anew)
    }

    /// The objects.
    ///
    /// # Errors
    /// `Failed`, if the address is none or the scratch folder cannot be made.
    pub fn objects(&self) -> Result<AwsObjects, PortError> {
        if let Some(objects) = self.inner.objects.get() {
            return Ok(objects.clone());
        }
        let made = AwsObjects::new(&self.inner.environment, &self.inner.names, Arc::clone(&self.inner.s3), &self.inner.meter)?;
        Ok(self.inner.objects.get_or_init(|| made).clone())
    }

    /// The objects of another bucket, to be read.
    ///
    /// # Errors
    /// `Failed`, if its name or the address is none.
    pub fn files(&self, bucket: &str) -> Result<AwsFiles, PortError> {
        let client = objects::bucket(&self.inner.environment, bucket, Arc::clone(&self.inner.s3), &self.inner.meter)?;
        Ok(AwsFiles::new(client, bucket))
    }

    /// Athena, which puts rows into the stack's bucket.
    pub fn athena(&self) -> AwsAthena {
        let config = aws_sdk_athena::config::Builder::from(self.sdk()).build();
        AwsAthena::new(aws_sdk_athena::Client::from_conf(config), &self.inner.names.bucket)
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
            let timeouts = TimeoutConfig::builder().connect_timeout(http::CONNECT).operation_attempt_timeout(TRY).operation_timeout(CALL);
            let mut config = SdkConfig::builder()
                .behavior_version(BehaviorVersion::v2026_01_12())
                .region(Region::new(environment.region.clone()))
                .credentials_provider(SharedCredentialsProvider::new(environment.credentials.clone()))
                .retry_config(RetryConfig::standard().with_max_attempts(TRIES))
                .timeout_config(timeouts.build())
                .sleep_impl(TokioSleep::new())
                .http_client(http::sdk());
            config.set_endpoint_url(environment.endpoint.clone());
            config.build()
        })
    }
}
