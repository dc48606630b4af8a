//! Attempts that break off anywhere, over bodies that arrive in any pieces.

use super::*;
use http::HeaderValue;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Wake;

/// What the client does next.
#[derive(Debug, Clone)]
enum Step {
    Data(Vec<u8>),
    Pause,
}

/// A client's body as hyper would give it.
struct Client {
    steps: VecDeque<Step>,
    trailers: Option<HeaderMap>,
    /// Bytes still to come, where the client has said how many.
    length: Option<u64>,
    given: Rc<RefCell<Vec<u8>>>,
}

impl Client {
    fn new(steps: &[Step], trailers: bool, sized: bool) -> Self {
        let mut fields = HeaderMap::new();
        fields.insert("x-checksum", HeaderValue::from_static("7"));
        Self {
            steps: steps.iter().cloned().collect(),
            trailers: trailers.then_some(fields),
            length: sized.then(|| content(steps).len() as u64),
            given: Rc::default(),
        }
    }
}

impl HttpBody for Client {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.steps.pop_front() {
            Some(Step::Pause) => Poll::Pending,
            Some(Step::Data(data)) => {
                self.given.borrow_mut().extend_from_slice(&data);
                if let Some(length) = &mut self.length {
                    *length -= data.len() as u64;
                }
                Poll::Ready(Some(Ok(Frame::data(data.into()))))
            }
            None => Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.length == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fn content(steps: &[Step]) -> Vec<u8> {
    let data = steps.iter().filter_map(|step| match step {
        Step::Data(data) => Some(data.as_slice()),
        Step::Pause => None,
    });
    data.collect::<Vec<_>>().concat()
}

#[derive(Default)]
struct Woken(AtomicU32);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// What an attempt has sent to its target.
#[derive(Debug, Default, PartialEq)]
struct Sent {
    data: Vec<u8>,
    trailers: Option<HeaderMap>,
    complete: bool,
}

type Polled = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

fn poll(body: &mut Replayed<Client>) -> Polled {
    Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
}

impl Sent {
    /// As hyper sends a body: until it says that it has ended, by itself or when asked for more.
    fn poll(&mut self, body: &mut Replayed<Client>) {
        if body.is_end_stream() {
            self.complete = true;
            return;
        }
        match poll(body) {
            Poll::Pending => {}
            Poll::Ready(None) => self.complete = true,
            Poll::Ready(Some(frame)) => match frame.expect("the current attempt").into_data() {
                Ok(data) => self.data.extend_from_slice(&data),
                Err(frame) => self.trailers = frame.into_trailers().ok(),
            },
        }
    }

    fn poll_to_the_end(&mut self, body: &mut Replayed<Client>) {
        while !self.complete {
            self.poll(body);
        }
    }
}

fn is_superseded(body: &mut Replayed<Client>) -> bool {
    !body.is_end_stream() && matches!(poll(body), Poll::Ready(Some(Err(BodyError::Superseded))))
}

/// What is kept in memory.
fn held(replay: &Replay<Client>) -> usize {
    let shared = replay.shared.as_ref().expect("a body").borrow();
    shared.kept.iter().map(Bytes::len).sum::<usize>() + shared.fresh.capacity()
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => vec(any::<u8>(), 0..40).prop_map(Step::Data),
        1 => Just(Step::Pause),
    ]
}

proptest! {
    #[test]
    fn every_attempt_sends_what_the_client_sent(
        steps in vec(step(), 0..30),
        (trailers, sized) in (any::<bool>(), any::<bool>()),
        max in 0usize..600,
        aborts in vec(0usize..60, 0..5),
    ) {
        let content = content(&steps);
        let client = Client::new(&steps, trailers && !sized, sized);
        let (given, expected_trailers) = (client.given.clone(), client.trailers.clone());
        let replay = Replay::of(client, max);
        let mut dead: Vec<Replayed<Client>> = Vec::new();
        for polls in aborts {
            let (mut body, mut sent) = (replay.next().expect("a body"), Sent::default());
            prop_assert!(dead.iter_mut().all(is_superseded));
            for _ in 0..polls {
                if sized {
                    prop_assert_eq!(body.size_hint().exact(), Some((content.len() - sent.data.len()) as u64));
                }
                let before = given.borrow().len();
                sent.poll(&mut body);
                prop_assert!(content.starts_with(&sent.data));
                // nothing is read that is not sent at once
                prop_assert!(given.borrow().len() == before || given.borrow().len() == sent.data.len());
                prop_assert!(held(&replay) <= max, "{} of {}", held(&replay), max);
                prop_assert!(dead.iter_mut().all(is_superseded));
            }
            prop_assert!(!sent.complete || sent.data == content);
            prop_assert_eq!(replay.can_replay(), given.borrow().len() <= max);
            dead.push(body);
            if !replay.can_replay() {
                break;
            }
        }
        let replayable = replay.can_replay();
        let mut last = replay.next().expect("a body");
        drop(replay);
        if !replayable {
            prop_assert!(is_superseded(&mut last), "a part of the body would be missing");
            return Ok(());
        }
        let mut sent = Sent::default();
        sent.poll_to_the_end(&mut last);
        prop_assert_eq!(sent, Sent { data: content, trailers: expected_trailers, complete: true });
        prop_assert!(dead.iter_mut().all(is_superseded));
    }
}

fn data(length: usize) -> Step {
    Step::Data((0..length).map(|at| at as u8).collect())
}

#[test]
fn an_attempt_goes_on_though_its_body_is_too_large_to_be_sent_again() {
    let replay = Replay::of(Client::new(&[data(60), data(60)], false, true), 100);
    let (mut body, mut sent) = (replay.next().expect("a body"), Sent::default());
    sent.poll(&mut body);
    assert!(replay.can_replay());
    assert_eq!(held(&replay), 60);
    sent.poll(&mut body);
    assert!(!replay.can_replay());
    assert_eq!(held(&replay), 0, "what can never be sent again is given back");
    sent.poll_to_the_end(&mut body);
    assert_eq!(sent.data.len(), 120);
    assert!(is_superseded(&mut replay.next().expect("a body")));
}

#[test]
fn an_attempt_that_waits_for_the_client_is_woken_to_its_end() {
    let steps = [data(10), Step::Pause, Step::Pause, data(10)];
    let replay = Replay::of(Client::new(&steps, false, false), 100);
    let mut first = replay.next().expect("a body");
    assert!(poll(&mut first).is_ready());
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    assert!(Pin::new(&mut first).poll_frame(&mut Context::from_waker(&waker)).is_pending());

    let mut second = replay.next().expect("a body");
    assert_eq!(woken.0.load(Ordering::Relaxed), 1, "or its connection would stay open for nothing");
    assert!(is_superseded(&mut first));
    let mut sent = Sent::default();
    sent.poll_to_the_end(&mut second);
    assert_eq!(sent.data, content(&steps));
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
}

#[test]
fn when_there_will_be_no_other_attempt_memory_is_given_back_as_it_is_sent() {
    let replay = Replay::of(Client::new(&[data(50), data(50), data(50)], true, false), 1000);
    let mut first = replay.next().expect("a body");
    assert!(poll(&mut first).is_ready() && poll(&mut first).is_ready());
    let mut last = replay.next().expect("a body");
    let shared = last.shared.clone();
    drop(replay);
    let mut sent = Sent::default();
    assert_eq!(shared.borrow().kept.iter().map(Bytes::len).sum::<usize>(), 100);
    sent.poll(&mut last);
    assert_eq!(sent.data.len(), 100);
    assert_eq!(shared.borrow().kept.iter().map(Bytes::len).sum::<usize>(), 0);
    sent.poll_to_the_end(&mut last);
    assert_eq!(sent.data.len(), 150);
    assert!(sent.trailers.is_some());
    assert_eq!(shared.borrow().fresh.capacity(), 0);
}

#[test]
fn a_request_without_a_body_can_be_sent_again_at_any_time() {
    let replay: Replay = Replay { shared: None };
    for _ in 0..3 {
        assert!(replay.can_replay());
        assert!(replay.attempt().is_end_stream());
    }
}
