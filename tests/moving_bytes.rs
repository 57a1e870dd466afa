//! What goes over a connection that moves, byte by byte: the right answers, in order, and nothing more,
//! wherever the restart comes in between; and no byte of a body is ever a request.

mod support;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use support::{Exchange, Mirror, Talk, restarts, seen};

/// In a body, where somebody might take it for the next request.
const HIDDEN: &str = "GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n";

const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

// ---- cut

/// What an answer says whose request nobody has read to its end: the connection cannot move.
const LAST: &str = "connection: close\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_first_request_may_be_cut_anywhere() {
    requests_may_be_cut_anywhere(Vec::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_request_may_be_cut_anywhere() {
    requests_may_be_cut_anywhere(vec![Exchange::get("/first")]).await;
}

/// A connection for each cut, and one restart for all of them.
async fn requests_may_be_cut_anywhere(before: Vec<Exchange>) {
    let mut mirror = Mirror::start().await;
    let mut cuts = Vec::new();
    for (kind, message) in [long_get, hiding_post, hiding_chunks].into_iter().enumerate() {
        for at in 0..=message("/cut/0/000").request.len() {
            let message = message(&format!("/cut/{kind}/{at:03}"));
            cuts.push(Cut::make(&mut mirror, &before, message, at).await);
        }
    }
    mirror.has_accepted(cuts.len()).await;
    mirror.has_heard(cuts.iter().map(|cut| cut.heard).sum()).await;
    let predecessor = mirror.app.serving_pid();
    let successor = mirror.restart().await;
    mirror.has_taken(cuts.iter().filter(|cut| cut.moves).count()).await;
    for cut in &mut cuts {
        cut.talk.send_last_alone().await;
        let pids = cut.talk.ends().await;
        let expected = (0..pids.len()).map(|place| if place < cut.heard { predecessor } else { successor });
        assert_eq!(pids, expected.collect::<Vec<_>>(), "{:?}", cut.talk);
    }
    mirror.ends().await;
}

fn long_get(target: &str) -> Exchange {
    let headers = "Accept: text/plain\r\nX-Long: long, longer\r\n";
    Exchange::of("GET", target, headers, "").answered("", &seen("GET", target, "", "-"))
}

fn hiding_post(target: &str) -> Exchange {
    Exchange::post(target, HIDDEN)
}

fn hiding_chunks(target: &str) -> Exchange {
    Exchange::chunked(target, &["chunk", HIDDEN])
}

struct Cut {
    talk: Talk,
    /// How many requests reach the service before the restart.
    heard: usize,
    /// Whether none of them is in flight.
    moves: bool,
}

impl Cut {
    /// After what comes `before`, and this many bytes of the message.
    async fn make(mirror: &mut Mirror, before: &[Exchange], message: Exchange, at: usize) -> Self {
        let (head, length) = (message.head_length(), message.request.len());
        let begun: usize = before.iter().map(|exchange| exchange.request.len()).sum();
        let mut talk = mirror.talk([before, &[message, Exchange::last("/last")]].concat()).await;
        if !before.is_empty() {
            talk.ask(before.len() - 1).await;
        }
        talk.send_to(begun + at).await;
        if at == length {
            talk.answered(before.len()).await;
        }
        let heard = before.len() + usize::from(at >= head);
        Self { talk, heard, moves: at < head || at == length }
    }
}

// ---- pipelined

/// Behind one that is in flight; of the last request, half is still to come.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_wait_behind_another_are_answered() {
    let mut mirror = Mirror::start().await;
    let mut talks = Vec::new();
    for depth in 1..=16 {
        let first = [Exchange::get("/first?later")];
        let mut talk = mirror.talk(first.into_iter().chain(pipeline(depth))).await;
        talk.send_to(talk.length() - 20).await;
        talks.push(talk);
    }
    mirror.has_heard(16).await;
    let predecessor = mirror.app.serving_pid();
    let successor = mirror.restart().await;
    for talk in &mut talks {
        talk.send_all().await;
        let pids = talk.ends().await;
        assert_eq!(pids[0], predecessor);
        assert_one_after_the_other(&pids, predecessor, successor);
    }
    mirror.ends().await;
}

/// They come in the moment of the restart.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_come_with_the_restart_are_answered() {
    let mut mirror = Mirror::start().await;
    let mut talks = Vec::new();
    for depth in 1..=16 {
        let mut talk = mirror.talk([Exchange::get("/first")].into_iter().chain(pipeline(depth))).await;
        talk.ask(0).await;
        talks.push(talk);
    }
    let predecessor = mirror.app.serving_pid();
    let send = async {
        for talk in &mut talks {
            talk.send_to(talk.length() - 20).await;
        }
    };
    let successor = mirror.restart_upon(send).await;
    for talk in &mut talks {
        talk.send_all().await;
        assert_one_after_the_other(&talk.ends().await, predecessor, successor);
    }
    mirror.ends().await;
}

/// So many requests, and the last one.
fn pipeline(depth: usize) -> impl Iterator<Item = Exchange> {
    let kinds = [long_get, hiding_post, hiding_chunks];
    let exchange = move |place: usize| kinds[place % 3](&format!("/{depth}/{place}"));
    (0..depth).map(exchange).chain([Exchange::last("/last")])
}

/// The last one is the successor's.
#[track_caller]
fn assert_one_after_the_other(pids: &[u32], predecessor: u32, successor: u32) {
    let first = pids.iter().take_while(|pid| **pid == predecessor).count();
    let then = pids[first..].iter().take_while(|pid| **pid == successor).count();
    assert!(first + then == pids.len() && then > 0, "{pids:?}, of {predecessor} and {successor}");
}

// ---- anything, cut anywhere

/// What one client does: its requests, and which part of their bytes it has sent when the restart comes.
type Plan = (Vec<(usize, usize)>, usize);

#[test]
fn whatever_is_under_way_is_answered() {
    let cases = u32::try_from(restarts(4, 200)).expect("small");
    let clients = vec((vec((0..5_usize, 0..40_000_usize), 1..8), 0..=1000_usize), 16);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let checked = TestRunner::new(config).run(&(clients, any::<bool>()), |(clients, at_once)| {
        runtime.block_on(plans_are_answered(clients, at_once));
        Ok(())
    });
    checked.unwrap_or_else(|error| panic!("{error}"));
}

async fn plans_are_answered(plans: Vec<Plan>, at_once: bool) {
    let mut mirror = Mirror::start().await;
    let (mut talks, mut ends) = (Vec::new(), Vec::new());
    for (number, (requests, part)) in plans.into_iter().enumerate() {
        let planned = requests.into_iter().map(|(kind, size)| any_exchange(number, kind, size));
        let talk = mirror.talk(planned.chain([Exchange::last("/last")])).await;
        ends.push(talk.length_but_last() * part / 1000);
        talks.push(talk);
    }
    mirror.has_accepted(talks.len()).await;
    let predecessor = mirror.app.serving_pid();
    let send = async {
        for (talk, end) in talks.iter_mut().zip(&ends) {
            talk.send_to(*end).await;
        }
    };
    let successor = if at_once {
        mirror.restart_upon(send).await
    } else {
        send.await;
        mirror.restart().await
    };
    for talk in &mut talks {
        talk.send_last_alone().await;
        assert_one_after_the_other(&talk.ends().await, predecessor, successor);
    }
    mirror.ends().await;
}

fn any_exchange(number: usize, kind: usize, size: usize) -> Exchange {
    let target = format!("/any/{number}/{kind}/{size}");
    let text = HIDDEN.repeat(size / HIDDEN.len());
    match kind {
        0 => Exchange::post(&target, &text),
        1 => Exchange::chunked(&target, &[&text[..text.len() / 3], "x"]),
        2 => head(&target),
        3 => empty(if size.is_multiple_of(2) { 204 } else { 304 }, ""),
        _ => Exchange::get(&target),
    }
}

// ---- of other shapes

fn head(target: &str) -> Exchange {
    let length = seen("HEAD", target, "", "-").len();
    Exchange::of("HEAD", target, "", "")
        .answered_with(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"))
}

fn empty(status: u16, query: &str) -> Exchange {
    let reason = if status == 204 { "No Content" } else { "Not Modified" };
    Exchange::of("GET", &format!("/empty/{status}{query}"), "", "")
        .answered_with(format!("HTTP/1.1 {status} {reason}\r\n\r\n"))
}

fn old(target: &str) -> Exchange {
    let mut exchange =
        Exchange::get(target).answered("connection: keep-alive\r\n", &seen("GET", target, "", "-"));
    exchange.request = format!("GET {target} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    exchange.answer = exchange.answer.replace("HTTP/1.1", "HTTP/1.0");
    exchange
}

/// The last one without `Connection: keep-alive`, which is how HTTP/1.0 says close.
fn last_old() -> Exchange {
    let mut exchange = Exchange::get("/last");
    exchange.request = "GET /last HTTP/1.0\r\n\r\n".to_owned();
    exchange.answer = exchange.answer.replace("HTTP/1.1", "HTTP/1.0");
    exchange
}

/// Each in flight at the restart; the connection moves when it is answered.
#[tokio::test(flavor = "multi_thread")]
async fn answers_without_a_body_are_followed_by_the_successors() {
    let asked = [head("/head?later"), empty(204, "?later"), empty(304, "?later")];
    for_each_in_flight(asked.map(|exchange| vec![exchange, Exchange::get("/next"), Exchange::last("/last")]))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_0_is_kept_alive() {
    let asked = [vec![old("/old?later"), old("/next"), last_old()]];
    for_each_in_flight(asked).await;
    let mut mirror = Mirror::start().await;
    let mut talk = mirror.talk([old("/first"), old("/next"), last_old()]).await;
    talk.ask(0).await;
    let predecessor = mirror.app.serving_pid();
    let successor = mirror.restart().await;
    talk.send_all().await;
    assert_eq!(talk.ends().await, [predecessor, successor, successor]);
    mirror.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_through_the_restart() {
    let pieces: String = (0..10).map(|piece| format!("8\r\npiece {piece}\n\r\n")).collect();
    let answer = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{pieces}0\r\n\r\n");
    let stream = Exchange::of("GET", "/stream", "", "").answered_with(answer);
    for_each_in_flight([vec![stream, Exchange::get("/next"), Exchange::last("/last")]]).await;
}

/// The first of each is answered by the predecessor, those after it by the successor.
async fn for_each_in_flight(asked: impl IntoIterator<Item = Vec<Exchange>>) {
    let mut mirror = Mirror::start().await;
    let mut talks = Vec::new();
    for exchanges in asked {
        let mut talk = mirror.talk(exchanges).await;
        talk.send_to(talk.length_of_first()).await;
        talks.push(talk);
    }
    mirror.has_heard(talks.len()).await;
    let predecessor = mirror.app.serving_pid();
    let successor = mirror.restart().await;
    for talk in &mut talks {
        talk.answered(0).await;
        talk.send_all().await;
        let pids = talk.ends().await;
        assert_eq!((pids[0], &pids[1..]), (predecessor, vec![successor; pids.len() - 1].as_slice()));
    }
    mirror.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_close_is_told_close_by_whoever_answers() {
    let mut mirror = Mirror::start().await;
    let close = |target: &str| Exchange::last(target);
    let mut in_flight = mirror.talk([close("/in-flight?later")]).await;
    in_flight.send_all().await;
    let mut cut = mirror.talk([close("/cut")]).await;
    cut.send_to(40).await;
    mirror.has_heard(1).await;
    let predecessor = mirror.app.serving_pid();
    let successor = mirror.restart().await;
    cut.send_all().await;
    assert_eq!((in_flight.ends().await, cut.ends().await), (vec![predecessor], vec![successor]));
    mirror.ends().await;
}

// ---- Expect: 100-continue

fn expecting(target: &str, body: &str) -> Exchange {
    let headers = format!("Content-Length: {}\r\nExpect: 100-continue\r\n", body.len());
    let exchange =
        Exchange::of("POST", target, &headers, body).answered("", &seen("POST", target, body, "-"));
    let answer = CONTINUE.to_owned() + &exchange.answer;
    exchange.answered_with(answer)
}

/// The restart comes before it, or while it is waited for, or after it.
#[tokio::test(flavor = "multi_thread")]
async fn who_expects_100_continue_gets_it_once() {
    let mut mirror = Mirror::start().await;
    let (predecessor, mut talks) = (mirror.app.serving_pid(), Vec::new());
    for (target, sent) in [("/cut", 60), ("/head?later", 0), ("/body", 0)] {
        let exchange = expecting(target, HIDDEN);
        let head = exchange.head_length();
        let mut talk = mirror.talk([exchange, Exchange::last("/last")]).await;
        talk.send_to(if sent == 0 { head } else { sent }).await;
        talks.push((talk, head));
    }
    talks[2].0.raw.until(CONTINUE).await;
    mirror.has_heard(2).await;
    let successor = mirror.restart().await;
    for (answers, (mut talk, head)) in [successor, predecessor, predecessor].into_iter().zip(talks) {
        talk.send_to(head).await;
        talk.raw.until(CONTINUE).await;
        talk.send_last_alone().await;
        assert_eq!(talk.ends().await, [answers, successor]);
    }
    mirror.ends().await;
}

/// What the client then does about the body nobody can know, so that there is an end.
#[tokio::test(flavor = "multi_thread")]
async fn who_expects_100_continue_and_is_not_read_gets_the_answer_and_the_end() {
    let mut mirror = Mirror::start().await;
    let headers = format!("Content-Length: {}\r\nExpect: 100-continue\r\n", HIDDEN.len());
    let exchange = Exchange::of("POST", "/unread?later", &headers, "").answered(LAST, "unread");
    let mut talk = mirror.talk([exchange]).await;
    talk.send_all().await;
    let predecessor = mirror.restart_having_heard(1).await;
    assert_eq!(talk.ends().await, [predecessor]);
    mirror.ends().await;
}

// ---- clients that say no more

/// They may be taken for clients that are gone, so that the last answer is missing: hyper looks for an end
/// while the service answers. Whatever stood before it is answered.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_half_close_after_the_restart_get_whole_answers() {
    let mut mirror = Mirror::start().await;
    let mut talks = Vec::new();
    for used in [false, true] {
        for cut in [0, 20, 45] {
            let mut talk = mirror.talk(beginnings(used).into_iter().chain(three())).await;
            if used {
                talk.ask(0).await;
            }
            talk.send_to(talk.length_sent() + cut).await;
            talks.push(talk);
        }
    }
    mirror.has_accepted(talks.len()).await;
    let successor = mirror.restart().await;
    for talk in &mut talks {
        talk.send_all().await;
        talk.raw.says_no_more().await;
        let pids = talk.ends_early(1).await;
        assert_eq!(pids[pids.len() - 2..], [successor; 2]);
    }
    mirror.ends_having_missed_some().await;
}

/// Their requests and their end come in the moment of the restart.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_half_close_with_the_restart_get_whole_answers() {
    let mut mirror = Mirror::start().await;
    let mut talks = Vec::new();
    for asked in 0..=3 {
        let mut talk = mirror.talk(beginnings(true).into_iter().chain(three().take(asked))).await;
        talk.ask(0).await;
        talks.push(talk);
    }
    let predecessor = mirror.app.serving_pid();
    let send = async {
        for talk in &mut talks {
            talk.send_all().await;
            talk.raw.says_no_more().await;
        }
    };
    let successor = mirror.restart_upon(send).await;
    for talk in &mut talks {
        let pids = talk.ends_early(1).await;
        assert!(pids.iter().all(|pid| [predecessor, successor].contains(pid)), "{pids:?}");
    }
    mirror.ends_having_missed_some().await;
}

fn beginnings(used: bool) -> Option<Exchange> {
    used.then(|| Exchange::get("/first"))
}

fn three() -> impl Iterator<Item = Exchange> {
    [long_get("/a"), hiding_post("/b"), hiding_chunks("/c")].into_iter()
}

// ---- large answers, and bodies that nobody reads

fn large(method: &str, headers: &str, body: &str) -> Exchange {
    Exchange::of(method, "/large", headers, body).answered("", &"large\n".repeat((8 << 20) / 6 + 1))
}

/// Its client reads nothing before the restart, and then goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_gets_all_of_it_and_moves_then() {
    let mut mirror = Mirror::start().await;
    let mut talk = mirror.talk_slowly([large("GET", "", ""), Exchange::last("/last")]).await;
    talk.send_to(talk.length_of_first()).await;
    mirror.has_heard(1).await;
    let predecessor = mirror.app.serving_pid();
    let successor = mirror.restart().await;
    talk.raw.until_at_least(8 << 20).await;
    talk.answered(0).await;
    talk.send_all().await;
    assert_eq!(talk.ends().await, [predecessor, successor]);
    mirror.ends().await;
}

/// It looks like more requests, and ends with its connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_whose_body_is_unread_gets_all_of_it_and_the_end() {
    let mut mirror = Mirror::start().await;
    let mut talk =
        mirror.talk_slowly([large("POST", "Content-Length: 1000000\r\n", &HIDDEN.repeat(1000))]).await;
    talk.send_all().await;
    // An answer that began later would say that it is the last.
    talk.raw.until_at_least(1).await;
    let predecessor = mirror.restart_having_heard(1).await;
    assert_eq!(talk.ends().await, [predecessor]);
    mirror.ends().await;
}

/// What the head says of a body, and how much of that is sent before the restart and how much after the
/// answer.
struct Unread {
    framing: &'static str,
    before: String,
    after: String,
}

fn unread_bodies() -> Vec<Unread> {
    let chunk = |count: usize| format!("{:x}\r\n{}\r\n", count * HIDDEN.len(), HIDDEN.repeat(count));
    let mut bodies = Vec::new();
    for (before, after) in [(0, 1), (1, 1), (0, 2000), (2000, 0), (2000, 2000), (1, 0)] {
        let length = "Content-Length: 1000000\r\n";
        let chunked = "Transfer-Encoding: chunked\r\n";
        let (hidden, chunks) =
            (|count| HIDDEN.repeat(count), |count| if count > 0 { chunk(count) } else { String::new() });
        bodies.push(Unread { framing: length, before: hidden(before), after: hidden(after) });
        bodies.push(Unread { framing: chunked, before: chunks(before), after: chunks(after) });
    }
    bodies
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_nobody_reads_to_its_end_ends_its_connection() {
    let mut mirror = Mirror::start().await;
    let mut talks = Vec::new();
    for Unread { framing, before, after } in unread_bodies() {
        let exchange = Exchange::of("POST", "/unread?later", framing, &before).answered(LAST, "unread");
        let mut talk = mirror.talk([exchange]).await;
        talk.send_all().await;
        talks.push((talk, after));
    }
    let predecessor = mirror.restart_having_heard(talks.len()).await;
    for (talk, after) in &mut talks {
        talk.answered(0).await;
        // It may be too late for the rest.
        talk.raw.try_send(after).await.unwrap_or_default();
        assert_eq!(talk.ends().await, [predecessor]);
    }
    mirror.ends().await;
}

/// Of a small body that was there at once, the server may find the end; it is an end in any case.
#[tokio::test(flavor = "multi_thread")]
async fn a_whole_body_that_nobody_reads_is_no_request() {
    let mut mirror = Mirror::start().await;
    let mut talks = Vec::new();
    for times in [1, 3, 100, 1000] {
        let body = HIDDEN.repeat(times);
        for framing in
            [format!("Content-Length: {}\r\n", body.len()), "Transfer-Encoding: chunked\r\n".to_owned()]
        {
            let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
            let body = if framing.starts_with('C') { &body } else { &chunks };
            let exchange = Exchange::of("POST", "/unread?later", &framing, body).answered(LAST, "unread");
            let mut talk = mirror.talk([exchange]).await;
            talk.send_all().await;
            talks.push(talk);
        }
    }
    let predecessor = mirror.restart_having_heard(talks.len()).await;
    for talk in &mut talks {
        talk.answered(0).await;
        talk.raw.says_no_more().await;
        assert_eq!(talk.ends().await, [predecessor]);
    }
    mirror.ends().await;
}
