//! A client of a UDP service that answers each number with `PID COUNT NUMBER`, and forgives no answer that is
//! missing or comes twice.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::client::patiently;

/// So many wait for their answer at a time: far fewer than the kernel's queue takes.
const WINDOW: usize = 8;

/// Numbers on their way, one after the other, until it is stopped.
#[derive(Debug)]
pub(crate) struct Datagrams {
    answers: watch::Receiver<Answers>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// How many each process has answered.
pub(crate) type Answers = BTreeMap<u32, u64>;

impl Datagrams {
    pub(crate) async fn start(service: SocketAddr) -> Self {
        let ((heard, answers), (stop, stopped)) = (watch::channel(Answers::default()), watch::channel(false));
        let task = tokio::spawn(async move { converse(connected(service).await, heard, stopped).await });
        Self { answers, stop, task }
    }

    /// Waits until this process has answered ten.
    pub(crate) async fn until_answered_by(&self, pid: u32) {
        let mut answers = self.answers.clone();
        let has = |answers: &Answers| answers.get(&pid).is_some_and(|count| *count >= 10);
        patiently(answers.wait_for(has)).await.expect("an answer is missing, or wrong");
    }

    /// Waits until all that was sent is answered.
    pub(crate) async fn stop(self) -> Answers {
        self.stop.send_replace(true);
        patiently(self.task).await.expect("an answer is wrong");
        self.answers.borrow().clone()
    }
}

/// A socket that hears this service alone.
pub(crate) async fn connected(service: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    socket.connect(service).await.expect("an address");
    socket
}

/// The next answer: PID, count, number.
pub(crate) async fn answer(socket: &UdpSocket) -> (u32, u64, u64) {
    let mut answer = [0; 100];
    let length = patiently(socket.recv(&mut answer)).await.expect("somebody has the port");
    let text = String::from_utf8_lossy(&answer[..length]).into_owned();
    let numbers: Vec<u64> = text.split(' ').flat_map(str::parse).collect();
    let [pid, count, number] = numbers[..] else { panic!("{text:?} is no answer") };
    (u32::try_from(pid).expect("a PID"), count, number)
}

async fn converse(socket: UdpSocket, heard: watch::Sender<Answers>, stopped: watch::Receiver<bool>) {
    let (mut next, mut waiting) = (0_u64, Vec::new());
    while !*stopped.borrow() || !waiting.is_empty() {
        while !*stopped.borrow() && waiting.len() < WINDOW {
            socket.send(next.to_string().as_bytes()).await.expect("somebody has the port");
            waiting.push(next);
            next += 1;
        }
        let (pid, count, number) = answer(&socket).await;
        let place = waiting.iter().position(|waiting| *waiting == number);
        waiting.remove(place.unwrap_or_else(|| panic!("{number} was answered twice")));
        heard.send_modify(|answers| {
            let answered = answers.entry(pid).or_default();
            *answered = count.max(*answered + 1);
            assert_eq!(count, *answered, "{pid} has answered what nobody heard");
        });
    }
}
