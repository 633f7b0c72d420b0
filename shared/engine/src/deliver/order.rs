//! Orders: a delivery made into a request, with the rows that could not be rendered set aside.

use crate::event::errand;
use crate::model::action::ActionName;
use crate::plan::block::PlannedRow;
use crate::shape::{Compiled, Occasion, Rendered, Unrendered};

/// The id of a delivery, which is its idempotency key. Of a run's it holds run, parcel and place, of an event's its errand, so that one
/// range read finds its attempts.
pub fn delivery_id(run: &str, parcel: u32, index: u32) -> String {
    match run.strip_prefix(errand::PREFIX) {
        Some(errand) => format!("dlv_{errand}"),
        None => format!("dlv_{}_{parcel}_{index}", run.strip_prefix("run_").unwrap_or(run)),
    }
}

/// Run (or errand), parcel and place of a delivery's id.
pub fn parse_delivery_id(id: &str) -> Option<(String, u32, u32)> {
    let id = id.strip_prefix("dlv_")?;
    if id.len() == errand::ID_LENGTH && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Some((format!("{}{id}", errand::PREFIX), 0, 0));
    }
    let mut parts = id.rsplitn(3, '_');
    let index = parts.next()?.parse().ok()?;
    let parcel = parts.next()?.parse().ok()?;
    Some((format!("run_{}", parts.next()?), parcel, index))
}

/// A delivery made into a request.
#[derive(Debug)]
pub struct Order {
    /// The request; `None` if no row of the delivery renders.
    pub rendered: Option<Rendered>,
    /// How many rows it carries.
    pub rows: u64,
    /// Places of the rows that do not render, and why.
    pub unsent: Vec<(u32, Unrendered)>,
}

/// Renders a delivery. A batch whose body does not parse is halved until single rows do not (semantics.md 18); the others go.
pub fn order(compiled: &Compiled, action: ActionName, names: &[String], rows: &[PlannedRow], occasion: Occasion) -> Order {
    let wrong = match compiled.render(action, names, rows, occasion) {
        Ok(rendered) => return Order { rendered: Some(rendered), rows: rows.len() as u64, unsent: Vec::new() },
        Err(wrong) => wrong,
    };
    if !wrong.in_body || rows.len() == 1 {
        let unsent = (0..rows.len()).map(|row| (row as u32, wrong.clone())).collect();
        return Order { rendered: None, rows: 0, unsent };
    }
    let mut unsent = Vec::new();
    let render = |rows: &[PlannedRow]| compiled.render(action, names, rows, occasion);
    find_broken(rows, 0, &render, &mut unsent);
    let good: Vec<PlannedRow> =
        rows.iter().enumerate().filter(|(i, _)| !unsent.iter().any(|(row, _)| *row as usize == *i)).map(|(_, row)| row.clone()).collect();
    if good.is_empty() {
        return Order { rendered: None, rows: 0, unsent };
    }
    match render(&good) {
        Ok(rendered) => Order { rendered: Some(rendered), rows: good.len() as u64, unsent },
        // Rows that render alone but not together: the template is at fault, so none of them can be sent.
        Err(wrong) => Order { rendered: None, rows: 0, unsent: (0..rows.len()).map(|row| (row as u32, wrong.clone())).collect() },
    }
}

fn find_broken(
    rows: &[PlannedRow],
    first: u32,
    render: &impl Fn(&[PlannedRow]) -> Result<Rendered, Unrendered>,
    unsent: &mut Vec<(u32, Unrendered)>,
) {
    match render(rows) {
        Ok(_) => {}
        Err(wrong) if rows.len() == 1 => unsent.push((first, wrong)),
        Err(_) => {
            let (left, right) = rows.split_at(rows.len() / 2);
            find_broken(left, first, render, unsent);
            find_broken(right, first + left.len() as u32, render, unsent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_id_tells_where_its_attempts_lie() {
        let id = delivery_id("run_06abc_x1", 12, 345);
        assert_eq!(id, "dlv_06abc_x1_12_345");
        assert_eq!(parse_delivery_id(&id), Some(("run_06abc_x1".to_string(), 12, 345)));
        let errand = "evt_0123456789ab0123456789abcd0123456789abcd0123456789ab";
        let id = delivery_id(errand, 0, 0);
        assert_eq!(id, format!("dlv_{}", &errand[4..]));
        assert_eq!(parse_delivery_id(&id), Some((errand.to_string(), 0, 0)));
        assert_eq!(parse_delivery_id("dlv_x_1"), None);
        assert_eq!(parse_delivery_id("run_x_1_2"), None);
    }
}
