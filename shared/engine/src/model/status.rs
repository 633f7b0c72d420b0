//! Sets of HTTP statuses, as `success: ["2xx", "404"]` writes them.

use serde::{Deserialize, Serialize};

/// A set of statuses: inclusive ranges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusSet(Vec<(u16, u16)>);

impl StatusSet {
    /// Of inclusive ranges.
    pub fn new(ranges: Vec<(u16, u16)>) -> StatusSet {
        StatusSet(ranges)
    }

    /// `2xx`.
    pub fn two_hundreds() -> StatusSet {
        StatusSet(vec![(200, 299)])
    }

    /// Whether a status is in the set.
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|(low, high)| (*low..=*high).contains(&status))
    }

    /// Parses one entry: `2xx`, `404` or `500-504`. The error says what is allowed.
    pub fn parse_entry(text: &str) -> Result<(u16, u16), String> {
        let wrong = || format!("`{text}` is not a status: write one like 404, a range like 500-504, or a class like 2xx");
        let number = |t: &str| t.trim().parse::<u16>().ok().filter(|n| (100..=599).contains(n) && t.trim().len() == 3);
        if let Some(class) = text.strip_suffix("xx") {
            let class = class.parse::<u16>().ok().filter(|c| (1..=5).contains(c)).ok_or_else(wrong)?;
            return Ok((class * 100, class * 100 + 99));
        }
        if let Some((low, high)) = text.split_once('-') {
            let (low, high) = (number(low).ok_or_else(wrong)?, number(high).ok_or_else(wrong)?);
            return if low <= high { Ok((low, high)) } else { Err(wrong()) };
        }
        number(text).map(|n| (n, n)).ok_or_else(wrong)
    }
}
