//! The forms of option values: each knows what it accepts and how to say so.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::address::{self, AddressText};
use super::duration;
use super::refusal::Refusal;
use super::signal_name;

/// How an option's value is spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One address or several, separated by commas.
    Addresses,
    /// A whole number and a unit.
    Duration,
    /// A duration, or `never`.
    DurationOrNever,
    /// A duration that is more than nothing, or `never`, which elsewhere is often spelled 0.
    TimeOut,
    /// A kind of tokio runtime.
    Flavor,
    /// A whole number of at least 1.
    Count,
    /// How often within which time, or `never`.
    Rate,
    /// `true` or `false`.
    Switch,
    /// The path of a file.
    FilePath,
    /// A path of a URL, from its first slash on.
    UrlPath,
    /// A signal that has no action of its own.
    Signal,
}

/// The kind of literal that an attribute writes a value as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Literal {
    /// `"60s"`.
    Text,
    /// `"localhost:80"` or `["localhost:80", "localhost:81"]`; in text form, commas separate.
    Texts,
    /// `4`.
    Integer,
    /// `true`.
    Switch,
}

/// What a text means, once it was accepted. Its `Display` is the canonical text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// At least one.
    Addresses(Vec<AddressText>),
    /// `None` is never.
    Duration(Option<Duration>),
    /// At least 1.
    Count(usize),
    /// A kind of tokio runtime.
    Flavor(Flavor),
    /// How often within which time; `None` is never.
    Rate(Option<(usize, Duration)>),
    /// Whether.
    Switch(bool),
    /// Not empty.
    FilePath(PathBuf),
    /// Begins with a slash.
    UrlPath(String),
    /// A canonical name.
    Signal(&'static str),
}

/// A kind of tokio runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    /// As many threads as there are cores, or `worker_threads`.
    MultiThread,
    /// The thread that runs `main`, alone.
    CurrentThread,
}

impl Form {
    /// Reads a value in its text form, the environment's.
    ///
    /// # Errors
    ///
    /// A text that is not of this form.
    pub fn parse(self, text: &str) -> Result<Value, Refusal> {
        match self {
            Self::Addresses => return address::parse_list(text).map(Value::Addresses),
            Self::UrlPath => return url_path(text).map(Value::UrlPath),
            Self::Signal => return signal_name::parse_free(text).map(|row| Value::Signal(row.name)),
            Self::Duration => duration::parse(text).map(|time| Value::Duration(Some(time))),
            Self::DurationOrNever => duration::parse_or_never(text).map(Value::Duration),
            Self::TimeOut => time_out(text).map(Value::Duration),
            Self::Flavor => flavor(text).map(Value::Flavor),
            Self::Count => count(text).map(Value::Count),
            Self::Rate => rate(text).map(Value::Rate),
            Self::Switch => text.parse().ok().map(Value::Switch),
            Self::FilePath => file_path(text).map(Value::FilePath),
        }
        .ok_or_else(|| Refusal::expected(text, self.noun(), self.accepted()))
    }

    /// The accepted spellings, to follow "expected".
    pub fn accepted(self) -> &'static str {
        match self {
            Self::Addresses => address::ACCEPTED,
            Self::Duration => r#""60s" or "500ms""#,
            Self::DurationOrNever | Self::TimeOut => r#""60s", "500ms" or "never""#,
            Self::Flavor => r#""multi_thread" or "current_thread""#,
            Self::Count => "a whole number from 1 up",
            Self::Rate => r#""5 in 10s" or "never""#,
            Self::Switch => "true or false",
            Self::FilePath => r#"a path such as "/path/to/file""#,
            Self::UrlPath => r#"a path such as "/ready""#,
            Self::Signal => r#""SIGUSR1", or another signal for hooks alone"#,
        }
    }

    /// How the attribute writes it.
    pub fn literal(self) -> Literal {
        match self {
            Self::Addresses => Literal::Texts,
            Self::Duration | Self::DurationOrNever | Self::TimeOut | Self::Rate => Literal::Text,
            Self::Flavor | Self::FilePath | Self::UrlPath | Self::Signal => Literal::Text,
            Self::Count => Literal::Integer,
            Self::Switch => Literal::Switch,
        }
    }

    /// One accepted value, as a literal of the attribute.
    pub fn example(self) -> &'static str {
        match self {
            Self::Addresses => r#""127.0.0.1:4242""#,
            Self::Duration | Self::DurationOrNever | Self::TimeOut => r#""60s""#,
            Self::Flavor => r#""current_thread""#,
            Self::Count => "4",
            Self::Rate => r#""5 in 10s""#,
            Self::Switch => "true",
            Self::FilePath => r#""/path/to/file""#,
            Self::UrlPath => r#""/ready""#,
            Self::Signal => r#""SIGUSR1""#,
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Addresses => "address",
            Self::Duration | Self::DurationOrNever => "duration",
            Self::TimeOut => "time-out",
            Self::Flavor => "flavor",
            Self::Count => "count",
            Self::Rate => "rate",
            Self::Switch => "switch",
            Self::FilePath => "path of a file",
            Self::UrlPath => "path of a URL",
            Self::Signal => "signal for hooks alone",
        }
    }
}

fn flavor(text: &str) -> Option<Flavor> {
    [Flavor::MultiThread, Flavor::CurrentThread].into_iter().find(|flavor| flavor.name() == text)
}

fn time_out(text: &str) -> Option<Option<Duration>> {
    duration::parse_or_never(text).filter(|time| time.is_none_or(|time| !time.is_zero()))
}

fn rate(text: &str) -> Option<Option<(usize, Duration)>> {
    if text == "never" {
        return Some(None);
    }
    let (times, time) = text.split_once(" in ")?;
    let time = duration::parse(time).filter(|time| !time.is_zero())?;
    Some(Some((count(times)?, time)))
}

/// What the system can open: it would end at a zero byte.
fn file_path(text: &str) -> Option<PathBuf> {
    Some(text).filter(|text| !text.is_empty() && !text.contains('\0')).map(PathBuf::from)
}

/// A path as it stands in a request line, without a query; one that only lacks its slash is shown it.
fn url_path(text: &str) -> Result<String, Refusal> {
    if is_url_path(text) {
        return Ok(text.to_owned());
    }
    let rooted = format!("/{text}");
    let lacks_slash = is_url_path(&rooted) && !text.is_empty() && !text.contains(':');
    let expected = if lacks_slash { &format!("{rooted:?}") } else { Form::UrlPath.accepted() };
    Err(Refusal::expected(text, Form::UrlPath.noun(), expected))
}

fn is_url_path(text: &str) -> bool {
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'));
    visible && text.starts_with('/')
}

fn count(text: &str) -> Option<usize> {
    // `usize` itself would take "+4".
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&count| digits && count > 0)
}

impl Flavor {
    fn name(self) -> &'static str {
        match self {
            Self::MultiThread => "multi_thread",
            Self::CurrentThread => "current_thread",
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addresses(addresses) => f.write_str(&address::join(addresses)),
            Self::Duration(Some(time)) => f.write_str(&duration::text(*time)),
            Self::Duration(None) => f.write_str("never"),
            Self::Count(count) => count.fmt(f),
            Self::Rate(Some((times, time))) => write!(f, "{times} in {}", duration::text(*time)),
            Self::Rate(None) => f.write_str("never"),
            Self::Flavor(flavor) => f.write_str(flavor.name()),
            Self::Switch(on) => on.fmt(f),
            Self::FilePath(path) => path.display().fmt(f),
            Self::UrlPath(path) => f.write_str(path),
            Self::Signal(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(form: Form, text: &str) -> String {
        form.parse(text).unwrap_err().to_string()
    }

    #[test]
    fn never_is_a_duration_only_where_it_is_allowed() {
        assert_eq!(Form::DurationOrNever.parse("never"), Ok(Value::Duration(None)));
        assert_eq!(refusal(Form::Duration, "never"), r#""never" is no duration: expected "60s" or "500ms""#);
    }

    #[test]
    fn a_time_out_is_more_than_nothing() {
        assert_eq!(Form::TimeOut.parse("1ms"), Ok(Value::Duration(Some(Duration::from_millis(1)))));
        assert_eq!(Form::TimeOut.parse("never"), Ok(Value::Duration(None)));
        assert_eq!(
            refusal(Form::TimeOut, "0s"),
            r#""0s" is no time-out: expected "60s", "500ms" or "never""#
        );
    }

    #[test]
    fn a_refusal_says_what_was_got_and_what_is_accepted() {
        assert_eq!(
            refusal(Form::DurationOrNever, "60 parsecs"),
            r#""60 parsecs" is no duration: expected "60s", "500ms" or "never""#
        );
        assert_eq!(
            refusal(Form::Flavor, "vanilla"),
            r#""vanilla" is no flavor: expected "multi_thread" or "current_thread""#
        );
    }

    #[test]
    fn a_count_is_a_bare_whole_number_from_1_up() {
        assert_eq!(Form::Count.parse("4"), Ok(Value::Count(4)));
        for text in ["0", "", "+4", "-4", "4.0", "0x4", "four"] {
            assert!(Form::Count.parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_rate_is_a_count_in_a_time() {
        assert_eq!(Form::Rate.parse("5 in 10s"), Ok(Value::Rate(Some((5, Duration::from_secs(10))))));
        assert_eq!(Form::Rate.parse("never"), Ok(Value::Rate(None)));
        for text in ["", "5", "5 in", "0 in 10s", "5 in 0s", "5 in never", "5in10s", "five in 10s"] {
            let refused = format!(r#"{text:?} is no rate: expected "5 in 10s" or "never""#);
            assert_eq!(refusal(Form::Rate, text), refused);
        }
    }

    #[test]
    fn a_switch_is_true_or_false() {
        assert_eq!(Form::Switch.parse("true"), Ok(Value::Switch(true)));
        assert_eq!(Form::Switch.parse("false"), Ok(Value::Switch(false)));
        assert_eq!(refusal(Form::Switch, "1"), r#""1" is no switch: expected true or false"#);
        for text in ["", "True", "yes", " true"] {
            assert!(Form::Switch.parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_path_of_a_file_is_any_that_can_be_opened() {
        for text in ["/run/app.pid", "app", "../current/bin/app", "/srv/my app", "/srv/größe"] {
            assert_eq!(Form::FilePath.parse(text), Ok(Value::FilePath(text.into())));
        }
        assert_eq!(
            refusal(Form::FilePath, ""),
            r#""" is no path of a file: expected a path such as "/path/to/file""#
        );
        assert!(Form::FilePath.parse("/run/app\0.pid").is_err());
    }

    #[test]
    fn a_path_of_a_url_is_what_a_request_line_has() {
        for text in ["/", "/ready", "/health/ready.txt", "/a%20b"] {
            assert_eq!(Form::UrlPath.parse(text), Ok(Value::UrlPath(text.to_owned())));
        }
        for text in ["", "/ready?now", "/ready#now", "/is ready", "/größe", "http://localhost/ready"] {
            let expected = format!(r#"{text:?} is no path of a URL: expected a path such as "/ready""#);
            assert_eq!(refusal(Form::UrlPath, text), expected);
        }
    }

    #[test]
    fn a_path_of_a_url_without_its_slash_is_shown_it() {
        assert_eq!(refusal(Form::UrlPath, "health"), r#""health" is no path of a URL: expected "/health""#);
    }

    #[test]
    fn the_canonical_text_means_the_same() {
        for (form, text, canonical) in [
            (Form::Addresses, "localhost:80, unix:/a", "localhost:80,unix:/a"),
            (Form::Duration, "1m", "60s"),
            (Form::DurationOrNever, "1500ms", "1500ms"),
            (Form::DurationOrNever, "never", "never"),
            (Form::TimeOut, "2m", "120s"),
            (Form::Count, "04", "4"),
            (Form::Flavor, "current_thread", "current_thread"),
            (Form::Switch, "true", "true"),
            (Form::FilePath, "run/../app.pid", "run/../app.pid"),
            (Form::UrlPath, "/ready/", "/ready/"),
            (Form::Signal, "usr1", "SIGUSR1"),
        ] {
            let value = form.parse(text).unwrap();
            assert_eq!(value.to_string(), canonical);
            assert_eq!(form.parse(canonical), Ok(value));
        }
    }

    #[test]
    fn each_example_is_accepted() {
        for form in [
            Form::Addresses,
            Form::Duration,
            Form::DurationOrNever,
            Form::TimeOut,
            Form::Flavor,
            Form::Count,
            Form::Switch,
            Form::FilePath,
            Form::UrlPath,
            Form::Signal,
        ] {
            let text = form.example().trim_matches('"');
            assert!(form.parse(text).is_ok(), "{form:?}");
        }
    }
}
