//! Rows that are handed in: changes as upserts and removals, or a whole snapshot as an upload of parts that is committed. What was
//! pushed is one document that lists objects, so that every push takes place whole or not at all. It must not know how rows come here,
//! nor read rows but to check that they can be told apart.
//!
//! Objects: `pushed/org/M/…` (the base and the changes after it, NDJSON, zstd-compressed) and `uploads/org/M/U/N` (parts, as they came).

mod changes;
mod current;
mod line;
mod state;
mod upload;

pub use changes::{Accepted, changes};
pub use current::{Current, FoldRows, current};
pub use state::{Base, Pushed, forget, read, sweep};
pub use upload::{Committed, MOST_PART_BYTES, MOST_PARTS, Refused, UPLOAD_SECONDS, abort, begin_upload, commit, part_object, put_part};

/// The longest line that is taken, bytes: a source reads no longer ones.
pub const MOST_LINE_BYTES: usize = 8 << 20;

/// Problems that are listed; then only their number is told.
const LISTED_PROBLEMS: usize = 1_000;

/// Collects problems, each with its place, up to a limit.
#[derive(Default)]
struct Problems {
    listed: Vec<crate::model::project::Problem>,
    more: usize,
}

impl Problems {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        if self.listed.len() < LISTED_PROBLEMS {
            self.listed.push(crate::model::project::Problem { path: path.into(), message: message.into() });
        } else {
            self.more += 1;
        }
    }

    fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    fn into_list(mut self) -> Vec<crate::model::project::Problem> {
        if self.more > 0 {
            let message = format!("there are {} problems more; correct these first", self.more);
            self.listed.push(crate::model::project::Problem { path: "rows".to_string(), message });
        }
        self.listed
    }
}

/// Lets other tasks of the same thread have a turn: checking millions of lines must not hold up a lane's heartbeat.
async fn others_first() {
    let mut waited = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut waited, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
