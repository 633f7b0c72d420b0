//! Objects in one S3 bucket, through the `object_store` crate. S3 writes an object whole or not at all, and reads are strong.
//!
//! It must not change an object in place, nor trust a local copy that S3 does not confirm: each use of one asks whether the object is still
//! the same (`If-None-Match`), which costs a request and no transfer.

mod connector;
mod name;
mod scratch;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::object_name;
use engine::port::{Objects, PortError};
use futures_util::TryStreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder, AwsCredential};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::signer::Signer;
use object_store::{
    BackoffConfig, GetOptions, GetRange, GetResult, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig, StaticCredentialProvider,
};
use tokio::io::AsyncReadExt;

use self::connector::S3Connector;
use self::scratch::Scratch;
use crate::environment::Environment;
use crate::failure::chain;
use crate::http::S3Http;
use crate::meter::Meter;

/// Files up to this size are one PUT; beyond it parts of this size are sent (S3 takes 5 MiB to 5 GiB, and at most 10,000 of them).
const PART: usize = 8 << 20;
/// A file beyond this has larger parts, so that they are not too many.
const LARGE: u64 = 8000 * PART as u64;
/// No file of ours comes near; S3 ends at 5 TiB.
const LARGEST: u64 = 1 << 40;
/// No object is read whole beyond this, since a function has little memory: a part of an upload is the largest that is.
const LARGEST_WHOLE: u64 = 128 << 20;
/// Without a byte for so long, a transfer is given up.
const SILENCE: Duration = Duration::from_secs(20);
/// Further tries of a request.
const RETRIES: usize = 3;
/// Pages of one list, a thousand names each.
const PAGES: usize = 10_000;

/// The objects of a bucket. Clones share the connections and the local copies.
#[derive(Clone, Debug)]
pub struct AwsObjects {
    bucket: Arc<AmazonS3>,
    scratch: Arc<Scratch>,
}

/// The way to a bucket.
pub(crate) fn bucket(environment: &Environment, name: &str, http: Arc<S3Http>, meter: &Meter) -> Result<AmazonS3, PortError> {
    let keys = &environment.credentials;
    let credential = AwsCredential {
        key_id: keys.access_key_id().to_owned(),
        secret_key: keys.secret_access_key().to_owned(),
        token: keys.session_token().map(str::to_owned),
    };
    let backoff = BackoffConfig { init_backoff: Duration::from_millis(50), max_backoff: Duration::from_secs(2), base: 2.0 };
    let retry = RetryConfig { backoff, max_retries: RETRIES, retry_timeout: Duration::from_secs(30) };
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(name)
        .with_region(&environment.region)
        .with_credentials(Arc::new(StaticCredentialProvider::new(credential)))
        .with_retry(retry)
        // One by one they are free; together they are a POST.
        .with_disable_bulk_delete(true)
        .with_http_connector(S3Connector::new(http, meter.clone()));
    match &environment.endpoint {
        // Beside AWS itself buckets are rarely host names.
        Some(endpoint) => builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http:")),
        // A certificate of S3 holds for one label before its name.
        None => builder = builder.with_virtual_hosted_style_request(!name.contains('.')),
    }
    builder.build().map_err(|error| PortError::Failed(format!("bucket {}: {}", name, chain(&error))))
}

impl AwsObjects {
    pub(crate) fn new(environment: &Environment, names: &crate::Names, http: Arc<S3Http>, meter: &Meter) -> Result<AwsObjects, PortError> {
        let bucket = bucket(environment, &names.bucket, http, meter)?;
        let scratch = Scratch::open(names.scratch.clone(), names.scratch_bytes)?;
        Ok(AwsObjects { bucket: Arc::new(bucket), scratch: Arc::new(scratch) })
    }

    /// The same with connections of its own; the copies are shared.
    pub(crate) fn anew(&self, environment: &Environment, name: &str, http: Arc<S3Http>, meter: &Meter) -> Result<AwsObjects, PortError> {
        Ok(AwsObjects { bucket: Arc::new(bucket(environment, name, http, meter)?), scratch: Arc::clone(&self.scratch) })
    }

    /// Says that nobody reads a file any more that [`Objects::local`] gave: as at the beginning of a call of a function. Until then files
    /// stay where they are, and `local` answers `Full` where no more of them fit.
    pub fn release(&self) {
        self.scratch.release();
    }

    /// A URL to which whoever has it may `PUT` an object for so long, and no longer than the function's own credentials hold.
    ///
    /// # Errors
    /// The name is none of an object.
    pub async fn presigned(&self, name: &str, expires_in: Duration) -> Result<String, PortError> {
        let signed = self.bucket.signed_url(http::Method::PUT, &name::path(name)?, expires_in).await;
        signed.map(String::from).map_err(|error| failed("sign", name, &error))
    }

    /// Sends a file in parts, so that it is never in memory whole; what was sent is taken back if it does not come to its end.
    async fn send_parts(&self, name: &str, mut file: tokio::fs::File, path: &Path, part: usize) -> Result<(), PortError> {
        let place = name::path(name)?;
        let mut upload = self.bucket.put_multipart(&place).await.map_err(|error| failed("write", name, &error))?;
        let sent = async {
            loop {
                let bytes = read_up_to(&mut file, part).await.map_err(|error| file_error("read", path, &error))?;
                if bytes.is_empty() {
                    break;
                }
                upload.put_part(PutPayload::from(bytes)).await.map_err(|error| failed("write", name, &error))?;
            }
            upload.complete().await.map_err(|error| failed("write", name, &error))
        };
        match sent.await {
            Ok(_) => Ok(()),
            Err(error) => {
                // Left behind, it would cost storage until the bucket's lifecycle rule takes it.
                let _ = upload.abort().await;
                Err(error)
            }
        }
    }

    /// Why an object could not be read. To who may list only below prefixes S3 answers 403 for an object that is not there
    /// (docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html, permissions), so a refusal is looked into.
    async fn unread(&self, name: &str, error: &object_store::Error) -> PortError {
        let refused = matches!(error, object_store::Error::PermissionDenied { .. });
        match refused && self.list(name).await.is_ok_and(|names| !names.iter().any(|there| there == name)) {
            true => PortError::Missing(format!("object {name}")),
            false => failed("read", name, error),
        }
    }

    /// The length of an object.
    async fn length(&self, name: &str) -> Result<u64, PortError> {
        let about = match self.bucket.head(&name::path(name)?).await {
            Ok(about) => about,
            Err(error) => return Err(self.unread(name, &error).await),
        };
        Ok(about.size)
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, PortError> {
        let beyond = |length: u64| PortError::Missing(format!("bytes {}..{} of object {name} ({length} bytes)", range.start, range.end));
        if range.start > range.end {
            return Err(PortError::Failed(format!("object {name}: the range {}..{} ends before it starts", range.start, range.end)));
        }
        if range.is_empty() {
            // HTTP has no empty ranges.
            let length = self.length(name).await?;
            return if range.end <= length { Ok(Vec::new()) } else { Err(beyond(length)) };
        }
        let options = GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
        match self.bucket.get_opts(&name::path(name)?, options).await {
            Ok(found) if found.meta.size < range.end => Err(beyond(found.meta.size)),
            Ok(found) => collect(name, found).await,
            Err(error @ (object_store::Error::NotFound { .. } | object_store::Error::PermissionDenied { .. })) => {
                Err(self.unread(name, &error).await)
            }
            // S3 answers 416 to a range that starts behind the end.
            Err(error) => match self.length(name).await {
                Ok(length) if length < range.end => Err(beyond(length)),
                _ => Err(failed("read", name, &error)),
            },
        }
    }
}

impl Objects for AwsObjects {
    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), PortError> {
        let place = name::path(name)?;
        let put = self.bucket.put(&place, PutPayload::from(Bytes::from(bytes)));
        put.await.map(|_| ()).map_err(|error| failed("write", name, &error))
    }

    async fn adopt(&self, name: &str, file: &Path) -> Result<(), PortError> {
        name::path(name)?;
        let about = tokio::fs::metadata(file).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => PortError::Missing(file.display().to_string()),
            _ => file_error("read", file, &error),
        })?;
        if !about.is_file() {
            return Err(PortError::Failed(format!("{} is not a file: only a whole file can become an object", file.display())));
        }
        if about.len() > LARGEST {
            return Err(PortError::Failed(format!("{} has {} bytes: at most {LARGEST} become an object", file.display(), about.len())));
        }
        if about.len() <= PART as u64 {
            let bytes = tokio::fs::read(file).await.map_err(|error| file_error("read", file, &error))?;
            self.put(name, bytes).await?;
        } else {
            let part = part_of(about.len());
            let opened = tokio::fs::File::open(file).await.map_err(|error| file_error("read", file, &error))?;
            self.send_parts(name, opened, file, part).await?;
        }
        tokio::fs::remove_file(file).await.map_err(|error| file_error("remove", file, &error))
    }

    async fn get(&self, name: &str, range: Option<Range<u64>>) -> Result<Vec<u8>, PortError> {
        let place = name::path(name)?;
        match range {
            Some(range) => self.get_range(name, range).await,
            None => match self.bucket.get(&place).await {
                Ok(found) if found.meta.size > LARGEST_WHOLE => Err(too_large(name)),
                Ok(found) => collect(name, found).await,
                Err(error) => Err(self.unread(name, &error).await),
            },
        }
    }

    async fn local(&self, name: &str) -> Result<PathBuf, PortError> {
        let place = name::path(name)?;
        let kept = self.scratch.kept(name);
        let options = GetOptions { if_none_match: kept.as_ref().map(|kept| kept.tag.clone()), ..GetOptions::default() };
        let found = match (self.bucket.get_opts(&place, options).await, kept) {
            (Err(object_store::Error::NotModified { .. }), Some(kept)) => return Ok(kept.path),
            (Ok(found), _) => found,
            (Err(error), _) => return Err(self.unread(name, &error).await),
        };
        let (length, tag) = (found.meta.size, found.meta.e_tag.clone());
        let mut fresh = self.scratch.begin(name, length).await?;
        let mut stream = found.into_stream();
        while let Some(bytes) = next(name, &mut stream).await? {
            fresh.write(&bytes).await?;
        }
        self.scratch.finish(name, fresh, tag).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, PortError> {
        object_name::check_prefix(prefix)?;
        let (mut names, mut page_token) = (Vec::new(), None);
        for _ in 0..PAGES {
            let options = PaginatedListOptions { page_token: page_token.take(), ..PaginatedListOptions::default() };
            let prefix = Some(prefix).filter(|prefix| !prefix.is_empty());
            let page = self.bucket.list_paginated(prefix, options).await;
            let page = page.map_err(|error| failed("list", prefix.unwrap_or_default(), &error))?;
            names.extend(page.result.objects.into_iter().map(|object| object.location.to_string()));
            page_token = page.page_token;
            if page_token.is_none() {
                return Ok(names);
            }
        }
        Err(PortError::Failed(format!("the objects below {prefix:?} are more than {PAGES} pages: list a longer prefix")))
    }

    async fn delete(&self, name: &str) -> Result<(), PortError> {
        match self.bucket.delete(&name::path(name)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed("delete", name, &error)),
        }
    }
}

/// The size of the parts of a file.
fn part_of(bytes: u64) -> usize {
    if bytes > LARGE { 20 * PART } else { PART }
}

/// In how many parts a file is sent; `None`: whole.
pub(crate) fn parts_of(bytes: u64) -> Option<u64> {
    (bytes > PART as u64).then(|| bytes.div_ceil(part_of(bytes) as u64))
}

fn too_large(name: &str) -> PortError {
    PortError::Failed(format!("object {name} does not fit into memory: read it in ranges"))
}

/// All bytes of an answer.
async fn collect(name: &str, found: GetResult) -> Result<Vec<u8>, PortError> {
    let length = usize::try_from(found.range.end - found.range.start).map_err(|_| too_large(name))?;
    let mut all = Vec::new();
    all.try_reserve_exact(length).map_err(|_| too_large(name))?;
    let mut stream = found.into_stream();
    while let Some(bytes) = next(name, &mut stream).await? {
        all.extend_from_slice(&bytes);
    }
    if all.len() != length {
        return Err(PortError::Failed(format!("S3 gave {} of {length} bytes of object {name}", all.len())));
    }
    Ok(all)
}

async fn next(
    name: &str,
    stream: &mut (impl futures_util::Stream<Item = object_store::Result<Bytes>> + Unpin),
) -> Result<Option<Bytes>, PortError> {
    match tokio::time::timeout(SILENCE, stream.try_next()).await {
        Ok(bytes) => bytes.map_err(|error| failed("read", name, &error)),
        Err(_) => Err(PortError::Failed(format!("S3 sent nothing of object {name} for {} s", SILENCE.as_secs()))),
    }
}

async fn read_up_to(file: &mut tokio::fs::File, most: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(most);
    file.take(most as u64).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

fn failed(what: &str, name: &str, error: &object_store::Error) -> PortError {
    match error {
        object_store::Error::NotFound { .. } => PortError::Missing(format!("object {name}")),
        error => PortError::Failed(format!("S3 could not {what} object {name}: {}", chain(error))),
    }
}

fn file_error(what: &str, path: &Path, error: &std::io::Error) -> PortError {
    let message = format!("cannot {what} {}: {error}", path.display());
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => PortError::Full(message),
        _ => PortError::Failed(message),
    }
}
