//! Whatever a stranger could put into the channel or the environment: taken without a panic and without a
//! descriptor that stays open. For the tests, and for `cargo fuzz`.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use super::channel::Channel;
use super::environment::Credentials;
use super::message::{HEADER, Header, Message};

/// Sends these bytes in pieces, some with descriptors, and receives until the end.
///
/// A piece begins with a byte that says how many descriptors go with it, and one that says how long it is.
///
/// # Panics
///
/// If a message reads back as another, or a descriptor stays open.
pub fn channel(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.expect("descriptors for a runtime");
    let before = lowest_free().expect("a descriptor");
    runtime.block_on(receive_all(bytes));
    assert_eq!(lowest_free().expect("a descriptor"), before, "a descriptor stays open");
}

async fn receive_all(bytes: &[u8]) {
    let (near, far) = UnixStream::pair().expect("two descriptors");
    let mut channel = Channel::over(far.into()).expect("a runtime");
    near.set_nonblocking(true).expect("a socket");
    // What is beyond the kernel's buffer is not sent.
    let _full = send_pieces(&near, bytes);
    drop(near);
    while let Ok(Some(message)) = channel.receive().await {
        reads_back(message);
    }
}

fn send_pieces(socket: &UnixStream, mut bytes: &[u8]) -> io::Result<()> {
    let null = File::open("/dev/null")?;
    while let [count, length, rest @ ..] = bytes {
        let (piece, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        let numbers: Vec<RawFd> = vec![null.as_raw_fd(); usize::from(count % 4)];
        let rights = [ControlMessage::ScmRights(&numbers)];
        let control = if numbers.is_empty() { &rights[..0] } else { &rights[..] };
        if !piece.is_empty() {
            sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(piece)], control, MsgFlags::empty(), None)?;
        }
        bytes = rest;
    }
    Ok(())
}

fn reads_back(message: Message) {
    let said = format!("{message:?}");
    let (bytes, descriptors) = message.into_frame();
    let header = bytes.first_chunk::<HEADER>().map(|head| Header::parse(*head));
    let Some(Ok(Header { kind, length, .. })) = header else { panic!("{said} has no header") };
    assert_eq!(bytes.len(), HEADER + length);
    let descriptors = descriptors.into_iter().filter_map(Arc::into_inner).collect();
    let again = Message::parse(kind, &bytes[HEADER..], descriptors).expect("our own message");
    assert_eq!(format!("{again:?}"), said);
}

/// The kernel gives out the lowest number that is free.
fn lowest_free() -> io::Result<RawFd> {
    Ok(File::open("/dev/null")?.as_raw_fd())
}

/// Reads these bytes as the variable of the environment.
///
/// # Panics
///
/// If what was read is not what is written of it.
pub fn environment(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(credentials) = text.parse::<Credentials>() {
        assert_eq!(credentials.to_string().parse(), Ok(credentials));
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// A connection that moves, with two bytes that were read of it.
    fn moving() -> Vec<u8> {
        let connection =
            r#"{"listener":":80","remote":{"Unix":[]},"http1":true,"awaited_for":{"secs":1,"nanos":0}}"#;
        let note = format!(r#"{{"batch":1,"connections":[{connection}],"unread":[2]}}"#);
        [&(note.len() as u32).to_le_bytes()[..], note.as_bytes(), b"ab"].concat()
    }

    /// Frames that are nearly right.
    fn frames() -> impl Strategy<Value = Vec<u8>> {
        let payload = prop_oneof![
            Just(b"null".to_vec()),
            Just(b"{}".to_vec()),
            Just(br#"{"generation":3,"protocol":1}"#.to_vec()),
            Just(br#"{"claimed":[0,1]}"#.to_vec()),
            Just(br#"{"attempt":1,"signal":{"name":"SIGHUP","sender":[1,0]}}"#.to_vec()),
            Just(br#"{"hooked":["SIGHUP"],"respawn":[5,{"secs":10,"nanos":0}]}"#.to_vec()),
            Just(br#"[{"requested":":80","occurrence":0,"local":"[::]:80"}]"#.to_vec()),
            Just(br#"["udp","tcp"]"#.to_vec()),
            Just(moving()),
            vec(any::<u8>(), 0..40),
        ];
        let frame = (0_u16..28, 0_u16..4, -2_i32..3, payload).prop_map(|(kind, count, more, payload)| {
            let length = (payload.len() as i32 + more).max(0) as u32;
            let mut piece = vec![count as u8, (HEADER + payload.len()) as u8];
            piece.extend(kind.to_le_bytes());
            piece.extend(count.to_le_bytes());
            piece.extend(length.to_le_bytes());
            piece.extend(payload);
            piece
        });
        vec(frame, 0..6).prop_map(|frames| frames.concat())
    }

    /// Without a look at the descriptors, which the other tests open and close too.
    #[test]
    fn a_channel_takes_anything() {
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
        let any = prop_oneof![frames(), vec(any::<u8>(), 0..300)];
        let taken = runner.run(&any, |bytes| {
            runtime.block_on(receive_all(&bytes));
            Ok(())
        });
        taken.expect("nothing panics");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_variable_takes_anything(text in "[0-9]{0,5},[0-9]{0,20},[0-9]{0,8},[A-Z0-9+]{0,30}|.{0,60}") {
            environment(text.as_bytes());
        }
    }
}
