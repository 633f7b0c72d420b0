//! Rows that lie in S3, or that Athena puts there: they are brought to the function's disk, and read as files are. It must not look into
//! them.

use backend_aws::Query;
use engine::model::source::{Model, Source};
use engine::port::{Clock, PortError};
use planning::{Doing, PlanError, Remote, read_as};
use process::chance;
use rows::{BroughtFiles, Format};
use stack::Stack;
use std::path::Path;

/// Below this prefix of the stack's bucket Athena puts its answers.
const ANSWERS: &str = "athena/";

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
        let files = brought.map_err(|error| match error {
            PortError::Missing(_) => PlanError::other(format!("model {}: s3://{bucket}/{prefix} names no objects", model.id)),
            other => unreadable(model, other),
        })?;
        Ok(rows::Source::Brought(BroughtFiles { files, format }))
    }
}

impl AwsRemote<'_> {
    /// Brings what a query of this run was answered with.
    async fn answer(&self, model: &Model, prefix: &str, folder: &Path) -> Result<rows::Source, PlanError> {
        let (_, files) = self.stack.athena()?;
        let brought = files.bring(&format!("{prefix}/"), &folder.join(format!("{}.rows", model.id))).await;
        let files = brought.map_err(|error| match error {
            PortError::Missing(_) => PlanError::other(format!(
                "model {}: the query gave no rows, so nothing is planned: a query that finds nothing never empties an export",
                model.id
            )),
            other => unreadable(model, other),
        })?;
        Ok(rows::Source::Brought(BroughtFiles { files, format: Some(Format::Parquet) }))
    }
}

/// Whose rows they are decides whether they can be read: to try for long would only hide why they cannot.
fn unreadable(model: &Model, error: PortError) -> PlanError {
    match error {
        PortError::Failed(why) => PlanError::other(format!("model {}: {why}", model.id)),
        other => PlanError::Port(other),
    }
}

impl Remote for AwsRemote<'_> {
    /// A query is answered once for all who read its rows. What a function that died left of it is taken by the bucket's lifecycle rule.
    fn stage<'a>(&'a self, model: &'a Model) -> Doing<'a, Option<String>> {
        Box::pin(async move {
            let Source::Athena { database, query, workgroup } = &model.source else { return Ok(None) };
            let query = Query { text: query, database, workgroup: workgroup.as_deref().unwrap_or(&self.stack.athena_workgroup) };
            let prefix = format!("{ANSWERS}{}", chance::fresh_name("query", self.stack.clock.now().wall));
            self.stack.athena()?.0.unload(query, &prefix).await.map_err(|error| unreadable(model, error))?;
            Ok(Some(prefix))
        })
    }

    fn bring<'a>(&'a self, model: &'a Model, staged: Option<&'a str>, folder: &'a Path) -> Doing<'a, rows::Source> {
        Box::pin(async move {
            match (&model.source, staged) {
                (Source::S3 { bucket, prefix, format }, _) => self.objects(model, bucket, prefix, folder, format.map(read_as)).await,
                (Source::Athena { .. }, Some(prefix)) => self.answer(model, prefix, folder).await,
                _ => Err(PlanError::other(format!("model {}: its rows do not lie in AWS", model.id))),
            }
        })
    }

    fn forget<'a>(&'a self, staged: &'a str) -> Doing<'a, ()> {
        Box::pin(async move {
            match staged.starts_with(ANSWERS) {
                true => Ok(self.stack.athena()?.1.remove(staged).await?),
                false => Ok(()),
            }
        })
    }
}
