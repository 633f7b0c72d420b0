//! Rows that lie in S3, or that Athena puts there: they are brought to the function's disk, and read as files are. It must not look into
//! them.

use backend_aws::Query;
use engine::model::source::{Model, Source};
use engine::port::{Clock, PortError};
use planning::{Bringing, PlanError, Remote, read_as};
use process::chance;
use rows::{FileSource, Format};
use stack::Stack;
use std::path::Path;

/// Brings rows by way of a stack.
pub struct AwsRemote<'s> {
    stack: &'s Stack,
}

impl<'s> AwsRemote<'s> {
    /// Of a stack.
    pub fn new(stack: &'s Stack) -> AwsRemote<'s> {
        AwsRemote { stack }
    }

    async fn objects(
        &self,
        model: &Model,
        bucket: &str,
        prefix: &str,
        folder: &Path,
        format: Option<Format>,
    ) -> Result<rows::Source, PlanError> {
        let to = folder.join(format!("{}.rows", model.id));
        let brought = self.stack.files(bucket)?.bring(prefix, &to).await;
        let path = brought.map_err(|error| match error {
            PortError::Missing(_) => PlanError::other(format!("model {}: s3://{bucket}/{prefix} names no objects", model.id)),
            other => PlanError::Port(other),
        })?;
        Ok(rows::Source::File(FileSource { path, format }))
    }
}

impl AwsRemote<'_> {
    /// Has a query run and brings its rows. What Athena wrote goes again at once; what a function that died left is taken by the bucket's
    /// lifecycle rule.
    async fn query(&self, model: &Model, query: Query<'_>, folder: &Path) -> Result<rows::Source, PlanError> {
        let (athena, files) = self.stack.athena()?;
        let prefix = format!("athena/{}", chance::fresh_name("query", self.stack.clock.now().wall));
        athena.unload(query, &prefix).await?;
        let brought = files.bring(&format!("{prefix}/"), &folder.join(format!("{}.rows", model.id))).await;
        files.remove(&prefix).await?;
        let path = brought.map_err(|error| match error {
            PortError::Missing(_) => PlanError::other(format!(
                "model {}: the query gave no rows, so nothing is planned: a query that finds nothing never empties an export",
                model.id
            )),
            other => PlanError::Port(other),
        })?;
        Ok(rows::Source::File(FileSource { path, format: Some(Format::Parquet) }))
    }
}

impl Remote for AwsRemote<'_> {
    fn bring<'a>(&'a self, model: &'a Model, folder: &'a Path) -> Bringing<'a> {
        Box::pin(async move {
            match &model.source {
                Source::S3 { bucket, prefix, format } => self.objects(model, bucket, prefix, folder, format.map(read_as)).await,
                Source::Athena { database, query, workgroup } => {
                    let query = Query { text: query, database, workgroup: workgroup.as_deref().unwrap_or("primary") };
                    self.query(model, query, folder).await
                }
                Source::File { .. } | Source::Postgres { .. } | Source::Push => {
                    Err(PlanError::other(format!("model {}: its rows do not lie in AWS", model.id)))
                }
            }
        })
    }
}
