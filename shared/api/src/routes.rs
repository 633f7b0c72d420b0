//! The one table of operations: what there is, and what does it. Router, checks, document and page are all made from it.

use crate::operation::{Operation, Route};
use crate::{apply, definitions, deliveries, destinations, events, organization, plans, process, push, render, requests, runs, tokens};

macro_rules! table {
    ($($operation:path => $serve:path),* $(,)?) => {
        /// Every operation, in the order of the page.
        pub(crate) static OPERATIONS: &[&Operation] = &[$(&$operation),*];

        /// Every operation with what does it.
        pub(crate) fn routes<O: crate::office::Office>() -> Vec<Route<O>> {
            vec![$(Route { operation: &$operation, serve: |office, call| Box::pin($serve(office, call)) }),*]
        }
    };
}

table! {
    organization::GET => organization::get,
    organization::PUT => organization::put,
    apply::APPLY => apply::apply,
    tokens::LIST => tokens::list,
    tokens::CREATE => tokens::create,
    tokens::REVOKE => tokens::revoke,
    definitions::LIST_CREDENTIALS => definitions::list,
    definitions::GET_CREDENTIAL => definitions::get,
    definitions::PUT_CREDENTIAL => definitions::put,
    definitions::DELETE_CREDENTIAL => definitions::delete,
    definitions::LIST_DESTINATIONS => definitions::list,
    definitions::GET_DESTINATION => definitions::get,
    definitions::PUT_DESTINATION => definitions::put,
    definitions::DELETE_DESTINATION => definitions::delete,
    destinations::TEST => destinations::test,
    destinations::PAUSE => destinations::pause,
    destinations::RESUME => destinations::resume,
    definitions::LIST_MODELS => definitions::list,
    definitions::GET_MODEL => definitions::get,
    definitions::PUT_MODEL => definitions::put,
    definitions::DELETE_MODEL => definitions::delete,
    push::CHANGES => push::changes,
    push::BEGIN => push::begin,
    push::PART => push::part,
    push::PART_URL => push::part_url,
    push::COMMIT => push::commit,
    push::ABORT => push::abort,
    definitions::LIST_EXPORTS => definitions::list,
    definitions::GET_EXPORT => definitions::get,
    definitions::PUT_EXPORT => definitions::put,
    definitions::DELETE_EXPORT => definitions::delete,
    definitions::LIST_REQUESTS => definitions::list,
    definitions::GET_REQUEST => definitions::get,
    definitions::PUT_REQUEST => definitions::put,
    definitions::DELETE_REQUEST => definitions::delete,
    requests::TEST => requests::test,
    definitions::LIST_EVENT_TYPES => definitions::list,
    definitions::GET_EVENT_TYPE => definitions::get,
    definitions::PUT_EVENT_TYPE => definitions::put,
    definitions::DELETE_EVENT_TYPE => definitions::delete,
    definitions::LIST_RULES => definitions::list,
    definitions::GET_RULE => definitions::get,
    definitions::PUT_RULE => definitions::put,
    definitions::DELETE_RULE => definitions::delete,
    events::TAKE => events::take,
    plans::MAKE => plans::make,
    plans::GET => plans::get,
    plans::REQUESTS => plans::requests,
    runs::START => runs::start,
    runs::LIST => runs::list,
    runs::GET => runs::get,
    runs::CANCEL => runs::cancel,
    runs::APPROVE => runs::approve,
    deliveries::LIST => deliveries::list,
    deliveries::GET => deliveries::get,
    deliveries::REDELIVER_ONE => deliveries::redeliver_one,
    deliveries::REDELIVER => deliveries::redeliver,
    render::RENDER => render::render,
    process::HEALTH => process::health,
    process::METRICS => process::metrics,
    process::OPENAPI => process::openapi,
    process::DOCS => process::docs,
}
