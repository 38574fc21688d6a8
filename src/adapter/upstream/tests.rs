use super::*;
use std::convert::Infallible;

use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::mpsc;

const TIME: Duration = Duration::from_secs(10);
const WHOLE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Hands the other end of each connection to the test.
struct Somewhere(mpsc::UnboundedSender<DuplexStream>);

impl Destination for Somewhere {
    type Stream = DuplexStream;
    type Error = Infallible;

    async fn connect(&self) -> Result<DuplexStream, Infallible> {
        let (near, far) = duplex(4096);
        self.0.send(far).unwrap();
        Ok(near)
    }

    fn run(connection: impl Future<Output = ()> + Send + 'static) {
        TaskTracker::new().spawn(connection);
    }
}

type Tested = Upstream<Somewhere, Full<Bytes>>;

fn upstream(most: usize) -> (Tested, mpsc::UnboundedReceiver<DuplexStream>) {
    let (sender, accepted) = mpsc::unbounded_channel();
    let keeping = Keeping { largest_head: 8192, most, time: TIME };
    (Upstream::new(Somewhere(sender), keeping), accepted)
}

type Answered = Result<Response<Answer<Full<Bytes>>>, Unanswered<Infallible>>;

async fn ask(upstream: &Tested) -> Answered {
    let request = Request::get("/").header("host", "a").body(Full::default()).unwrap();
    upstream.request(request).await
}

/// Takes one request, and answers it.
async fn serve(far: &mut DuplexStream, answer: &str) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(far.read_u8().await.unwrap());
    }
    far.write_all(answer.as_bytes()).await.unwrap();
}

/// Accepts a connection, takes one request, and answers it.
async fn accept(
    accepted: &mut mpsc::UnboundedReceiver<DuplexStream>,
    answer: &str,
) -> DuplexStream {
    let another = tokio::time::timeout(TIME, accepted.recv()).await;
    let mut far = another.expect("another connection is made").unwrap();
    serve(&mut far, answer).await;
    far
}

async fn read(answered: Answered) -> Bytes {
    answered.unwrap().into_body().collect().await.unwrap().to_bytes()
}

async fn is_closed(far: &mut DuplexStream) -> bool {
    let end = tokio::time::timeout(Duration::from_millis(1), far.read(&mut [0])).await;
    matches!(end, Ok(Ok(0)))
}

/// One request on a connection of its own, which stays.
async fn first(
    upstream: &Tested,
    accepted: &mut mpsc::UnboundedReceiver<DuplexStream>,
) -> DuplexStream {
    let served = accept(accepted, WHOLE);
    let (answered, far) = tokio::join!(ask(upstream), served);
    assert_eq!(read(answered).await, "ok");
    tokio::task::yield_now().await;
    far
}

#[tokio::test(start_paused = true)]
async fn a_connection_serves_one_request_after_the_other() {
    let (upstream, mut accepted) = upstream(4);
    let mut far = first(&upstream, &mut accepted).await;
    for _ in 0..3 {
        let (answered, ()) = tokio::join!(ask(&upstream), serve(&mut far, WHOLE));
        assert_eq!(read(answered).await, "ok");
        tokio::task::yield_now().await;
    }
    assert!(accepted.try_recv().is_err(), "no other was made");
    drop(upstream);
    assert!(is_closed(&mut far).await, "it ends with the pool");
}

#[tokio::test(start_paused = true)]
async fn however_an_answer_ends_it_leaves_its_connection() {
    const START: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n";
    let (upstream, mut accepted) = upstream(4);
    let mut far = first(&upstream, &mut accepted).await;
    for answer in [format!("{START}\r\n"), format!("{START}a: b\r\n\r\n")] {
        let (answered, ()) = tokio::join!(ask(&upstream), serve(&mut far, &answer));
        let mut body = answered.unwrap().into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "ok");
        // The trailers, or the end.
        let last = body.frame().await.map(Result::unwrap);
        assert!(last.is_none_or(|frame| frame.is_trailers()));
        drop(body);
        tokio::task::yield_now().await;
    }
    let nothing = "HTTP/1.1 204 No Content\r\n\r\n";
    let (answered, ()) = tokio::join!(ask(&upstream), serve(&mut far, nothing));
    drop(answered.unwrap());
    tokio::task::yield_now().await;
    let (answered, ()) = tokio::join!(ask(&upstream), serve(&mut far, WHOLE));
    assert_eq!(read(answered).await, "ok");
    assert!(accepted.try_recv().is_err(), "no other was made");
}

#[tokio::test(start_paused = true)]
async fn one_that_was_closed_meanwhile_is_replaced_by_another() {
    let (upstream, mut accepted) = upstream(4);
    let far = first(&upstream, &mut accepted).await;
    // Nothing runs in between: the end is there, and nobody has seen it.
    drop(far);
    first(&upstream, &mut accepted).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_may_have_arrived_is_not_sent_again() {
    let (upstream, mut accepted) = upstream(4);
    let mut far = first(&upstream, &mut accepted).await;
    let cut_off = async {
        far.read_u8().await.unwrap();
        drop(far);
    };
    let (answered, ()) = tokio::join!(ask(&upstream), cut_off);
    assert!(matches!(answered, Err(Unanswered::Broken(_))));
    assert!(accepted.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn one_that_nobody_used_for_long_is_closed() {
    let (upstream, mut accepted) = upstream(4);
    let mut early = first(&upstream, &mut accepted).await;
    tokio::time::sleep(TIME / 2).await;
    let (answered, ()) = tokio::join!(ask(&upstream), serve(&mut early, WHOLE));
    read(answered).await;
    tokio::time::sleep(TIME * 3 / 4).await;
    assert!(!is_closed(&mut early).await, "its time begins with its last answer");
    tokio::time::sleep(TIME / 2).await;
    assert!(is_closed(&mut early).await);
    first(&upstream, &mut accepted).await;
}

#[tokio::test(start_paused = true)]
async fn no_more_than_there_is_room_for_are_kept() {
    let (upstream, mut accepted) = upstream(1);
    let served = async {
        let mut both = [accepted.recv().await.unwrap(), accepted.recv().await.unwrap()];
        for far in &mut both {
            serve(far, WHOLE).await;
        }
        both
    };
    let (one, other, mut both) = tokio::join!(ask(&upstream), ask(&upstream), served);
    read(one).await;
    read(other).await;
    let mut closed = 0;
    for far in &mut both {
        closed += usize::from(is_closed(far).await);
    }
    assert_eq!(closed, 1);
}

#[tokio::test(start_paused = true)]
async fn those_that_were_closed_take_no_room() {
    let (upstream, mut accepted) = upstream(1);
    for _ in 0..2 {
        drop(first(&upstream, &mut accepted).await);
        tokio::task::yield_now().await;
    }
    let mut far = first(&upstream, &mut accepted).await;
    let (answered, ()) = tokio::join!(ask(&upstream), serve(&mut far, WHOLE));
    assert_eq!(read(answered).await, "ok");
}

#[test]
fn a_target_is_a_path() {
    for (uri, asked) in [
        ("/a?b", "/a?b"),
        ("https://a.example", "/"),
        ("https://a.example/", "/"),
        ("https://a.example#x", "/"),
        ("https://a.example?x", "/?x"),
        ("https://a.example/a%2Fb?c#d", "/a%2Fb?c"),
    ] {
        assert_eq!(target(uri.parse().unwrap()).to_string(), asked, "{uri}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_given_up_takes_its_connection_with_it() {
    let (upstream, mut accepted) = upstream(4);
    let begun = accept(&mut accepted, "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\nsome");
    let (answered, mut far) = tokio::join!(ask(&upstream), begun);
    let mut body = answered.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "some");
    drop(body);
    assert!(is_closed(&mut far).await);
    first(&upstream, &mut accepted).await;
}

#[tokio::test(start_paused = true)]
async fn what_becomes_another_protocol_is_not_kept() {
    let (upstream, mut accepted) = upstream(4);
    let switched = accept(
        &mut accepted,
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: a\r\n\r\n",
    );
    let (answered, mut far) = tokio::join!(ask(&upstream), switched);
    let mut response = answered.unwrap();
    let upgraded = hyper::upgrade::on(&mut response);
    drop(response);
    let mut near = TokioIo::new(upgraded.await.unwrap());
    near.write_all(b"hi").await.unwrap();
    let mut said = [0; 2];
    far.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"hi");
    first(&upstream, &mut accepted).await;
}

#[tokio::test(start_paused = true)]
async fn nonsense_is_no_answer() {
    let (upstream, mut accepted) = upstream(4);
    let nonsense = accept(&mut accepted, "SSH-2.0-OpenSSH\r\n\r\n");
    let (answered, _far) = tokio::join!(ask(&upstream), nonsense);
    let Err(Unanswered::Broken(error)) = answered else { panic!("{answered:?}") };
    assert!(error.is_parse(), "{error}");
}
