//! Sees the calls of the SDK's clients go by: what is asked before it is serialized, what came of each try after. It must not fail a call.

use aws_sdk_dynamodb::operation::batch_write_item::{BatchWriteItemInput, BatchWriteItemOutput};
use aws_sdk_dynamodb::operation::delete_item::{DeleteItemError, DeleteItemInput};
use aws_sdk_dynamodb::operation::get_item::{GetItemInput, GetItemOutput};
use aws_sdk_dynamodb::operation::put_item::{PutItemError, PutItemInput};
use aws_sdk_dynamodb::operation::query::{QueryInput, QueryOutput};
use aws_sdk_dynamodb::types::WriteRequest;
use aws_sdk_sqs::operation::receive_message::ReceiveMessageOutput;
use aws_sdk_sqs::operation::send_message_batch::SendMessageBatchInput;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextRef, Error, FinalizerInterceptorContextRef, Input, Output,
};
use aws_smithy_runtime_api::client::orchestrator::{Metadata, OrchestratorError};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};

use super::rules::{Shape, requests_of, shape, size, units_read};
use super::{Meter, Units, refused};
use crate::store::item::Item;

/// Feeds a meter.
#[derive(Debug)]
pub(crate) struct Count {
    meter: Meter,
}

/// What was asked, as far as its price depends on it.
#[derive(Debug)]
enum Asked {
    /// Puts (with a shape) and deletions.
    Writes { writes: Vec<(TableKey, Option<Shape>)> },
    /// A read, and whether it is strong.
    Read { strong: bool },
    /// Bytes of messages.
    Messages { bytes: u64 },
    /// Anything else.
    Other,
}

impl Storable for Asked {
    type Storer = StoreReplace<Asked>;
}

type TableKey = (String, String);
/// What came of a try; `None` without any answer.
type Outcome<'a> = Option<Result<&'a Output, &'a OrchestratorError<Error>>>;

impl Count {
    pub(crate) fn new(meter: &Meter) -> Count {
        Count { meter: meter.clone() }
    }
}

impl Intercept for Count {
    fn name(&self) -> &'static str {
        "Count"
    }

    fn read_before_serialization(
        &self,
        context: &BeforeSerializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let asked = asked(context.input());
        cfg.interceptor_state().store_put(asked);
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let (service, operation) = match cfg.load::<Metadata>() {
            Some(call) => (call.service(), call.name()),
            None => ("unknown", "unknown"),
        };
        let refused = context.output_or_error().and_then(Result::err).and_then(condition_failed);
        let status = context.response().map(|response| response.status().as_u16());
        let is_billed = refused.is_some() || status.is_none_or(|status| status < 400);
        let mut units = Units::default();
        if is_billed {
            let outcome = context.output_or_error();
            match (cfg.load::<Asked>(), refused) {
                (Some(Asked::Writes { writes }), Some(found)) => units.dynamodb_writes = refused_units(writes, found.as_ref()),
                (Some(Asked::Writes { writes }), None) => units.dynamodb_writes = self.written(writes, outcome),
                (Some(Asked::Read { strong }), _) => units.dynamodb_half_reads = units_read(read(outcome), *strong),
                (Some(Asked::Messages { bytes }), _) => units.sqs_requests = requests_of(*bytes),
                _ if service == "SQS" => units.sqs_requests = requests_of(received(outcome)),
                _ if service == "KMS" => units.kms_requests = 1,
                _ => {}
            }
        }
        self.meter.add(service, operation, units);
        Ok(())
    }
}

impl Count {
    /// Units of writes that took place, apart from those that DynamoDB left undone.
    fn written(&self, writes: &[(TableKey, Option<Shape>)], outcome: Outcome<'_>) -> u64 {
        let batch = outcome.and_then(Result::ok).and_then(|output| output.downcast_ref::<BatchWriteItemOutput>());
        let undone = batch.and_then(|answer| answer.unprocessed_items.as_ref());
        let undone: Vec<TableKey> = undone.into_iter().flat_map(|tables| tables.values().flatten().filter_map(key_of_request)).collect();
        writes.iter().filter(|(key, _)| !undone.contains(key)).map(|(key, new)| self.meter.written(key, new.as_ref())).sum()
    }
}

/// A refused write is billed by the larger of what was there and what was to be.
fn refused_units(writes: &[(TableKey, Option<Shape>)], found: Option<&Item>) -> u64 {
    let there = found.map_or(0, size);
    writes.iter().map(|(_, new)| refused(there, new.as_ref().map_or(0, |new| new.size))).sum()
}

/// If a condition did not hold: the item that was there.
fn condition_failed(error: &OrchestratorError<Error>) -> Option<Option<Item>> {
    let error = error.as_operation_error()?;
    if let Some(PutItemError::ConditionalCheckFailedException(refused)) = error.downcast_ref::<PutItemError>() {
        return Some(refused.item.clone());
    }
    if let Some(DeleteItemError::ConditionalCheckFailedException(refused)) = error.downcast_ref::<DeleteItemError>() {
        return Some(refused.item.clone());
    }
    None
}

fn asked(input: &Input) -> Asked {
    if let Some(put) = input.downcast_ref::<PutItemInput>() {
        let item = put.item.as_ref();
        return Asked::Writes { writes: item.and_then(|item| Some((key_of(item)?, Some(shape(item))))).into_iter().collect() };
    }
    if let Some(delete) = input.downcast_ref::<DeleteItemInput>() {
        let key = delete.key.as_ref().and_then(key_of);
        return Asked::Writes { writes: key.map(|key| (key, None)).into_iter().collect() };
    }
    if let Some(batch) = input.downcast_ref::<BatchWriteItemInput>() {
        let requests = batch.request_items.iter().flat_map(|tables| tables.values().flatten());
        let write = |request: &WriteRequest| Some((key_of_request(request)?, request.put_request.as_ref().map(|put| shape(&put.item))));
        return Asked::Writes { writes: requests.filter_map(write).collect() };
    }
    if let Some(get) = input.downcast_ref::<GetItemInput>() {
        return Asked::Read { strong: get.consistent_read.unwrap_or(false) };
    }
    if let Some(query) = input.downcast_ref::<QueryInput>() {
        return Asked::Read { strong: query.consistent_read.unwrap_or(false) };
    }
    if let Some(send) = input.downcast_ref::<SendMessageBatchInput>() {
        let bytes = send.entries.iter().flatten().map(|entry| entry.message_body.len() as u64).sum();
        return Asked::Messages { bytes };
    }
    Asked::Other
}

/// Bytes that a read went through: of one item, or of all of a page together.
fn read(outcome: Outcome<'_>) -> u64 {
    let Some(Ok(output)) = outcome else { return 0 };
    if let Some(answer) = output.downcast_ref::<GetItemOutput>() {
        return answer.item.as_ref().map_or(0, size);
    }
    output.downcast_ref::<QueryOutput>().map_or(0, |answer| answer.items.iter().flatten().map(size).sum())
}

fn received(outcome: Outcome<'_>) -> u64 {
    let answer = outcome.and_then(Result::ok).and_then(|output| output.downcast_ref::<ReceiveMessageOutput>());
    answer.map_or(0, |answer| {
        answer.messages.iter().flatten().filter_map(|message| message.body.as_ref()).map(|body| body.len() as u64).sum()
    })
}

fn key_of(item: &Item) -> Option<TableKey> {
    let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned();
    Some((text("pk")?, text("sk")?))
}

fn key_of_request(request: &WriteRequest) -> Option<TableKey> {
    match (&request.put_request, &request.delete_request) {
        (Some(put), _) => key_of(&put.item),
        (None, Some(delete)) => key_of(&delete.key),
        (None, None) => None,
    }
}
