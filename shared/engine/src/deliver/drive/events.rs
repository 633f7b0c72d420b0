//! Events within the loop: they are opened in the order in which they happened, made ready beside what is sent (which may take fetches),
//! and rendered. It must not wait.

use super::{Pending, Worker};
use crate::deliver::Attempted;
use crate::deliver::log::Origin;
use crate::deliver::order;
use crate::event::fetch::{self, Compiled, Failed, Loaded, Prepared};
use crate::judge::{self, Class, SuccessRule, Verdict};
use crate::lane::backlog::Parcel;
use crate::lane::pump::{Candidate, Slot};
use crate::model::export::OnPartial;
use crate::port::{Clock, Exchange, Key, Now, Objects, PortError, Store, Transport};
use crate::record::page::{self, Line, LoggedRequest, LoggedResponse};
use crate::shape::{Rendered, Unrendered};
use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

/// So many events that could be sent are open at once; what was fetched for them is held in memory.
const OPEN_EVENTS: usize = 64;
/// So many parcels are open at once, most of them waiting for another one of their key.
const OPEN_PARCELS: usize = 10_000;

/// What the loop holds of events.
#[derive(Default)]
pub(super) struct Events {
    /// Parcels of the backlog that are not open, in order.
    pub waiting: VecDeque<(Key, Parcel)>,
    compiled: Rc<Compiled>,
    loaded: HashMap<Slot, Box<Loaded>>,
}

/// What making ready a delivery came to, and when that began.
pub(super) type Readied = (Candidate, Now, Result<Prepared, PortError>);

impl Events {
    /// A parcel that was made ready may go, or is done.
    pub fn forget(&mut self, slot: Slot) {
        self.loaded.remove(&slot);
    }
}

/// An attempt of an event that sent nothing.
struct Unsent<'a> {
    class: Class,
    request: &'a LoggedRequest,
    response: Option<&'a LoggedResponse>,
    error: &'a str,
}

impl<'a, S: Store, O: Objects, T: Transport, C: Clock> Worker<'a, S, O, T, C> {
    /// Opens events until enough are open.
    pub(super) async fn open_events(&mut self) -> Result<(), PortError> {
        while self.pump.fresh_events() < OPEN_EVENTS && self.pump.open_parcels() < OPEN_PARCELS {
            let Some((key, parcel)) = self.events.waiting.pop_front() else { break };
            self.open(key, parcel).await?;
        }
        Ok(())
    }

    /// Makes an event's delivery ready, beside what is sent.
    pub(super) fn ready(&mut self, candidate: Candidate, now: Now) -> Pending<'a, Readied> {
        self.pump.preparing(candidate);
        let (ports, lane, compiled) = (self.ports, self.job.lane, Rc::clone(&self.events.compiled));
        let id = self.pump.parcel(candidate.slot).run.clone();
        Box::pin(async move {
            let delivery = order::delivery_id(&id, 0, 0);
            let prepared = fetch::prepare(ports, &lane.organization, &id, &delivery, &compiled).await;
            (candidate, now, prepared)
        })
    }

    /// A delivery was made ready, or never will be.
    pub(super) fn readied(&mut self, (candidate, started, prepared): Readied, chance: f64) -> Result<(), PortError> {
        let now = self.ports.clock.now();
        match prepared? {
            Prepared::Ready(loaded) => {
                self.events.loaded.insert(candidate.slot, loaded);
                self.pump.prepared(candidate);
            }
            Prepared::Failed(failed) => {
                let Failed { request, response, verdict, .. } = *failed;
                let record = self.pump.fetch_failed(candidate, &verdict, started, now, chance);
                let error = verdict.error.as_deref().unwrap_or_default();
                let unsent = Unsent { class: verdict.class, request: &request, response: response.as_ref(), error };
                self.note_attempt(candidate, record, unsent, now);
            }
            Prepared::Lost(why) => {
                let record = self.pump.lost(candidate, now);
                let request = LoggedRequest { method: String::new(), url: String::new(), headers: Vec::new(), body: None };
                let unsent = Unsent { class: Class::InternalError, request: &request, response: None, error: &why };
                self.note_attempt(candidate, record, unsent, now);
            }
        }
        Ok(())
    }

    /// Renders an event's delivery. `None`: it cannot be, and that is noted.
    pub(super) fn render_event(&mut self, candidate: Candidate, now: Now) -> Option<Rendered> {
        let loaded = &self.events.loaded[&candidate.slot];
        let delivery = order::delivery_id(&loaded.errand.id, 0, 0);
        let Unrendered { reason, body, .. } = match loaded.step.render(&loaded.around, &loaded.outputs, &delivery) {
            Ok(rendered) => return Some(rendered),
            Err(wrong) => wrong,
        };
        let method = loaded.step.action.action.method.as_str().to_string();
        let body = body.map(|body| self.attachments.shown_text(&body));
        let request = LoggedRequest { method, url: String::new(), headers: Vec::new(), body };
        let record = self.pump.unsendable(candidate, now);
        let reason = self.attachments.shown_text(&reason);
        self.note_attempt(candidate, record, Unsent { class: Class::RenderError, request: &request, response: None, error: &reason }, now);
        None
    }

    /// What the answer to an event's delivery means.
    pub(super) fn judge_event(&self, slot: Slot, exchange: &Exchange, wall: u64) -> Verdict {
        let action = &self.events.loaded[&slot].step.action;
        let rule = SuccessRule::of(&action.action, action.success_path.as_ref(), OnPartial::NextRun);
        judge::judge(exchange, 1, &rule, &self.job.destination.retry, wall)
    }

    /// Notes an attempt that sent nothing.
    fn note_attempt(&mut self, candidate: Candidate, record: crate::record::segment::AttemptRecord, unsent: Unsent<'_>, now: Now) {
        let Unsent { class, request, response, error } = unsent;
        let parcel = Rc::clone(self.pump.parcel(candidate.slot));
        let (number, started_ms, duration_ms, last) = (record.number, record.started_ms, record.duration_ms, record.last);
        self.log.add(Origin { slot: candidate.slot, parcel: &parcel, export: "" }, class, record, now.mono, |page| {
            let line = Line {
                parcel: parcel.number,
                index: candidate.index,
                number,
                request: Cow::Borrowed(request),
                response: response.map(Cow::Borrowed),
                error: Some(Cow::Borrowed(error)),
            };
            page::append(page, &line);
        });
        self.watch.attempted(&Attempted {
            lane: self.job.lane,
            run: &parcel.run,
            export: "",
            rule: parcel.rule(),
            delivery: &order::delivery_id(&parcel.run, 0, 0),
            number,
            class,
            status: None,
            started_ms,
            duration_ms,
            rows: 1,
            last,
            error: Some(error),
        });
        self.after(candidate.slot);
    }
}
