//! One attempt within the loop: a delivery is rendered, its answer judged, and both are noted for the log. It must not wait.

use super::Worker;
use crate::deliver::Attempted;
use crate::deliver::log::Origin;
use crate::deliver::order::{self, Order};
use crate::judge::{self, Class, SuccessRule, Verdict};
use crate::lane::backlog::Parcel;
use crate::lane::pump::{Candidate, Grant, Slot};
use crate::port::{Clock, Exchange, Now, Objects, Store, Transport};
use crate::record::page::{self, Line, LoggedRequest};
use crate::record::segment::UnsentRow;
use crate::shape::{Occasion, Rendered};
use std::borrow::Cow;
use std::rc::Rc;

impl<S: Store, O: Objects, T: Transport, C: Clock> Worker<'_, S, O, T, C> {
    /// Renders a candidate. `None`: nothing of it can be sent, and that is noted.
    pub(super) fn prepare(&mut self, candidate: Candidate, now: Now) -> Option<(Grant, Rendered, u64)> {
        let parcel = Rc::clone(self.pump.parcel(candidate.slot));
        if parcel.rule().is_some() {
            let rendered = self.render_event(candidate, now)?;
            return Some((self.pump.start(candidate, now), rendered, 1));
        }
        let context = Rc::clone(&self.contexts[&parcel.run]);
        let deliveries = Rc::clone(&self.rows[&candidate.slot]);
        let id = order::delivery_id(&parcel.run, parcel.number, candidate.index);
        let occasion = Occasion { run: &parcel.run, started_at: &context.started_at, delivery: &id };
        let rows = &deliveries[candidate.index as usize];
        let Order { rendered, rows, unsent } = order::order(&context.compiled, parcel.action, &context.names, rows, occasion);
        match rendered {
            Some(rendered) => {
                let grant = self.pump.start(candidate, now);
                if grant.number == 1 && !unsent.is_empty() {
                    self.note_unsent(candidate, &parcel, &context.export, unsent, now);
                }
                Some((grant, rendered, rows))
            }
            None => {
                let record = self.pump.unsendable(candidate, now);
                let first = unsent.first().map(|(_, why)| why.clone());
                let (reason, body) = first.map_or_else(Default::default, |why| (why.reason, why.body));
                let action = context.compiled.action(parcel.action);
                let method = action.map_or("", |action| action.action.method.as_str()).to_string();
                let body = body.map(|body| self.attachments.shown_text(&body));
                let request = LoggedRequest { method, url: String::new(), headers: Vec::new(), body };
                let number = record.number;
                self.log.add(
                    Origin { slot: candidate.slot, parcel: &parcel, export: &context.export },
                    Class::RenderError,
                    record,
                    now.mono,
                    |page| {
                        let error = Some(Cow::Borrowed(reason.as_str()));
                        let line = Line {
                            parcel: parcel.number,
                            index: candidate.index,
                            number,
                            request: Cow::Borrowed(&request),
                            response: None,
                            error,
                        };
                        page::append(page, &line);
                    },
                );
                self.watch.attempted(&Attempted {
                    lane: self.job.lane,
                    run: &parcel.run,
                    export: &context.export,
                    rule: None,
                    delivery: &id,
                    number,
                    class: Class::RenderError,
                    status: None,
                    started_ms: now.wall / 1000,
                    duration_ms: 0,
                    rows: unsent.len() as u64,
                    last: true,
                    error: Some(&reason),
                });
                self.note_unsent(candidate, &parcel, &context.export, unsent, now);
                self.after(candidate.slot);
                None
            }
        }
    }

    fn note_unsent(&mut self, candidate: Candidate, parcel: &Parcel, export: &str, unsent: Vec<(u32, crate::shape::Unrendered)>, now: Now) {
        let rows = unsent
            .into_iter()
            .map(|(row, why)| UnsentRow { index: candidate.index, row, reason: self.attachments.shown_text(&why.reason) })
            .collect();
        self.log.add_unsent(Origin { slot: candidate.slot, parcel, export }, rows, now.mono);
    }

    pub(super) fn answered(&mut self, grant: Grant, shown: &LoggedRequest, rows: u64, exchange: &Exchange, chance: f64) {
        let now = self.ports.clock.now();
        let candidate = grant.candidate;
        let number = grant.number;
        let parcel = Rc::clone(self.pump.parcel(candidate.slot));
        let context = self.contexts.get(&parcel.run).map(Rc::clone);
        let export = context.as_ref().map_or("", |context| context.export.as_str());
        let verdict: Verdict = match context.as_ref().map(|context| (context, context.compiled.action(parcel.action))) {
            None => self.judge_event(candidate.slot, exchange, now.wall),
            Some((context, Some(action))) => {
                let rule = SuccessRule::of(&action.action, action.success_path.as_ref(), context.compiled.shape.on_partial);
                judge::judge(exchange, rows, &rule, &self.job.destination.retry, now.wall)
            }
            Some((_, None)) => unreachable!("a request was rendered from this action"),
        };
        let record = self.pump.answered(grant, &verdict, rows, now, chance);
        let delivery = order::delivery_id(&parcel.run, parcel.number, candidate.index);
        let (started_ms, duration_ms, last) = (record.started_ms, record.duration_ms, record.last);
        let error = verdict.error.as_ref().map(|error| self.attachments.shown_text(error));
        let response = match exchange {
            Exchange::Response(response) => Some(self.attachments.shown_response(response)),
            Exchange::Failure { .. } => None,
        };
        self.log.add(Origin { slot: candidate.slot, parcel: &parcel, export }, verdict.class, record, now.mono, |page| {
            let line = Line {
                parcel: parcel.number,
                index: candidate.index,
                number,
                request: Cow::Borrowed(shown),
                response: response.as_ref().map(Cow::Borrowed),
                error: error.as_deref().map(Cow::Borrowed),
            };
            page::append(page, &line);
        });
        self.watch.attempted(&Attempted {
            lane: self.job.lane,
            run: &parcel.run,
            export,
            rule: parcel.rule(),
            delivery: &delivery,
            number,
            class: verdict.class,
            status: verdict.status,
            started_ms,
            duration_ms,
            rows,
            last,
            error: error.as_deref(),
        });
        self.after(candidate.slot);
    }

    /// Something of a parcel has ended: its rows may go, or all of it.
    pub(super) fn after(&mut self, slot: Slot) {
        if self.pump.is_done(slot) {
            self.ended.push(slot);
        }
        if self.pump.unload_idle(slot) {
            self.rows.remove(&slot);
            self.events.forget(slot);
            self.turns_changed = true;
        }
    }
}
