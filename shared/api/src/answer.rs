//! What a handler answers, before it is HTTP.

use crate::problem::Problem;
use bytes::Bytes;
use futures_util::stream::LocalBoxStream;
use serde::Serialize;

/// An answer that is no problem.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) content: Content,
}

/// What stands in it.
pub(crate) enum Content {
    Nothing,
    /// Bytes of a type.
    Whole(&'static str, Bytes),
    /// Pieces of a type; a failure breaks the answer off, so that it cannot be taken for whole.
    Pieces(&'static str, LocalBoxStream<'static, Result<Bytes, Problem>>),
}

impl Answer {
    /// JSON.
    pub(crate) fn json(status: u16, value: &impl Serialize) -> Answer {
        let bytes = serde_json::to_vec(value).expect("plain data always serializes");
        Answer { status, headers: Vec::new(), content: Content::Whole("application/json", bytes.into()) }
    }

    /// 204.
    pub(crate) fn nothing() -> Answer {
        Answer { status: 204, headers: Vec::new(), content: Content::Nothing }
    }

    /// Text of a type.
    pub(crate) fn text(kind: &'static str, text: impl Into<Bytes>) -> Answer {
        Answer { status: 200, headers: Vec::new(), content: Content::Whole(kind, text.into()) }
    }

    /// With a header.
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Answer {
        self.headers.push((name, value.into()));
        self
    }
}
