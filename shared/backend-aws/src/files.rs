//! Objects of any bucket, brought to a folder as files: rows that others have put into S3. It must not write to a bucket, and it must not
//! mix two versions of an object: each is read in one piece, at the version that the list named.

use crate::failure::chain;
use engine::port::PortError;
use futures_util::TryStreamExt;
use object_store::aws::AmazonS3;
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::{GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt};
use std::path::{Path, PathBuf};
use tokio::io::AsyncWriteExt;

/// So many objects are one source.
const MOST: usize = 10_000;

/// The objects of a bucket.
#[derive(Debug)]
pub struct AwsFiles {
    bucket: AmazonS3,
    name: String,
}

impl AwsFiles {
    pub(crate) fn new(bucket: AmazonS3, name: &str) -> AwsFiles {
        AwsFiles { bucket, name: name.to_owned() }
    }

    /// Brings the object of this key, or else those whose keys begin so, into a folder, which is emptied first. Gives each file with where it
    /// came from (`s3://bucket/key`), in the order of the keys. Empty objects and those that end in `/` are what consoles make of folders, and are left out; so are those
    /// whose last name begins with `_` or `.`, the marks of whoever wrote the others.
    ///
    /// # Errors
    /// `Missing` if there is none. `Failed` if an object was replaced meanwhile, too: then what is there is torn.
    pub async fn bring(&self, prefix: &str, folder: &Path) -> Result<Vec<(PathBuf, String)>, PortError> {
        let found = self.list(prefix).await?;
        drop(tokio::fs::remove_dir_all(folder).await);
        tokio::fs::create_dir_all(folder).await.map_err(|error| failed(folder, &error))?;
        let wanted: Vec<&ObjectMeta> = match found.iter().find(|object| object.location.as_ref() == prefix) {
            Some(one) => vec![one],
            None => found.iter().filter(|object| holds_rows(object)).collect(),
        };
        if wanted.is_empty() {
            return Err(PortError::Missing(format!("s3://{}/{prefix}", self.name)));
        }
        let mut files = Vec::with_capacity(wanted.len());
        for (number, object) in wanted.into_iter().enumerate() {
            let path = self.file(object, folder, &format!("{number:05}")).await?;
            files.push((path, format!("s3://{}/{}", self.name, object.location)));
        }
        Ok(files)
    }

    /// Removes the objects whose keys begin so.
    ///
    /// # Errors
    /// `Failed`
    pub async fn remove(&self, prefix: &str) -> Result<(), PortError> {
        for object in self.list(prefix).await? {
            match self.bucket.delete(&object.location).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(self.refused("delete", object.location.as_ref(), &error)),
            }
        }
        Ok(())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, PortError> {
        let (mut found, mut page_token) = (Vec::new(), None);
        loop {
            let options = PaginatedListOptions { page_token: page_token.take(), ..PaginatedListOptions::default() };
            let page = self.bucket.list_paginated(Some(prefix), options).await;
            let page = page.map_err(|error| self.refused("list", prefix, &error))?;
            found.extend(page.result.objects);
            page_token = page.page_token;
            if found.len() > MOST {
                return Err(PortError::Failed(format!("s3://{}/{prefix} begins more than {MOST} keys: name fewer", self.name)));
            }
            if page_token.is_none() {
                found.sort_by(|a, b| a.location.cmp(&b.location));
                return Ok(found);
            }
        }
    }

    async fn file(&self, object: &ObjectMeta, folder: &Path, name: &str) -> Result<PathBuf, PortError> {
        let key = object.location.as_ref();
        let options = GetOptions { if_match: object.e_tag.clone(), ..GetOptions::default() };
        let read = self.bucket.get_opts(&object.location, options).await.map_err(|error| self.refused("read", key, &error))?;
        let path = folder.join(name);
        let mut file = tokio::fs::File::create(&path).await.map_err(|error| failed(&path, &error))?;
        let mut stream = read.into_stream();
        let mut length = 0;
        while let Some(bytes) = stream.try_next().await.map_err(|error| self.refused("read", key, &error))? {
            length += bytes.len() as u64;
            file.write_all(&bytes).await.map_err(|error| failed(&path, &error))?;
        }
        file.flush().await.map_err(|error| failed(&path, &error))?;
        match length == object.size {
            true => Ok(path),
            false => Err(PortError::Failed(format!("S3 gave {length} of {} bytes of s3://{}/{key}", object.size, self.name))),
        }
    }

    fn refused(&self, what: &str, key: &str, error: &object_store::Error) -> PortError {
        match error {
            object_store::Error::NotFound { .. } => PortError::Missing(format!("s3://{}/{key}", self.name)),
            object_store::Error::Precondition { .. } => {
                PortError::Failed(format!("s3://{}/{key} was replaced while it was read: plan again once it is whole", self.name))
            }
            error => PortError::Failed(format!("S3 could not {what} s3://{}/{key}: {}", self.name, chain(error))),
        }
    }
}

fn holds_rows(object: &ObjectMeta) -> bool {
    object.size > 0 && object.location.filename().is_some_and(|name| !name.starts_with(['_', '.']))
}

fn failed(path: &Path, error: &std::io::Error) -> PortError {
    let message = format!("cannot write {}: {error}", path.display());
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            PortError::Full(format!("{message}: the rows do not fit on the function's disk, give it more (EphemeralStorage)"))
        }
        _ => PortError::Failed(message),
    }
}
