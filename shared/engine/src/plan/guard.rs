//! When a plan is held for a person (semantics.md 6).

use crate::model::export::Guard;

/// Fewer removals than this never trip the percentage or the absolute number.
const ALWAYS_FINE: u64 = 10;

/// What a diff counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Rows of the snapshot.
    pub snapshot: u64,
    /// Rows read, invalid ones too.
    pub rows: u64,
    /// Rows to be removed.
    pub removed: u64,
    /// Rows that are invalid.
    pub invalid: u64,
}

/// Why the plan must wait for `--approve`; `None`: it may go.
pub fn trips(guard: &Guard, counted: Counted) -> Option<String> {
    let Counted { snapshot, rows, removed, invalid } = counted;
    if removed > 0 && removed >= snapshot {
        return Some(format!("the plan would remove all {removed} rows that the destination has"));
    }
    if removed >= ALWAYS_FINE {
        if let Some(most) = guard.max_removed.filter(|most| removed > *most) {
            return Some(format!("the plan would remove {removed} rows, guard.max_removed allows {most}"));
        }
        let percent = removed as f64 * 100.0 / snapshot as f64;
        if percent > guard.max_removed_percent {
            let most = guard.max_removed_percent;
            return Some(format!(
                "the plan would remove {removed} of {snapshot} rows ({percent:.1} %), guard.max_removed_percent allows {most} %"
            ));
        }
    }
    let percent = invalid as f64 * 100.0 / rows.max(1) as f64;
    if percent > guard.max_invalid_percent && invalid >= ALWAYS_FINE {
        let most = guard.max_invalid_percent;
        return Some(format!("{invalid} of {rows} rows are invalid ({percent:.1} %), guard.max_invalid_percent allows {most} %"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guard_trips_on_whichever_comes_first_but_never_below_ten() {
        let guard = Guard { max_removed: Some(50), ..Guard::default() };
        let table = [
            (100, 9, 0, false),
            (20, 9, 0, false),
            (100, 30, 0, false),
            (100, 31, 0, true),
            (1000, 50, 0, false),
            (1000, 51, 0, true),
            (3, 3, 0, true),
            (1, 1, 0, true),
            (0, 0, 0, false),
            (1000, 0, 100, false),
            (1000, 0, 101, true),
        ];
        for (snapshot, removed, invalid, held) in table {
            let counted = Counted { snapshot, rows: 1000, removed, invalid };
            assert_eq!(trips(&guard, counted).is_some(), held, "{counted:?}");
        }
    }
}
