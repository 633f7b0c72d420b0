//! Documents in one DynamoDB table. Conditions do for us what transactions do elsewhere: each document by itself is whole or absent.
//!
//! Versions are random numbers of 63 bits, so that none comes back for a key, after deletion neither. A conditional write asks for what
//! is there if it is refused: the SDK tries again when an answer is lost, and then meets its own write. It must not keep anything
//! between calls.

mod condition;
pub(crate) mod item;
mod many;
mod query;

use std::ops::Range;
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use engine::port::{Document, Expect, Index, Key, Listed, PortError, Store, Stored, Write};
use ring::rand::{SecureRandom, SystemRandom};

use self::condition::Doubt;
pub(crate) use self::many::BATCH;
pub(crate) use self::query::PAGE;
use crate::failure::failed;

/// The documents of a table. Clones share the connections.
#[derive(Clone, Debug)]
pub struct AwsStore {
    client: Client,
    table: Arc<str>,
}

impl AwsStore {
    pub(crate) fn new(client: Client, table: &str) -> AwsStore {
        AwsStore { client, table: table.into() }
    }

    fn call(&self, operation: &str) -> String {
        format!("DynamoDB {operation} on table {}", self.table)
    }

    /// Puts what was checked.
    async fn put_now(&self, key: &Key, document: Document, expect: Expect, now: u64) -> Result<u64, PortError> {
        let version = new_version()?;
        let mut call = self.client.put_item().table_name(&*self.table).set_item(Some(item::item_of(key, document, version)));
        let Some(condition) = condition::of(expect, now) else {
            return call.send().await.map(|_| version).map_err(|error| failed(&self.call("PutItem"), &error));
        };
        for (name, value) in condition.values {
            call = call.expression_attribute_values(name, value);
        }
        let doubt = Doubt::default();
        let call = call
            .condition_expression(condition.expression)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .customize()
            .interceptor(doubt.clone());
        match call.send().await {
            Ok(_) => Ok(version),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(refused)) => {
                    condition::refused_put(refused.item.as_ref(), version, &doubt)
                }
                _ => Err(failed(&self.call("PutItem"), &error)),
            },
        }
    }

    /// Deletes what was checked.
    async fn delete_now(&self, key: &Key, expect: Expect, now: u64) -> Result<(), PortError> {
        let mut call = self.client.delete_item().table_name(&*self.table).set_key(Some(item::key_of(key)));
        let Some(condition) = condition::of(expect, now) else {
            return call.send().await.map(|_| ()).map_err(|error| failed(&self.call("DeleteItem"), &error));
        };
        for (name, value) in condition.values {
            call = call.expression_attribute_values(name, value);
        }
        let doubt = Doubt::default();
        let call = call
            .condition_expression(condition.expression)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .customize()
            .interceptor(doubt.clone());
        match call.send().await {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(refused)) => {
                    Err(condition::refused_delete(refused.item.as_ref(), &doubt))
                }
                _ => Err(failed(&self.call("DeleteItem"), &error)),
            },
        }
    }
}

impl Store for AwsStore {
    async fn get(&self, key: &Key, now: u64) -> Result<Option<Stored>, PortError> {
        item::check_key("document", &key.partition, &key.sort)?;
        let call = self.client.get_item().table_name(&*self.table).set_key(Some(item::key_of(key))).consistent_read(true);
        let found = call.send().await.map_err(|error| failed(&self.call("GetItem"), &error))?;
        found.item.map_or(Ok(None), |item| item::stored(item, now))
    }

    async fn put(&self, key: &Key, document: Document, expect: Expect, now: u64) -> Result<u64, PortError> {
        item::check_document(key, &document)?;
        self.put_now(key, document, expect, now).await
    }

    async fn delete(&self, key: &Key, expect: Expect, now: u64) -> Result<(), PortError> {
        item::check_key("document", &key.partition, &key.sort)?;
        self.delete_now(key, expect, now).await
    }

    async fn write(&self, writes: Vec<Write>, now: u64) -> Result<Vec<Result<u64, PortError>>, PortError> {
        self.write_now(writes, now).await
    }

    async fn list(&self, partition: &str, range: Range<&str>, limit: usize, now: u64) -> Result<Vec<Stored>, PortError> {
        self.list_now(partition, range, limit, now).await
    }

    async fn list_index(
        &self,
        index: Index,
        partition: &str,
        range: Range<&str>,
        newest_first: bool,
        limit: usize,
        now: u64,
    ) -> Result<Vec<Listed>, PortError> {
        self.list_index_now(index, partition, range, newest_first, limit, now).await
    }
}

/// A version that no key ever had, for all that chance can do: 1 to 2^63 - 1.
fn new_version() -> Result<u64, PortError> {
    let mut bytes = [0; 8];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| PortError::Failed("the operating system gives no random bytes".to_owned()))?;
    Ok((u64::from_le_bytes(bytes) >> 1).max(1))
}
