//! What became of each delivery of a run, recounted from the attempt log: never counted along.

use crate::judge::Class;
use crate::keys;
use crate::model::name::Name;
use crate::plan::layout::Place;
use crate::port::{PortError, Store};
use crate::record::segment::{AttemptRecord, Segment, UnsentRow};
use std::collections::BTreeMap;

/// What became of one delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// Never tried.
    #[default]
    Untried,
    /// Accepted; all its rows, or this many.
    Delivered(Option<u32>),
    /// Refused for good.
    Rejected {
        /// An earlier attempt may have taken effect.
        uncertain: bool,
    },
    /// Its attempts failed.
    Failed {
        /// One of them may have taken effect.
        uncertain: bool,
    },
    /// None of its rows could be rendered.
    Unsendable,
}

/// What the log says of one parcel.
#[derive(Clone, Debug, Default)]
pub struct ParcelOutcome {
    /// One for each delivery.
    pub deliveries: Vec<Outcome>,
    /// Rows that were not sent, by delivery and place.
    pub unsent: BTreeMap<(u32, u32), String>,
    /// Requests tried.
    pub attempts: u64,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    number: u32,
    class: Option<Class>,
    status: Option<u16>,
    uncertain: bool,
    delivered: Option<Option<u32>>,
}

/// Reads what the log says of a parcel.
pub async fn of_parcel<S: Store>(store: &S, organization: &Name, run: &str, place: &Place, now: u64) -> Result<ParcelOutcome, PortError> {
    let (first, behind) = keys::segments_of(place.number);
    let partition = keys::run_partition(organization, run);
    let stored = store.list(&partition, &first..&behind, usize::MAX, now).await?;
    let mut segments = Vec::with_capacity(stored.len());
    for document in stored {
        segments.push(Segment::decode(&document.body).map_err(PortError::Failed)?);
    }
    Ok(recount(place.deliveries, segments))
}

/// What a parcel's segments come to.
pub fn recount(deliveries: u32, segments: Vec<Segment>) -> ParcelOutcome {
    let mut seen = vec![Seen::default(); deliveries as usize];
    let mut outcome = ParcelOutcome::default();
    for segment in segments {
        for UnsentRow { index, row, reason } in segment.unsent {
            outcome.unsent.insert((index, row), reason);
        }
        if segment.class != Class::RenderError {
            outcome.attempts += segment.attempts.len() as u64;
        }
        for record in &segment.attempts {
            if let Some(seen) = seen.get_mut(record.index as usize) {
                seen.take(segment.class, record);
            }
        }
    }
    outcome.deliveries = seen.into_iter().map(Seen::outcome).collect();
    outcome
}

impl Seen {
    fn take(&mut self, class: Class, record: &AttemptRecord) {
        self.uncertain |= record.uncertain;
        if class == Class::Success {
            self.delivered = Some(record.succeeded);
        }
        if record.number >= self.number {
            (self.number, self.class, self.status) = (record.number, Some(class), record.status);
        }
    }

    fn outcome(self) -> Outcome {
        let uncertain = self.uncertain;
        match (self.delivered, self.class) {
            (Some(succeeded), _) => Outcome::Delivered(succeeded),
            (None, None) => Outcome::Untried,
            (None, Some(Class::RenderError)) => Outcome::Unsendable,
            (None, Some(Class::ClientError)) if self.status != Some(408) => Outcome::Rejected { uncertain },
            (None, Some(Class::RedirectionError)) => Outcome::Rejected { uncertain },
            (None, Some(_)) => Outcome::Failed { uncertain },
        }
    }
}
