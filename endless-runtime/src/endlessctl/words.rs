//! What is said between `endlessctl` and a process. Either may be of another version: a field that is not
//! known is ignored, one that is new has a default, and a request that is not known is refused with words.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest question that a process reads, in bytes.
#[cfg(target_os = "linux")]
pub(super) const LONGEST_QUESTION: usize = 4096;

/// The longest answer that `endlessctl` reads, in bytes.
#[cfg(target_os = "linux")]
pub(super) const LONGEST_ANSWER: u64 = 1 << 20;

/// What may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Restart,
    Status,
    Stop,
    Hammer,
}

impl Request {
    const ALL: [Self; 4] = [Self::Restart, Self::Status, Self::Stop, Self::Hammer];

    fn name(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Status => "status",
            Self::Stop => "stop",
            Self::Hammer => "hammer",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|request| request.name() == name)
    }

    /// The question that goes over.
    #[cfg(target_os = "linux")]
    pub(super) fn to_line(self) -> Vec<u8> {
        line(&Question { request: self.name().to_owned() })
    }

    /// # Errors
    ///
    /// Why the line is none of the requests, in words for whoever sent it.
    #[cfg(any(target_os = "linux", test))]
    pub(super) fn parse(line: &[u8]) -> Result<Self, String> {
        let question: Question =
            serde_json::from_slice(line).map_err(|error| format!("this is no request: {error}"))?;
        let unknown = || format!("this process does not know the request {:?}", question.request);
        Self::named(&question.request).ok_or_else(unknown)
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Debug, Deserialize, Serialize)]
struct Question {
    request: String,
}

/// What a process answers.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// A successor serves.
    Restarted { generation: u64, pid: u32 },
    /// It was not done, and why.
    Refused { reason: String },
    /// It is done when these processes have ended.
    Ending { pids: Vec<u32> },
    /// These are the ones to ask.
    Elsewhere { pids: Vec<u32> },
    /// How things are.
    Status(Told),
}

impl Answer {
    pub(crate) fn refused(reason: impl Into<String>) -> Self {
        Self::Refused { reason: reason.into() }
    }

    #[cfg(target_os = "linux")]
    pub(super) fn to_line(&self) -> Vec<u8> {
        line(self)
    }
}

/// How things are, as one process knows them.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub(crate) struct Told {
    /// Who has the PID to signal, if it is another process.
    pub(crate) supervisor: Option<u32>,
    /// What the process that answers is itself, if it is a generation: its `endless::status()`.
    pub(crate) itself: Option<serde_json::Value>,
    /// The generations that it knows of, itself left out. They tell the rest.
    pub(crate) generations: Vec<Known>,
}

/// A generation, as another process knows it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub(crate) struct Known {
    pub(crate) pid: u32,
    pub(crate) generation: u64,
    pub(crate) state: String,
}

#[cfg(target_os = "linux")]
fn line(said: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(said).expect("it is plain data");
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_understood() {
        for request in Request::ALL {
            let line = format!(r#"{{"request":"{request}","flux":[1]}}"#);
            assert_eq!(Request::parse(line.as_bytes()), Ok(request));
        }
    }

    #[test]
    fn what_is_no_request_is_refused_with_words() {
        let unknown = Request::parse(br#"{"request":"rewind"}"#);
        assert_eq!(unknown, Err("this process does not know the request \"rewind\"".to_owned()));
        let deep = "[".repeat(4000);
        for line in ["", "{}", "7", "\"restart\"", "{\"request\":7}", "\u{0}", &deep] {
            assert!(Request::parse(line.as_bytes()).is_err(), "{line:?}");
        }
        assert!(Request::parse(&[0xff, 0xfe]).is_err());
    }

    #[test]
    fn an_answer_of_another_version_is_read_as_far_as_it_is_known() {
        let read = |text: &str| serde_json::from_str::<Answer>(text).ok();
        let newer = read(r#"{"restarted":{"generation":3,"pid":7,"flux":true}}"#);
        assert_eq!(newer, Some(Answer::Restarted { generation: 3, pid: 7 }));
        assert_eq!(read(r#"{"status":{}}"#), Some(Answer::Status(Told::default())));
    }
}
