//! Queries on Athena, whose rows it puts into S3 as Parquet (UNLOAD, docs.aws.amazon.com/athena/latest/ug/unload.html). It must not read the rows,
//! nor change a query but for the UNLOAD around it.

use crate::failure::chain;
use aws_sdk_athena::Client;
use aws_sdk_athena::types::{QueryExecutionContext, QueryExecutionState, ResultConfiguration};
use engine::port::PortError;
use std::time::Duration;

/// The state of a query is asked for so often at first, and at least so often later.
const FIRST_LOOK: Duration = Duration::from_millis(300);
const LAST_LOOK: Duration = Duration::from_secs(5);
/// A function lives for 15 minutes; the rows must be read in what is left.
const LONGEST: Duration = Duration::from_secs(10 * 60);

/// A query whose rows are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// One SELECT.
    pub text: &'a str,
    /// The database that its tables lie in.
    pub database: &'a str,
    /// The workgroup.
    pub workgroup: &'a str,
}

/// Athena.
#[derive(Debug)]
pub struct AwsAthena {
    client: Client,
    bucket: String,
}

impl AwsAthena {
    pub(crate) fn new(client: Client, bucket: &str) -> AwsAthena {
        AwsAthena { client, bucket: bucket.to_owned() }
    }

    /// Has Athena put the rows of a query into the stack's bucket, under keys that begin with `prefix` (where nothing may lie yet) and a
    /// `/`. A query without rows puts nothing there.
    ///
    /// # Errors
    /// `Failed`, with Athena's reason if it is the query's.
    pub async fn unload(&self, query: Query<'_>, prefix: &str) -> Result<(), PortError> {
        let bucket = &self.bucket;
        let statement = format!("UNLOAD ({}) TO 's3://{bucket}/{prefix}/' WITH (format = 'PARQUET', compression = 'SNAPPY')", query.text);
        let results = ResultConfiguration::builder().output_location(format!("s3://{bucket}/{prefix}-result/")).build();
        let started = self
            .client
            .start_query_execution()
            .query_string(statement)
            .client_request_token(token(prefix))
            .query_execution_context(QueryExecutionContext::builder().database(query.database).build())
            .result_configuration(results)
            .work_group(query.workgroup)
            .send()
            .await
            .map_err(|error| PortError::Failed(format!("Athena does not take the query: {}", chain(&error))))?;
        let id = started.query_execution_id().unwrap_or_default().to_owned();
        self.end(&id).await
    }

    async fn end(&self, id: &str) -> Result<(), PortError> {
        let began = tokio::time::Instant::now();
        let mut wait = FIRST_LOOK;
        while began.elapsed() < LONGEST {
            let found = self.client.get_query_execution().query_execution_id(id).send().await;
            let found =
                found.map_err(|error| PortError::Failed(format!("Athena does not say how query {id} stands: {}", chain(&error))))?;
            let status = found.query_execution().and_then(|execution| execution.status());
            let reason = || status.and_then(|status| status.state_change_reason()).unwrap_or("it gives no reason").to_owned();
            match status.and_then(|status| status.state()) {
                Some(QueryExecutionState::Succeeded) => return Ok(()),
                Some(QueryExecutionState::Failed) => {
                    return Err(PortError::Failed(format!("Athena could not run query {id}: {}", reason())));
                }
                Some(QueryExecutionState::Cancelled) => return Err(PortError::Failed(format!("query {id} was canceled: {}", reason()))),
                _ => tokio::time::sleep(wait).await,
            }
            wait = (wait * 2).min(LAST_LOOK);
        }
        // Left alone, it would go on to cost.
        let _ = self.client.stop_query_execution().query_execution_id(id).send().await;
        Err(PortError::Failed(format!("query {id} took longer than {} minutes and was stopped", LONGEST.as_secs() / 60)))
    }
}

/// Athena takes tokens of 32 to 128 characters: a try that is repeated is one query.
fn token(prefix: &str) -> String {
    format!("penstock-{:-<32}", prefix.replace('/', "-")).chars().take(128).collect()
}
