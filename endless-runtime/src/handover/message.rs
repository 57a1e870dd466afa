//! What is said over the channel, and how it is put into frames.
//!
//! A frame is a header of eight bytes (kind: u16, descriptors: u16, length: u32, little-endian) and a payload
//! of JSON, so that builds of different versions understand each other: a kind that is not known is skipped,
//! a field that is not known is ignored, a field that is new has a default.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::bequest::Bequest;
use crate::birth;
use crate::listener::ListenerNote;
use crate::moving::MovingNote;
use crate::secrets::Secrets;
use crate::signal::{Sender, Signal};

pub(super) const HEADER: usize = 8;

/// The largest payload that is accepted, in bytes.
pub(super) const MAX_LENGTH: usize = 1 << 20;

/// The most descriptors that the kernel passes with one message (`SCM_MAX_FD`).
pub(super) const MAX_DESCRIPTORS: usize = 253;

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: u16,
    pub(super) descriptors: usize,
    pub(super) length: usize,
}

/// One message with its descriptors.
#[derive(Debug)]
pub(crate) enum Message {
    /// The predecessor introduces itself.
    Hello(Hello),
    /// Some of the predecessor's listeners; several messages if they are many.
    Listeners(Vec<(ListenerNote, OwnedFd)>),
    /// Nothing more is handed over.
    Complete,
    /// The successor could accept.
    Ready(Ready),
    /// The predecessor accepts no more.
    Go,
    /// The successor accepts.
    Confirmed,
    /// The predecessor serves on, and the successor ends.
    CallOff(Reason),
    /// Why the successor will not be ready.
    Failed(Reason),
    /// A restart was asked for while this one was under way: it is the successor's to carry out, and to answer
    /// those who wait for its outcome over these.
    RestartAgain(Vec<OwnedFd>),
    /// To the supervisor: what it has to know of a generation. Its listeners follow, and [`Message::Complete`].
    Report(Report),
    /// From the supervisor, to the generation that serves: a restart is wanted.
    Ask(Asked),
    /// To the supervisor: the hooks have nothing against it.
    Agreed(Turn),
    /// To the supervisor: a hook is against it.
    Refused(Refused),
    /// From the supervisor: accept nothing.
    Pause(Turn),
    /// To the supervisor: nothing is accepted.
    Paused(Turn),
    /// From the supervisor: accept again.
    Resume,
    /// From the supervisor: the successor accepts, so drain.
    LetGo(Inheritors),
    /// From the supervisor: there is no successor.
    NotRestarted(Reason),
    /// From the supervisor: act on this signal. To the supervisor: somebody sent it to this generation.
    Signal(Relayed),
    /// Some of the user's own descriptors; several messages if they are many.
    Bequests(Vec<Bequest>),
    /// This end of a channel is for connections: those that a successor takes over, or, from a supervisor to a
    /// predecessor, those that it gives away.
    MovingChannel(OwnedFd),
    /// Bytes of the connections that follow, before those that come with them.
    Ahead(Vec<u8>),
    /// Connections, to be taken but not read.
    Move(Batch),
    /// These connections are taken, but for some.
    Taken(Taken),
    /// Those that were taken are the successor's.
    Commit(Committed),
    /// From the supervisor: is your runtime alive?
    Ping,
    /// To the supervisor: it is.
    Pong,
    /// What only the next generation may see.
    Secrets(Secrets),
    /// Something that a newer build says.
    Unknown(u16),
}

/// Connections that move together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Its number on this channel.
    pub(crate) batch: u64,
    pub(crate) connections: Vec<(MovingNote, Arc<OwnedFd>)>,
    /// How many of the bytes are each connection's.
    pub(crate) unread: Vec<usize>,
    /// The last of the bytes that were read of them, in their order.
    pub(crate) bytes: Vec<u8>,
}

/// What of a [`Batch`] goes over as JSON.
#[derive(Debug, Deserialize, Serialize)]
struct BatchNote {
    batch: u64,
    connections: Vec<MovingNote>,
    unread: Vec<usize>,
}

/// Which batch is taken.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub(crate) struct Taken {
    pub(crate) batch: u64,
    /// The places of those that are not.
    pub(crate) refused: Vec<usize>,
}

/// Which batch is the successor's.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub(crate) struct Committed {
    pub(crate) batch: u64,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub(crate) struct Hello {
    /// [`PROTOCOL`](super::PROTOCOL) of who says it.
    pub(crate) protocol: u32,
    /// The predecessor's generation.
    pub(crate) generation: u64,
    /// Whether there never was a predecessor: who says it is a supervisor, and starts its first generation.
    pub(crate) first: bool,
    /// From a supervisor: the PID of the generation that serves now, if there is one.
    pub(crate) predecessor: Option<i32>,
    /// The generations that will drain when the successor serves, the oldest first.
    pub(crate) predecessors: Vec<Kin>,
}

/// A generation, told apart from a later process with its number.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub(crate) struct Kin {
    pub(crate) pid: u32,
    pub(crate) generation: u64,
    /// As [`birth`](crate::birth) tells it.
    pub(crate) started: u64,
}

impl Kin {
    /// A process that certainly lives now; `None` where nobody tells when it was started.
    pub(crate) fn of(pid: u32, generation: u64) -> Option<Self> {
        Some(Self { pid, generation, started: birth::of(pid)? })
    }

    pub(crate) fn lives(&self) -> bool {
        birth::lives(self.pid, self.started)
    }
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub(crate) struct Ready {
    pub(crate) protocol: u32,
    /// Which listeners it has claimed, by their place in the order in which they came.
    pub(crate) claimed: Vec<usize>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub(crate) struct Reason {
    pub(crate) reason: String,
}

/// What a supervisor knows of the generation that serves.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub(crate) struct Report {
    /// The version of the supervisor that this build would be.
    pub(crate) supervisor: u32,
    pub(crate) ready_timeout: Duration,
    /// How often a generation is replaced that ends by itself, and within which time; `None` for never.
    pub(crate) respawn: Option<(usize, Duration)>,
    pub(crate) pid_file: Option<PathBuf>,
    /// The signals that it wants to know of, beside those that are always acted on; by name.
    pub(crate) hooked: Vec<String>,
    /// For how long its hooks may take to agree to a restart, all together.
    pub(crate) hooks_timeout: Duration,
    /// Whether it knows [`Message::Ping`].
    pub(crate) answers_pings: bool,
}

/// Which of its attempts a supervisor means: an answer that comes late is none to the next one.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub(crate) struct Turn {
    pub(crate) attempt: u64,
}

/// Why a hook is against an attempt.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub(crate) struct Refused {
    pub(crate) attempt: u64,
    pub(crate) reason: String,
}

/// A restart that is wanted.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub(crate) struct Asked {
    pub(crate) attempt: u64,
    pub(crate) signal: Relayed,
    /// What will be started.
    pub(crate) program: String,
}

/// A signal that came to another process.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub(crate) struct Relayed {
    /// Its name: a number means different things on different systems.
    pub(crate) name: String,
    /// The PID and the user ID of who sent it, as far as they are known.
    pub(crate) sender: Option<(u32, u32)>,
}

impl Relayed {
    pub(crate) fn new(signal: Signal, sender: Option<Sender>) -> Self {
        Self { name: signal.to_string(), sender: sender.map(|sender| (sender.pid, sender.uid)) }
    }
}

/// Who takes over, and what.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub(crate) struct Inheritors {
    /// The successor's PID.
    pub(crate) successor: u32,
    /// The successor's listeners; the others are nobody's any more.
    pub(crate) claimed: Vec<ListenerNote>,
}

mod kind {
    pub(super) const HELLO: u16 = 1;
    pub(super) const LISTENERS: u16 = 2;
    pub(super) const COMPLETE: u16 = 3;
    pub(super) const READY: u16 = 4;
    pub(super) const GO: u16 = 5;
    pub(super) const CONFIRMED: u16 = 6;
    pub(super) const CALL_OFF: u16 = 7;
    pub(super) const FAILED: u16 = 8;
    pub(super) const RESTART_AGAIN: u16 = 9;
    pub(super) const REPORT: u16 = 10;
    pub(super) const ASK: u16 = 11;
    pub(super) const AGREED: u16 = 12;
    pub(super) const REFUSED: u16 = 13;
    pub(super) const PAUSE: u16 = 14;
    pub(super) const PAUSED: u16 = 15;
    pub(super) const RESUME: u16 = 16;
    pub(super) const LET_GO: u16 = 17;
    pub(super) const NOT_RESTARTED: u16 = 18;
    pub(super) const SIGNAL: u16 = 19;
    pub(super) const MOVING_CHANNEL: u16 = 20;
    pub(super) const AHEAD: u16 = 21;
    pub(super) const MOVE: u16 = 22;
    pub(super) const TAKEN: u16 = 23;
    pub(super) const BEQUESTS: u16 = 24;
    pub(super) const COMMIT: u16 = 25;
    pub(super) const PING: u16 = 30;
    pub(super) const PONG: u16 = 31;
    pub(super) const SECRETS: u16 = 26;
}

/// Why bytes are no frame, or a frame no message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("a message of {0} bytes")]
    Length(usize),
    #[error("a message with {0} descriptors")]
    Descriptors(usize),
    #[error("a message of kind {kind} that is malformed: {error}")]
    Payload { kind: u16, error: serde_json::Error },
    #[error("a batch of connections that is cut short")]
    Batch,
    #[error("secrets of {0} bytes")]
    Secrets(usize),
    #[error("a message of kind {kind} with {got} descriptors for {expected}")]
    Count { kind: u16, expected: usize, got: usize },
}

impl Header {
    /// # Errors
    ///
    /// Lengths that nobody in their right mind sends.
    pub(super) fn parse(bytes: [u8; HEADER]) -> Result<Self, Malformed> {
        let [k0, k1, d0, d1, l0, l1, l2, l3] = bytes;
        let descriptors = usize::from(u16::from_le_bytes([d0, d1]));
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        match (length, descriptors) {
            (MAX_LENGTH.., _) => Err(Malformed::Length(length)),
            (_, count) if count > MAX_DESCRIPTORS => Err(Malformed::Descriptors(count)),
            _ => Ok(Self { kind: u16::from_le_bytes([k0, k1]), descriptors, length }),
        }
    }
}

impl Message {
    /// The frame's bytes and the descriptors that go with them.
    pub(super) fn into_frame(self) -> (Vec<u8>, Vec<Arc<OwnedFd>>) {
        match self {
            Self::Hello(hello) => (frame(kind::HELLO, 0, &hello), Vec::new()),
            Self::Listeners(listeners) => frame_with_descriptors(kind::LISTENERS, listeners),
            Self::Complete => (frame(kind::COMPLETE, 0, &()), Vec::new()),
            Self::Ready(ready) => (frame(kind::READY, 0, &ready), Vec::new()),
            Self::Go => (frame(kind::GO, 0, &()), Vec::new()),
            Self::Confirmed => (frame(kind::CONFIRMED, 0, &()), Vec::new()),
            Self::CallOff(reason) => (frame(kind::CALL_OFF, 0, &reason), Vec::new()),
            Self::Failed(reason) => (frame(kind::FAILED, 0, &reason), Vec::new()),
            Self::RestartAgain(waiting) => {
                let waiting: Vec<_> = waiting.into_iter().map(Arc::new).collect();
                (frame(kind::RESTART_AGAIN, waiting.len(), &()), waiting)
            }
            Self::Report(report) => (frame(kind::REPORT, 0, &report), Vec::new()),
            Self::Ask(asked) => (frame(kind::ASK, 0, &asked), Vec::new()),
            Self::Agreed(turn) => (frame(kind::AGREED, 0, &turn), Vec::new()),
            Self::Refused(refused) => (frame(kind::REFUSED, 0, &refused), Vec::new()),
            Self::Pause(turn) => (frame(kind::PAUSE, 0, &turn), Vec::new()),
            Self::Paused(turn) => (frame(kind::PAUSED, 0, &turn), Vec::new()),
            Self::Resume => (frame(kind::RESUME, 0, &()), Vec::new()),
            Self::LetGo(inheritors) => (frame(kind::LET_GO, 0, &inheritors), Vec::new()),
            Self::NotRestarted(reason) => (frame(kind::NOT_RESTARTED, 0, &reason), Vec::new()),
            Self::Signal(relayed) => (frame(kind::SIGNAL, 0, &relayed), Vec::new()),
            Self::Bequests(bequests) => frame_with_descriptors(kind::BEQUESTS, bequests),
            Self::MovingChannel(channel) => (frame(kind::MOVING_CHANNEL, 1, &()), vec![Arc::new(channel)]),
            Self::Ahead(bytes) => (framed(kind::AHEAD, 0, &bytes), Vec::new()),
            Self::Move(batch) => batch.into_frame(),
            Self::Taken(taken) => (frame(kind::TAKEN, 0, &taken), Vec::new()),
            Self::Commit(committed) => (frame(kind::COMMIT, 0, &committed), Vec::new()),
            Self::Ping => (frame(kind::PING, 0, &()), Vec::new()),
            Self::Pong => (frame(kind::PONG, 0, &()), Vec::new()),
            Self::Secrets(secrets) => (framed(kind::SECRETS, 0, secrets.bytes()), Vec::new()),
            Self::Unknown(kind) => (frame(kind, 0, &()), Vec::new()),
        }
    }

    /// # Errors
    ///
    /// A payload that its kind cannot have, or descriptors that are missing or too many.
    pub(super) fn parse(kind: u16, payload: &[u8], descriptors: Vec<OwnedFd>) -> Result<Self, Malformed> {
        Ok(match kind {
            kind::HELLO => Self::Hello(json(kind, payload)?),
            kind::LISTENERS => Self::Listeners(json_with_descriptors(kind, payload, descriptors)?),
            kind::COMPLETE => Self::Complete,
            kind::READY => Self::Ready(json(kind, payload)?),
            kind::GO => Self::Go,
            kind::CONFIRMED => Self::Confirmed,
            kind::CALL_OFF => Self::CallOff(json(kind, payload)?),
            kind::FAILED => Self::Failed(json(kind, payload)?),
            kind::RESTART_AGAIN => Self::RestartAgain(descriptors),
            kind::REPORT => Self::Report(json(kind, payload)?),
            kind::ASK => Self::Ask(json(kind, payload)?),
            kind::AGREED => Self::Agreed(json(kind, payload)?),
            kind::REFUSED => Self::Refused(json(kind, payload)?),
            kind::PAUSE => Self::Pause(json(kind, payload)?),
            kind::PAUSED => Self::Paused(json(kind, payload)?),
            kind::RESUME => Self::Resume,
            kind::LET_GO => Self::LetGo(json(kind, payload)?),
            kind::NOT_RESTARTED => Self::NotRestarted(json(kind, payload)?),
            kind::SIGNAL => Self::Signal(json(kind, payload)?),
            kind::BEQUESTS => Self::Bequests(json_with_descriptors(kind, payload, descriptors)?),
            kind::MOVING_CHANNEL => Self::MovingChannel(one(kind, descriptors)?),
            kind::AHEAD => Self::Ahead(payload.to_vec()),
            kind::MOVE => Self::Move(Batch::parse(payload, descriptors)?),
            kind::TAKEN => Self::Taken(json(kind, payload)?),
            kind::COMMIT => Self::Commit(json(kind, payload)?),
            kind::PING => Self::Ping,
            kind::PONG => Self::Pong,
            kind::SECRETS => {
                let secrets = Secrets::new(payload.to_vec().into());
                Self::Secrets(secrets.ok_or(Malformed::Secrets(payload.len()))?)
            }
            unknown => Self::Unknown(unknown),
        })
    }

    /// Whether the bytes of this message are to be wiped once it is on its way, or has come: of what a newer build
    /// says nobody knows.
    pub(super) fn is_secret(&self) -> bool {
        matches!(self, Self::Secrets(_) | Self::Unknown(_))
    }
}

impl Batch {
    /// A length, the JSON of that length, and the bytes as they are.
    fn into_frame(self) -> (Vec<u8>, Vec<Arc<OwnedFd>>) {
        let Self { batch, connections, unread, bytes } = self;
        let (connections, descriptors): (Vec<_>, Vec<_>) = connections.into_iter().unzip();
        let note = serde_json::to_vec(&BatchNote { batch, connections, unread });
        let note = note.expect("messages are plain data");
        let length = u32::try_from(note.len()).expect("messages are small");
        let payload = [&length.to_le_bytes()[..], &note, &bytes].concat();
        (framed(kind::MOVE, descriptors.len(), &payload), descriptors)
    }

    fn parse(payload: &[u8], descriptors: Vec<OwnedFd>) -> Result<Self, Malformed> {
        let (length, rest) = payload.split_first_chunk().ok_or(Malformed::Batch)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (note, bytes) = rest.split_at_checked(length).ok_or(Malformed::Batch)?;
        let BatchNote { batch, connections, unread } = json(kind::MOVE, note)?;
        let (expected, got) = (connections.len(), descriptors.len());
        if expected != got || unread.len() != got {
            return Err(Malformed::Count { kind: kind::MOVE, expected, got });
        }
        let connections = connections.into_iter().zip(descriptors.into_iter().map(Arc::new)).collect();
        Ok(Self { batch, connections, unread, bytes: bytes.to_vec() })
    }
}

fn one(kind: u16, descriptors: Vec<OwnedFd>) -> Result<OwnedFd, Malformed> {
    let got = descriptors.len();
    let [one] = descriptors.try_into().map_err(|_| Malformed::Count { kind, expected: 1, got })?;
    Ok(one)
}

fn frame(kind: u16, descriptors: usize, payload: &impl Serialize) -> Vec<u8> {
    framed(kind, descriptors, &serde_json::to_vec(payload).expect("messages are plain data"))
}

fn framed(kind: u16, descriptors: usize, payload: &[u8]) -> Vec<u8> {
    let descriptors = u16::try_from(descriptors).expect("the caller keeps to MAX_DESCRIPTORS");
    let length = u32::try_from(payload.len()).expect("messages are small");
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.extend(kind.to_le_bytes());
    bytes.extend(descriptors.to_le_bytes());
    bytes.extend(length.to_le_bytes());
    bytes.extend(payload);
    bytes
}

/// A list, and a descriptor for each of its elements.
fn frame_with_descriptors<T: Serialize>(
    kind: u16,
    elements: Vec<(T, OwnedFd)>,
) -> (Vec<u8>, Vec<Arc<OwnedFd>>) {
    let (elements, descriptors): (Vec<_>, Vec<_>) = elements.into_iter().unzip();
    let descriptors: Vec<_> = descriptors.into_iter().map(Arc::new).collect();
    (frame(kind, descriptors.len(), &elements), descriptors)
}

fn json<T: DeserializeOwned>(kind: u16, payload: &[u8]) -> Result<T, Malformed> {
    serde_json::from_slice(payload).map_err(|error| Malformed::Payload { kind, error })
}

fn json_with_descriptors<T: DeserializeOwned>(
    kind: u16,
    payload: &[u8],
    descriptors: Vec<OwnedFd>,
) -> Result<Vec<(T, OwnedFd)>, Malformed> {
    let elements: Vec<T> = json(kind, payload)?;
    match elements.len() == descriptors.len() {
        true => Ok(elements.into_iter().zip(descriptors).collect()),
        false => Err(Malformed::Count { kind, expected: elements.len(), got: descriptors.len() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::LONGEST;

    fn reparse(message: Message) -> Message {
        let (bytes, descriptors) = message.into_frame();
        let header = Header::parse(bytes[..HEADER].try_into().expect("a header")).expect("well-formed");
        assert_eq!(header.length, bytes.len() - HEADER);
        assert_eq!(header.descriptors, descriptors.len());
        let descriptors = descriptors.into_iter().map(|one| Arc::into_inner(one).expect("nobody else's"));
        Message::parse(header.kind, &bytes[HEADER..], descriptors.collect()).expect("well-formed")
    }

    #[test]
    fn a_message_survives_its_frame() {
        let note =
            ListenerNote { requested: ":80".into(), occurrence: 2, local: "[::]:80".into(), file: None };
        let socket = std::fs::File::open("/dev/null").expect("a descriptor").into();
        let Message::Listeners(listeners) = reparse(Message::Listeners(vec![(note.clone(), socket)])) else {
            panic!("another kind");
        };
        assert_eq!(listeners[0].0, note);
        let socket = std::fs::File::open("/dev/null").expect("a descriptor").into();
        let bequests = reparse(Message::Bequests(vec![("a \"name\"".to_owned(), socket)]));
        assert!(matches!(bequests, Message::Bequests(read) if read[0].0 == "a \"name\""));
        let waiting = vec![std::fs::File::open("/dev/null").expect("a descriptor").into()];
        let again = reparse(Message::RestartAgain(waiting));
        assert!(matches!(again, Message::RestartAgain(read) if read.len() == 1));
        let ready = Ready { protocol: 1, claimed: vec![0, 2] };
        assert!(matches!(reparse(Message::Ready(ready.clone())), Message::Ready(read) if read == ready));
        assert!(matches!(reparse(Message::Unknown(999)), Message::Unknown(999)));
        let secrets = Secrets::new(b"\0\xff{".to_vec().into()).expect("they are short");
        assert!(
            matches!(reparse(Message::Secrets(secrets.clone())), Message::Secrets(read) if read == secrets)
        );
    }

    #[test]
    fn secrets_are_bounded_and_not_shown() {
        let parse = |length| Message::parse(kind::SECRETS, &vec![b'a'; length], Vec::new());
        assert!(matches!(parse(LONGEST + 1), Err(Malformed::Secrets(4097))));
        let longest = parse(LONGEST).expect("they are not too long");
        assert_eq!(format!("{longest:?}"), "Secrets(Secrets)");
    }

    #[test]
    fn fields_of_another_version_are_no_obstacle() {
        let newer = Message::parse(kind::HELLO, br#"{"generation":3,"flux":[1]}"#, Vec::new());
        assert!(matches!(newer, Ok(Message::Hello(Hello { generation: 3, protocol: 0, .. }))));
    }

    #[test]
    fn lengths_are_bounded() {
        let mut bytes = [0; HEADER];
        bytes[4..].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(Header::parse(bytes), Err(Malformed::Length(_))));
        let mut bytes = [0; HEADER];
        bytes[2..4].copy_from_slice(&254_u16.to_le_bytes());
        assert!(matches!(Header::parse(bytes), Err(Malformed::Descriptors(254))));
    }

    #[test]
    fn listeners_without_their_descriptors_are_refused() {
        let payload = br#"[{"requested":":80","occurrence":0,"local":"[::]:80"}]"#;
        let parsed = Message::parse(kind::LISTENERS, payload, Vec::new());
        assert!(matches!(parsed, Err(Malformed::Count { expected: 1, got: 0, .. })));
    }
    #[test]
    fn bequests_without_their_descriptors_or_their_names_are_refused() {
        let null = || OwnedFd::from(std::fs::File::open("/dev/null").expect("a descriptor"));
        let parsed = Message::parse(kind::BEQUESTS, br#"["udp","tcp"]"#, vec![null()]);
        assert!(matches!(parsed, Err(Malformed::Count { expected: 2, got: 1, .. })));
        let parsed = Message::parse(kind::BEQUESTS, br#"["udp"]"#, vec![null(), null()]);
        assert!(matches!(parsed, Err(Malformed::Count { expected: 1, got: 2, .. })));
        for payload in ["[7]", "{}", "null", "[\"udp\"", "[\"\\ud800\"]"] {
            let parsed = Message::parse(kind::BEQUESTS, payload.as_bytes(), vec![null()]);
            assert!(matches!(parsed, Err(Malformed::Payload { .. })), "{payload}");
        }
        let none = Message::parse(kind::BEQUESTS, b"[]", Vec::new());
        assert!(matches!(none, Ok(Message::Bequests(none)) if none.is_empty()));
    }

    /// The names may be of any characters, and JSON needs six bytes for some that are one.
    #[test]
    fn the_longest_names_fit_into_one_message() {
        let null = || OwnedFd::from(std::fs::File::open("/dev/null").expect("a descriptor"));
        let longest = "\u{1}".repeat(crate::bequest::LONGEST_NAME);
        let all = (0..MAX_DESCRIPTORS).map(|_| (longest.clone(), null())).collect();
        let Message::Bequests(read) = reparse(Message::Bequests(all)) else { panic!("another kind") };
        assert_eq!(read.len(), MAX_DESCRIPTORS);
        assert!(read.into_iter().all(|(name, _)| name == longest));
    }
}
