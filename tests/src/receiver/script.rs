//! What a receiver does with each request: actions, and scripts that choose them.

use std::time::Duration;

use bytes::Bytes;

use super::Received;

/// A response to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Added to what HTTP needs.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    /// A response with this status and body.
    pub fn new(status: u16, body: impl Into<Bytes>) -> Reply {
        Reply { status, headers: Vec::new(), body: body.into() }
    }

    /// The same with one more header.
    pub fn with_header(mut self, name: &str, value: impl ToString) -> Reply {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }
}

/// What is done with a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Answer it.
    Respond(Reply),
    /// Promise the whole body, send half of it, and close.
    CutShort(Reply),
    /// Reset the connection (RST) without an answer.
    Reset,
    /// Close the connection (FIN) without an answer.
    Close,
    /// Never answer, until the other side goes away.
    Stall,
    /// Do something later.
    Wait(Duration, Box<Action>),
}

impl Action {
    /// `{"ok":true}` with this status.
    pub fn status(status: u16) -> Action {
        Action::Respond(Reply::new(status, r#"{"ok":true}"#))
    }

    /// Whether the sender learns that the request was taken.
    pub(super) fn says_yes(&self) -> bool {
        match self {
            Action::Respond(reply) => (200..300).contains(&reply.status),
            Action::Wait(_, then) => then.says_yes(),
            _ => false,
        }
    }

    /// Whether the sender learns nothing for certain.
    pub(super) fn says_nothing(&self) -> bool {
        match self {
            Action::Respond(reply) => reply.status >= 500,
            Action::Wait(_, then) => then.says_nothing(),
            Action::CutShort(_) | Action::Reset | Action::Close | Action::Stall => true,
        }
    }
}

/// Decides what becomes of each request. Closures over [`Received`] are scripts too.
pub trait Script: Send + 'static {
    /// Acts on the head alone, before the body is read; `None` reads on.
    fn before_reading(&mut self, _head: &Received) -> Option<Action> {
        None
    }

    /// Acts on the whole request.
    fn answer(&mut self, received: &Received) -> Action;
}

impl<F: FnMut(&Received) -> Action + Send + 'static> Script for F {
    fn answer(&mut self, received: &Received) -> Action {
        self(received)
    }
}

/// The same for every request.
#[derive(Clone, Debug)]
pub struct Always(pub Action);

impl Script for Always {
    fn answer(&mut self, _: &Received) -> Action {
        self.0.clone()
    }
}

/// One after the other in the order of arrival, then 200.
#[derive(Clone, Debug)]
pub struct Sequence(std::vec::IntoIter<Action>);

impl Sequence {
    /// Starts with the first of `actions`.
    pub fn new(actions: impl IntoIterator<Item = Action>) -> Sequence {
        Sequence(actions.into_iter().collect::<Vec<_>>().into_iter())
    }
}

impl Script for Sequence {
    fn answer(&mut self, _: &Received) -> Action {
        self.0.next().unwrap_or_else(|| Action::status(200))
    }
}

/// Resets the first `0` requests before their bodies are read, then answers 200.
#[derive(Clone, Debug)]
pub struct ResetBeforeReading(pub usize);

impl Script for ResetBeforeReading {
    fn before_reading(&mut self, head: &Received) -> Option<Action> {
        (head.number < self.0).then_some(Action::Reset)
    }

    fn answer(&mut self, _: &Received) -> Action {
        Action::status(200)
    }
}

/// A seeded mix of faults; what is left of 1 is answered with 200.
#[derive(Clone, Debug)]
pub struct Mixed {
    chance: Chance,
    /// Share of 500s.
    pub p500: f64,
    /// Share of 429s.
    pub p429: f64,
    /// The `Retry-After` of a 429, seconds.
    pub retry_after_secs: u64,
    /// Share of resets: a third each before the body is read, after it, and in the middle of the answer.
    pub preset: f64,
    /// Share of requests that are never answered.
    pub pstall: f64,
}

impl Mixed {
    /// No faults yet; set the shares.
    pub fn new(seed: u64) -> Mixed {
        Mixed { chance: Chance(seed), p500: 0.0, p429: 0.0, retry_after_secs: 1, preset: 0.0, pstall: 0.0 }
    }
}

impl Script for Mixed {
    fn before_reading(&mut self, _: &Received) -> Option<Action> {
        self.chance.comes(self.preset / 3.0).then_some(Action::Reset)
    }

    fn answer(&mut self, _: &Received) -> Action {
        // The first third of the resets was drawn before reading; the shares below are of those that came through.
        let left = 1.0 - self.preset / 3.0;
        let draw = self.chance.draw() * left;
        let bounds = [self.p500, self.p429, self.preset / 3.0, self.preset / 3.0, self.pstall];
        let mut bound = 0.0;
        let hit = bounds.iter().position(|share| {
            bound += share;
            draw < bound
        });
        match hit {
            Some(0) => Action::Respond(Reply::new(500, "oops")),
            Some(1) => Action::Respond(Reply::new(429, "slow down").with_header("retry-after", self.retry_after_secs)),
            Some(2) => Action::Reset,
            Some(3) => Action::CutShort(Reply::new(200, r#"{"ok":true}"#)),
            Some(4) => Action::Stall,
            _ => Action::status(200),
        }
    }
}

/// A small seeded generator (splitmix64), so that a failing run can be repeated.
#[derive(Clone, Debug)]
pub struct Chance(pub u64);

impl Chance {
    /// The next number in `0.0..1.0`.
    pub fn draw(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with this probability.
    pub fn comes(&mut self, probability: f64) -> bool {
        self.draw() < probability
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_keeps_its_shares_and_repeats_by_its_seed() {
        let request =
            Received { number: 0, at: 0, method: "POST".into(), path_and_query: "/".into(), headers: Vec::new(), body: Bytes::new() };
        let draw = |seed| {
            let mut mixed = Mixed { p500: 0.1, p429: 0.1, preset: 0.3, pstall: 0.05, ..Mixed::new(seed) };
            (0..20_000).map(|_| mixed.before_reading(&request).unwrap_or_else(|| mixed.answer(&request))).collect::<Vec<_>>()
        };
        let actions = draw(1);
        let share = |wanted: fn(&Action) -> bool| actions.iter().filter(|action| wanted(action)).count() as f64 / 20_000.0;
        let near = |share: f64, wanted: f64| assert!((share - wanted).abs() < 0.01, "{share} is not {wanted}");
        near(share(|action| matches!(action, Action::Respond(reply) if reply.status == 500)), 0.1);
        near(share(|action| matches!(action, Action::Respond(reply) if reply.status == 429)), 0.1);
        near(share(|action| matches!(action, Action::Reset)), 0.2);
        near(share(|action| matches!(action, Action::CutShort(_))), 0.1);
        near(share(|action| matches!(action, Action::Stall)), 0.05);
        assert_eq!(actions, draw(1));
        assert_ne!(actions, draw(2));
    }
}
