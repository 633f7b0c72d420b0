//! The known word that is nearest to one that is not known. It must not know where the words come from.

/// What to do about an unknown word: the nearest known one, or, where none is near, all of them.
pub fn suggestion(word: &str, known: &[&str]) -> String {
    match nearest(word, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "none is defined".to_string(),
        None => format!("use {}", either(known)),
    }
}

/// `a, b or c`; long lists are cut.
pub(super) fn either(words: &[&str]) -> String {
    const SHOWN: usize = 24;
    let quoted: Vec<String> = words.iter().take(SHOWN).map(|word| format!("`{word}`")).collect();
    match (quoted.split_last(), words.len() > SHOWN) {
        (_, true) => format!("{}, …", quoted.join(", ")),
        (Some((last, [])), _) => last.clone(),
        (Some((last, rest)), _) => format!("{} or {last}", rest.join(", ")),
        (None, _) => String::new(),
    }
}

/// The nearest known word, if it is near enough for a slip of the hand: a third of its letters, and two swapped letters are one slip.
fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    // A key of a kilobyte is no slip, and the distance costs the product of the lengths.
    if word.chars().count() > 80 {
        return None;
    }
    let lower = word.to_lowercase();
    let near =
        known.iter().map(|candidate| (distance(&lower, &candidate.to_lowercase()), *candidate)).min_by_key(|(distance, _)| *distance)?;
    let allowed = near.1.chars().count().max(lower.chars().count()).div_ceil(3).max(1);
    (near.0 <= allowed).then_some(near.1)
}

/// How many letters must be put in, taken out, replaced or swapped with their neighbour (optimal string alignment).
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let mut best = (row[j + 1] + 1).min(next[j] + 1).min(row[j] + usize::from(a != b));
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                best = best.min(before[j - 1] + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_slips_of_the_hand() {
        for (from, to, slips) in
            [("", "", 0), ("url", "url", 0), ("ulr", "url", 1), ("", "abc", 3), ("methd", "method", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(from, to), slips, "{from} {to}");
            assert_eq!(distance(to, from), slips, "{to} {from}");
        }
    }

    #[test]
    fn a_near_word_is_proposed_and_a_far_one_is_not() {
        assert_eq!(suggestion("detination", &["destination", "model"]), "did you mean `destination`?");
        assert_eq!(suggestion("Body", &["body", "url"]), "did you mean `body`?");
        assert_eq!(suggestion("zzz", &["body", "url", "query"]), "use `body`, `url` or `query`");
        assert_eq!(suggestion("x", &[]), "none is defined");
        assert_eq!(suggestion(&"x".repeat(10_000), &["body"]), "use `body`");
    }
}
