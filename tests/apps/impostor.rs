//! A program that knows the channel between two generations and misuses it: in the place of a successor, or,
//! with the name of a program that it starts as one, of a predecessor, it says what its plan says, word by word.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd as _, IntoRawFd as _, RawFd};
use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, accept, recv, recvmsg,
    send, sendmsg, socketpair,
};
use nix::sys::stat::fstat;

const HELLO: u16 = 1;
const LISTENERS: u16 = 2;
const COMPLETE: u16 = 3;
const READY: u16 = 4;
const GO: u16 = 5;
const CONFIRMED: u16 = 6;
const CALL_OFF: u16 = 7;
const RESTART_AGAIN: u16 = 9;
const REPORT: u16 = 10;
const TAKEN: u16 = 23;
const UNKNOWN: u16 = 4711;

/// What a successor says that has taken over the one listener that there is.
const CLAIMED_ALL: &str = r#"{"protocol":1,"claimed":[0]}"#;

fn main() {
    let file = std::env::var("APP_PLAN").expect("a plan");
    let plan = std::fs::read_to_string(file).expect("a plan");
    let descriptor = match std::env::args().nth(1) {
        Some(program) => start(&program),
        None => channel(),
    };
    let mut channel = Channel { descriptor, received: Vec::new(), listeners: Vec::new() };
    plan.split(", ").for_each(|words| channel.follow(words.trim()));
}

/// Starts a successor as a predecessor does; returns the near end of the channel.
#[expect(clippy::zombie_processes, reason = "it outlives this process")]
fn start(program: &str) -> RawFd {
    let flags = SockFlag::empty();
    let (near, far) = socketpair(AddressFamily::Unix, SockType::Stream, None, flags).expect("a pair");
    fcntl(&near, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("it is open");
    let inode = fstat(&far).expect("it is open").st_ino;
    let handover = format!("{},{inode},{},", far.as_raw_fd(), std::process::id());
    let child = Command::new(program).env("ENDLESS_HANDOVER", handover).env_remove("APP_PLAN").spawn();
    child.expect("it can be started");
    near.into_raw_fd()
}

/// Where the predecessor left it.
fn channel() -> RawFd {
    let handover = std::env::var("ENDLESS_HANDOVER").expect("a predecessor");
    handover.split(',').next().and_then(|number| number.parse().ok()).expect("a descriptor")
}

struct Channel {
    descriptor: RawFd,
    received: Vec<u8>,
    listeners: Vec<RawFd>,
}

impl Channel {
    fn follow(&mut self, words: &str) {
        match words {
            "take" => self.await_kind(COMPLETE),
            // What a supervisor has to know; it may all be as it is by default.
            "report" => self.say(REPORT, "{}"),
            "ready" => self.say(READY, CLAIMED_ALL),
            // In one piece, so that nobody can say anything between them.
            "ready and confirm" => {
                self.write(&[frame(READY, 0, CLAIMED_ALL), frame(CONFIRMED, 0, "null")].concat())
            }
            "ready like a newer one" => {
                self.say(READY, r#"{"protocol":999,"claimed":[0,99999],"flux":[{}]}"#)
            }
            "ready like an older one" => self.say(READY, "{}"),
            "ready byte by byte" => self.dribble(&frame(READY, 0, r#"{"claimed":[0]}"#)),
            "await go" => self.await_kind(GO),
            "confirm" => self.say(CONFIRMED, "null"),
            "unknown" => self.say(UNKNOWN, "[1,2,3]"),
            "what is not its to say" => {
                self.say(HELLO, r#"{"protocol":1,"generation":7}"#);
                self.say(LISTENERS, "[]");
                [COMPLETE, GO, RESTART_AGAIN].into_iter().for_each(|kind| self.say(kind, "null"));
                self.say(CALL_OFF, r#"{"reason":"no"}"#);
            }
            "hello" => self.say(HELLO, r#"{"protocol":1,"generation":4}"#),
            "hello like a newer one" => self.say(HELLO, r#"{"protocol":999,"generation":4,"flux":[{}]}"#),
            "hello like an older one" => self.say(HELLO, "{}"),
            "a listener" => self.give_listener(),
            "a listener without its descriptor" => self.say(LISTENERS, &listener_note("127.0.0.1:1")),
            "complete" => self.say(COMPLETE, "null"),
            "go" => self.say(GO, "null"),
            "call off" => self.say(CALL_OFF, r#"{"reason":"as planned"}"#),
            "await ready" => self.await_kind(READY),
            "garbage" => self.write(&[0xA5; 64]),
            "half a message" => self.write(&frame(READY, 0, r#"{"protocol":1}"#)[..12]),
            "a length of 4 GB" => self.write(&[4, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]),
            "254 descriptors" => self.write(&frame(LISTENERS, 254, "[]")),
            "a descriptor that does not come" => self.write(&frame(LISTENERS, 1, "[]")),
            "600 descriptors" => self.give_descriptors(),
            "no JSON" => self.say(READY, "{{{"),
            "flood" => loop {
                self.say(UNKNOWN, &"0".repeat(4000));
            },
            "repeat oneself" => loop {
                self.say(READY, r#"{"claimed":[0]}"#);
            },
            // Of the channel for connections, which comes after the listener.
            "moving garbage" => self.moving(|moving| moving.write(&[0xA5; 64])),
            "moving taken" => self.moving(|moving| moving.say(TAKEN, r#"{"batch":7,"refused":[]}"#)),
            "moving close" => {
                self.moving(|moving| nix::unistd::close(moving.descriptor).expect("it was open"))
            }
            "moving nothing" => {}
            "close" => nix::unistd::close(self.descriptor).expect("it was open"),
            "live" => loop {
                thread::park();
            },
            "serve" => self.serve(),
            other => panic!("no plan: {other:?}"),
        }
    }

    fn moving(&self, does: impl FnOnce(&Self)) {
        let [_, descriptor] = self.listeners[..] else { panic!("no channel came: {:?}", self.listeners) };
        does(&Self { descriptor, received: Vec::new(), listeners: Vec::new() });
    }

    fn say(&self, kind: u16, payload: &str) {
        self.write(&frame(kind, 0, payload));
    }

    fn write(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match send(self.descriptor, bytes, MsgFlags::MSG_NOSIGNAL) {
                Ok(count) => bytes = &bytes[count..],
                // The predecessor has had enough; it will say what becomes of this process.
                Err(_) => thread::park(),
            }
        }
    }

    fn dribble(&self, bytes: &[u8]) {
        for byte in bytes {
            self.write(&[*byte]);
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn give_listener(&self) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let note = listener_note(&address);
        eprintln!("INFO app: gave address={address}");
        let (bytes, numbers) = (frame(LISTENERS, 1, &note), [listener.as_raw_fd()]);
        let rights = [ControlMessage::ScmRights(&numbers)];
        let sent = sendmsg::<()>(self.descriptor, &[IoSlice::new(&bytes)], &rights, MsgFlags::empty(), None);
        assert_eq!(sent, Ok(bytes.len()));
    }

    /// More than a process takes that knows the protocol, with a message that does not end; not so many that
    /// no other process of this user could send any (unix(7), ETOOMANYREFS).
    fn give_descriptors(&self) {
        self.write(&frame(UNKNOWN, 0, &"0".repeat(100_000))[..8]);
        let numbers = [2; 200];
        for _ in 0..3 {
            let rights = [ControlMessage::ScmRights(&numbers)];
            let (bytes, flags) = ([IoSlice::new(b"0")], MsgFlags::MSG_NOSIGNAL);
            while sendmsg::<()>(self.descriptor, &bytes, &rights, flags, None) == Err(Errno::ETOOMANYREFS) {
                thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// Reads up to and with a message of this kind.
    fn await_kind(&mut self, kind: u16) {
        while !self.drain_to(kind) {
            self.read();
        }
    }

    fn drain_to(&mut self, kind: u16) -> bool {
        while let Some(head) = self.received.first_chunk::<8>() {
            let [k0, k1, _, _, l0, l1, l2, l3] = *head;
            let end = 8 + u32::from_le_bytes([l0, l1, l2, l3]) as usize;
            if self.received.len() < end {
                return false;
            }
            self.received.drain(..end);
            if u16::from_le_bytes([k0, k1]) == kind {
                return true;
            }
        }
        false
    }

    fn read(&mut self) {
        let mut space = [0; 4096];
        let mut control = nix::cmsg_space!([RawFd; 253]);
        let mut slices = [IoSliceMut::new(&mut space)];
        let read = recvmsg::<()>(self.descriptor, &mut slices, Some(&mut control), MsgFlags::empty());
        let read = read.expect("the channel can be read");
        for message in read.cmsgs().expect("there is space for all") {
            if let ControlMessageOwned::ScmRights(numbers) = message {
                self.listeners.extend(numbers);
            }
        }
        let count = read.bytes;
        if count == 0 {
            std::process::exit(0);
        }
        self.received.extend_from_slice(&space[..count]);
    }

    /// Keeps the promises of the tests' programs, in the simplest way.
    fn serve(&self) {
        // What comes after it is the channel for connections that move, of which it knows nothing.
        let [listener, ..] = self.listeners[..] else { panic!("no listener came") };
        loop {
            match accept(listener) {
                Ok(connection) => drop(thread::spawn(move || answer(connection))),
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}

fn answer(connection: RawFd) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && recv(connection, &mut byte, MsgFlags::empty()) == Ok(1) {
        head.extend(byte);
    }
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n";
    let answer = format!("{head}x-pid: {}\r\n\r\nWORLD!", std::process::id());
    send(connection, answer.as_bytes(), MsgFlags::MSG_NOSIGNAL).ok();
    nix::unistd::close(connection).ok();
}

fn listener_note(local: &str) -> String {
    format!(r#"[{{"requested":"127.0.0.1:0","occurrence":0,"local":"{local}"}}]"#)
}

fn frame(kind: u16, descriptors: u16, payload: &str) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("it is short");
    let mut bytes = [kind.to_le_bytes(), descriptors.to_le_bytes()].concat();
    bytes.extend(length.to_le_bytes());
    bytes.extend(payload.as_bytes());
    bytes
}
