//! Reads an export's schedule. It must not know what time it is.

use super::keys::SCHEDULE;
use super::place::Place;
use super::values::duration;
use crate::model::export::Schedule;

/// A cron field: what it is called, its bounds and the words that stand for its numbers, the first for `low`.
struct CronField {
    name: &'static str,
    low: u8,
    high: u8,
    words: &'static [&'static str],
}

const CRON: [CronField; 5] = [
    CronField { name: "minute", low: 0, high: 59, words: &[] },
    CronField { name: "hour", low: 0, high: 23, words: &[] },
    CronField { name: "day of month", low: 1, high: 31, words: &[] },
    CronField {
        name: "month",
        low: 1,
        high: 12,
        words: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    },
    CronField { name: "day of week", low: 0, high: 7, words: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] },
];

/// GL-10: `every`, or `cron` with its time zone.
pub(super) fn schedule(place: &Place<'_>) -> Option<Schedule> {
    let object = place.object(&SCHEDULE)?;
    let timezone = object.given("timezone");
    match (object.given("every"), object.given("cron")) {
        (Some(every), None) => {
            if let Some(timezone) = timezone {
                timezone.problem("a time zone goes with `cron`; take it out");
            }
            duration(&every).map(Schedule::Every)
        }
        (None, Some(cron)) => {
            let expression = cron.filled_text()?;
            check_cron(expression).map_err(|message| cron.problem(message)).ok()?;
            let named = match &timezone {
                Some(place) => zone(place)?,
                None => "UTC".to_string(),
            };
            if let Err(error) = cronexpr::parse_crontab(&format!("{expression} {named}")) {
                let (place, message) = match &timezone {
                    Some(place) if cronexpr::parse_crontab(&format!("{expression} UTC")).is_ok() => {
                        (place, "is not a time zone that is known; write an IANA name like Europe/Berlin, or UTC".to_string())
                    }
                    _ => (&cron, format!("is no cron expression that can be followed: {error}")),
                };
                place.problem(message);
                return None;
            }
            let timezone = named;
            Some(Schedule::Cron { expression: expression.to_string(), timezone })
        }
        _ => {
            place.problem("needs either `every`, as in `every: 1h`, or `cron`, as in `cron: \"0 * * * *\"`");
            None
        }
    }
}

fn zone(place: &Place<'_>) -> Option<String> {
    let text = place.filled_text()?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+-".contains(&byte);
    if text.len() > 64 || !text.bytes().all(allowed) {
        place.problem("is not a time zone; write an IANA name like Europe/Berlin, or UTC");
        return None;
    }
    Some(text.to_string())
}

/// Five fields of lists, ranges and steps.
fn check_cron(text: &str) -> Result<(), String> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != CRON.len() {
        return Err(format!("`{text}` has {} fields; cron has five: minute, hour, day of month, month, day of week", fields.len()));
    }
    for (field, written) in CRON.iter().zip(fields) {
        if !written.split(',').all(|part| field.allows(part)) {
            return Err(format!(
                "`{written}` is no {}; write *, a number from {} to {}, a range like {}-{}, or a step like */5",
                field.name, field.low, field.high, field.low, field.high
            ));
        }
    }
    Ok(())
}

impl CronField {
    fn allows(&self, part: &str) -> bool {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let step_is_sound = step.is_none_or(|step| step.parse::<u8>().is_ok_and(|step| (1..=self.high).contains(&step)));
        let range_is_sound = match range.split_once('-') {
            _ if range == "*" => true,
            Some((low, high)) => matches!((self.number(low), self.number(high)), (Some(low), Some(high)) if low <= high),
            None => self.number(range).is_some(),
        };
        step_is_sound && range_is_sound
    }

    fn number(&self, text: &str) -> Option<u8> {
        if let Some(at) = self.words.iter().position(|word| word.eq_ignore_ascii_case(text)) {
            return Some(self.low + at as u8);
        }
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u8>().ok().filter(|number| digits && (self.low..=self.high).contains(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cron_expressions_are_checked_field_by_field() {
        for sound in ["* * * * *", "0 * * * *", "*/5 8-18 1,15 jan-jun MON-FRI", "59 23 31 12 7", "0-30/10 0 * * sun"] {
            assert_eq!(check_cron(sound), Ok(()), "{sound}");
        }
        for (wrong, fragment) in [
            ("* * * *", "4 fields"),
            ("* * * * * *", "6 fields"),
            ("60 * * * *", "no minute"),
            ("* 24 * * *", "no hour"),
            ("* * 0 * *", "no day of month"),
            ("* * * 13 *", "no month"),
            ("* * * * 8", "no day of week"),
            ("5-1 * * * *", "no minute"),
            ("*/0 * * * *", "no minute"),
            ("1,,2 * * * *", "no minute"),
            ("+1 * * * *", "no minute"),
            ("a * * * *", "no minute"),
        ] {
            let message = check_cron(wrong).expect_err(wrong);
            assert!(message.contains(fragment), "{wrong}: {message}");
        }
    }
}
