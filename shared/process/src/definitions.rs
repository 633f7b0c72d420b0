//! The definitions of organizations as types, with their secrets, read anew only when they have changed.

use engine::catalog::Catalog;
use engine::model::name::Name;
use engine::model::project::Project;
use engine::port::{PortError, Secrets, Store};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The definitions of organizations as they were when they had changed so often.
#[derive(Debug, Default)]
pub struct Definitions(Mutex<HashMap<Name, (u64, Arc<Project>)>>);

impl Definitions {
    /// The definitions of an organization as they are now.
    ///
    /// # Errors
    /// The store failed, or the definitions do not fit together: a sentence for the operator.
    pub async fn project<S: Store, K: Secrets>(&self, catalog: &Catalog<'_, S, K>) -> Result<Arc<Project>, String> {
        self.read(catalog).await.map_err(|e| e.to_string())?
    }

    /// The same, for whom it matters whose fault it is: the inner error is that the definitions do not fit together.
    ///
    /// # Errors
    /// The store failed.
    pub async fn read<S: Store, K: Secrets>(&self, catalog: &Catalog<'_, S, K>) -> Result<Result<Arc<Project>, String>, PortError> {
        let changes = catalog.changes().await?;
        let organization = catalog.organization;
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(organization).cloned();
        if let Some((_, project)) = known.filter(|(of, _)| *of == changes) {
            return Ok(Ok(project));
        }
        Ok(match catalog.project().await? {
            Ok(project) => {
                let project = Arc::new(project);
                let mut projects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                projects.insert(organization.clone(), (changes, Arc::clone(&project)));
                Ok(project)
            }
            Err(problems) => {
                let first = problems.first().map(|problem| format!("{}: {}", problem.path, problem.message)).unwrap_or_default();
                Err(format!("the definitions of {organization} do not fit together ({} problems): {first}", problems.len()))
            }
        })
    }
}
