//! What the client does and what the service answers, in the order in which they come.

use std::fmt::Write as _;

use arbitrary::{Arbitrary, Result, Unstructured};

/// Most of what random bytes make is well-formed, so that most scripts come to answers.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) steps: Vec<Step>,
    /// To one request after the other; then from the start again.
    pub(super) answers: Vec<Answer>,
}

#[derive(Debug)]
pub(super) enum Step {
    Send(Text),
    /// Everything that can happen happens, and so many milliseconds pass. Without one, the next step comes at
    /// the same moment.
    Pause(u8),
    HalfClose,
    Leave,
}

#[derive(Debug)]
pub(super) enum Text {
    Request(Request),
    /// The first bytes of one; the rest is what comes next.
    Cut(Request, u8),
    Raw(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
pub(super) struct Request {
    #[arbitrary(with = |from: &mut Unstructured| among(from, &METHODS))]
    method: &'static str,
    #[arbitrary(with = |from: &mut Unstructured| among(from, &VERSIONS))]
    version: &'static str,
    #[arbitrary(with = few)]
    headers: Vec<Header>,
    body: Sent,
}

#[derive(Arbitrary, Debug)]
enum Header {
    Of(#[arbitrary(with = |from: &mut Unstructured| among(from, &GOOD_HEADERS))] &'static str),
    AlsoOf(#[arbitrary(with = |from: &mut Unstructured| among(from, &GOOD_HEADERS))] &'static str),
    AndAlsoOf(#[arbitrary(with = |from: &mut Unstructured| among(from, &GOOD_HEADERS))] &'static str),
    Odd(#[arbitrary(with = |from: &mut Unstructured| among(from, &ODD_HEADERS))] &'static str),
    Long(u8),
}

// Twice what is twice as likely.
const METHODS: [&str; 9] = ["GET", "GET", "GET", "POST", "POST", "POST", "HEAD", "CONNECT", "B@D"];
const VERSIONS: [&str; 9] = ["1.1", "1.1", "1.1", "1.1", "1.1", "1.1", "1.0", "1.0", "7.3"];

const GOOD_HEADERS: [&str; 5] = [
    "connection: close",
    "connection: keep-alive",
    "connection: upgrade\r\nupgrade: echo",
    "expect: 100-continue",
    "te: trailers",
];

const ODD_HEADERS: [&str; 5] = [
    "content-length: 3",
    "content-length: +3",
    "transfer-encoding: chunked",
    "x-folded: one\r\n two",
    "x-space : value",
];

#[derive(Arbitrary, Debug)]
enum Sent {
    Nothing,
    Length {
        length: u8,
        /// Or too few of its bytes.
        whole: bool,
    },
    Chunks {
        #[arbitrary(with = few)]
        lengths: Vec<u8>,
        end: End,
    },
}

#[derive(Arbitrary, Debug)]
enum End {
    Plain,
    Trailers,
    /// It does not end, or later.
    Missing,
}

#[derive(Arbitrary, Debug, Clone)]
pub(super) struct Answer {
    pub(super) reads: Reads,
    #[arbitrary(with = pause)]
    pub(super) after: u8,
    pub(super) status: Status,
    pub(super) body: Given,
}

#[derive(Arbitrary, Debug, Clone, Copy)]
pub(super) enum Reads {
    All,
    Frames(u8),
    Nothing,
    /// All of it, beside the response.
    Beside,
}

#[derive(Arbitrary, Debug, Clone, Copy)]
pub(super) enum Status {
    Ok,
    AlsoOk,
    TooLarge,
    NoContent,
    NotModified,
    SwitchingProtocols,
    /// The service fails instead.
    Error,
}

#[derive(Arbitrary, Debug, Clone, Copy)]
pub(super) enum Given {
    Nothing,
    Whole(u16),
    Pieces {
        count: u8,
        length: u8,
        #[arbitrary(with = pause)]
        pause: u8,
        trailers: bool,
        fails: bool,
    },
}

const MOST_STEPS: usize = 32;

impl<'a> Arbitrary<'a> for Script {
    fn arbitrary(from: &mut Unstructured<'a>) -> Result<Self> {
        let answers = few(from)?;
        let mut steps = Vec::new();
        while !from.is_empty() && steps.len() < MOST_STEPS {
            steps.push(Step::arbitrary(from)?);
        }
        Ok(Self { steps, answers })
    }
}

impl<'a> Arbitrary<'a> for Step {
    fn arbitrary(from: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match from.int_in_range(0..=15)? {
            0..=7 => Self::Send(Text::arbitrary(from)?),
            8..=13 => Self::Pause(pause(from)?),
            14 => Self::Leave,
            _ => Self::HalfClose,
        })
    }
}

impl<'a> Arbitrary<'a> for Text {
    fn arbitrary(from: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match from.int_in_range(0..=7)? {
            0..=5 => Self::Request(Request::arbitrary(from)?),
            6 => Self::Cut(Request::arbitrary(from)?, u8::arbitrary(from)?),
            _ => Self::Raw(few(from)?),
        })
    }
}

/// Up to three.
fn few<'a, T: Arbitrary<'a>>(from: &mut Unstructured<'a>) -> Result<Vec<T>> {
    (0..from.int_in_range(0..=3)?).map(|_| T::arbitrary(from)).collect()
}

fn among(from: &mut Unstructured, texts: &[&'static str]) -> Result<&'static str> {
    from.choose(texts).copied()
}

/// None at all, as often as not.
fn pause(from: &mut Unstructured) -> Result<u8> {
    Ok(u8::arbitrary(from)?.saturating_sub(128))
}

impl Script {
    /// All that the client sends.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let sent = self.steps.iter().filter_map(|step| match step {
            Step::Send(text) => Some(text.bytes()),
            _ => None,
        });
        sent.flatten().collect()
    }

    pub(super) fn leaves_at(&self) -> Option<usize> {
        self.steps.iter().position(|step| matches!(step, Step::Leave))
    }
}

impl Text {
    pub(super) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Request(request) => request.bytes(),
            Self::Cut(request, at) => {
                let mut bytes = request.bytes();
                bytes.truncate((*at).into());
                bytes
            }
            Self::Raw(bytes) => bytes.clone(),
        }
    }
}

impl Request {
    fn bytes(&self) -> Vec<u8> {
        let Self { method, version, headers, body } = self;
        let target = if *method == "CONNECT" { "test:1" } else { "/path" };
        let mut text = format!("{method} {target} HTTP/{version}\r\nhost: test\r\n");
        headers.iter().for_each(|header| text += &header.text());
        text += &body.text();
        text.into_bytes()
    }
}

impl Header {
    fn text(&self) -> String {
        match self {
            Self::Of(text) | Self::AlsoOf(text) | Self::AndAlsoOf(text) | Self::Odd(text) => {
                format!("{text}\r\n")
            }
            Self::Long(length) => format!("x-long: {}\r\n", "l".repeat(usize::from(*length) * 8)),
        }
    }
}

impl Sent {
    /// From the header that frames it on.
    fn text(&self) -> String {
        match self {
            Self::Nothing => "\r\n".to_owned(),
            Self::Length { length, whole } => {
                let sent = if *whole { *length } else { length / 2 };
                format!("content-length: {length}\r\n\r\n{}", "s".repeat(sent.into()))
            }
            Self::Chunks { lengths, end } => {
                let mut text = "transfer-encoding: chunked\r\n\r\n".to_owned();
                for length in lengths.iter().filter(|length| **length > 0) {
                    let chunk = "c".repeat((*length).into());
                    write!(text, "{length:x}\r\n{chunk}\r\n").expect("memory takes it");
                }
                text + match end {
                    End::Plain => "0\r\n\r\n",
                    End::Trailers => "0\r\nx-trailer: value\r\n\r\n",
                    End::Missing => "",
                }
            }
        }
    }
}
