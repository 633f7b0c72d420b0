//! Sealing in memory: a sealed text is the number of a place in a table that only this process has. It must pass the whole contract.

use engine::port::{Belongs, PortError, Secrets};
use std::cell::RefCell;
use std::rc::Rc;

/// Secrets in memory. Clones share them.
#[derive(Clone, Default)]
pub struct MemorySecrets {
    kept: Rc<RefCell<Vec<Kept>>>,
}

struct Kept {
    plain: Vec<u8>,
    organization: String,
    document: String,
    version: u64,
}

impl MemorySecrets {
    /// Nothing sealed yet.
    pub fn new() -> MemorySecrets {
        MemorySecrets::default()
    }
}

impl std::fmt::Debug for MemorySecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MemorySecrets({})", self.kept.borrow().len())
    }
}

impl Secrets for MemorySecrets {
    async fn seal(&self, plain: &[u8], of: Belongs<'_>) -> Result<String, PortError> {
        let mut kept = self.kept.borrow_mut();
        let (organization, document) = (of.organization.to_owned(), of.document.to_owned());
        kept.push(Kept { plain: plain.to_vec(), organization, document, version: of.version });
        Ok(format!("memory.{}", kept.len() - 1))
    }

    async fn open(&self, sealed: &str, of: Belongs<'_>) -> Result<Vec<u8>, PortError> {
        let kept = self.kept.borrow();
        let number = sealed.strip_prefix("memory.").and_then(|number| number.parse::<usize>().ok());
        // A number has several spellings, and only one of them was given out.
        let found = number.filter(|number| format!("memory.{number}") == sealed).and_then(|number| kept.get(number));
        let belongs = |kept: &&Kept| kept.organization == of.organization && kept.document == of.document && kept.version == of.version;
        match found.filter(belongs) {
            Some(kept) => Ok(kept.plain.clone()),
            None => Err(PortError::Failed("the sealed value is not of this document".to_owned())),
        }
    }
}
