//! Durations as text: a whole number and a unit, `500ms`, `60s`, `5m`, `1h`.

use std::time::Duration;

/// Reads a duration; `None` if the text is none, or longer than a `Duration` can be.
pub fn parse(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let number = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(60 * 60).map(Duration::from_secs),
        _ => None,
    }
}

/// Reads a duration or `never`, which is `Some(None)`.
pub(super) fn parse_or_never(text: &str) -> Option<Option<Duration>> {
    match text {
        "never" => Some(None),
        _ => parse(text).map(Some),
    }
}

/// The canonical text: in seconds if they are whole.
pub(super) fn text(time: Duration) -> String {
    match time.subsec_millis() {
        0 => format!("{}s", time.as_secs()),
        _ => format!("{}ms", time.as_millis()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_and_a_unit() {
        for (text, time) in [
            ("0s", Duration::ZERO),
            ("500ms", Duration::from_millis(500)),
            ("60s", Duration::from_secs(60)),
            ("5m", Duration::from_secs(300)),
            ("1h", Duration::from_secs(3600)),
        ] {
            assert_eq!(parse(text), Some(time), "{text}");
        }
    }

    #[test]
    fn nothing_else() {
        for text in [
            "", "60", "s", "60 s", " 60s", "60s ", "+60s", "-60s", "1.5s", "60S", "60sec", "1d", "1m30s",
            "never", "٣s",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn too_long_is_refused_instead_of_wrapped() {
        assert!(parse("18446744073709551615s").is_some());
        assert_eq!(parse("18446744073709551616s"), None);
        assert_eq!(parse("5124095576030432h"), None);
    }
}
