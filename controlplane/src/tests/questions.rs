//! Questions over real streams: put to those that are meant, gathered in time, followed for as long as somebody watches.

use super::{FakeDataPlane, Gateway, PATIENCE};
use proto::v1::answer::Says;
use proto::v1::ask_request::Asks;
use proto::v1::control_plane_message::Message as Down;
use proto::v1::data_plane_message::Message as Up;
use proto::v1::requests_event::Event;
use proto::v1::{self, AnswerState, PastRequest, Recall, Recollection, Tapped, question};
use tonic::{Code, Streaming};

fn recall(instance: &str, timeout_ms: u64) -> v1::AskRequest {
    let asks = Asks::Recall(Recall { request_id: "r-1".to_owned() });
    v1::AskRequest { asks: Some(asks), instance: instance.to_owned(), timeout_ms }
}

fn remembered(number: u64) -> Says {
    Says::Recollection(Recollection { remembered: number, ..Recollection::default() })
}

fn tapped(requests: usize, dropped: u64) -> Says {
    Says::Tapped(Tapped { requests: vec![PastRequest::default(); requests], dropped })
}

impl FakeDataPlane {
    async fn question(&mut self) -> v1::Question {
        match self.next().await {
            Some(Down::Question(question)) => question,
            other => panic!("a question was due, not {other:?}"),
        }
    }

    async fn answer(&self, id: u64, says: Says) {
        self.say(Up::Answer(v1::Answer { id, says: Some(says) })).await;
    }
}

impl Gateway {
    async fn member(&mut self, name: &str) -> FakeDataPlane {
        let mut member = self.join(name).await;
        member.catch_up().await;
        member
    }

    fn ask(&self, request: v1::AskRequest) -> tokio::task::JoinHandle<v1::AskResponse> {
        let mut admin = self.admin.clone();
        tokio::spawn(async move { admin.ask(request).await.expect("answers").into_inner() })
    }

    async fn watch(&mut self, instance: &str) -> Streaming<v1::RequestsEvent> {
        let request = v1::WatchRequestsRequest { instance: instance.to_owned(), ..Default::default() };
        self.admin.watch_requests(request).await.expect("watches").into_inner()
    }
}

fn states(response: &v1::AskResponse) -> Vec<(&str, AnswerState)> {
    response.instances.iter().map(|one| (one.instance.as_str(), one.state())).collect()
}

async fn next(events: &mut Streaming<v1::RequestsEvent>) -> (String, Event) {
    let event = tokio::time::timeout(PATIENCE, events.message()).await.expect("an event in time");
    let v1::RequestsEvent { instance, event } = event.expect("no error").expect("an event");
    (instance, event.expect("a known event"))
}

#[tokio::test]
async fn every_instance_is_asked_and_each_answer_is_its_own() {
    let mut gateway = Gateway::new().await;
    let (mut one, mut two) = (gateway.member("dp-1").await, gateway.member("dp-2").await);
    let asked = gateway.ask(recall("", 0));
    for (number, member) in [(1, &mut one), (2, &mut two)] {
        let question = member.question().await;
        assert_eq!(question.asks, Some(question::Asks::Recall(Recall { request_id: "r-1".to_owned() })));
        member.answer(question.id, remembered(number)).await;
    }
    let response = asked.await.unwrap();
    assert_eq!(states(&response), [("dp-1", AnswerState::Answered), ("dp-2", AnswerState::Answered)]);
    let says = response.instances.into_iter().map(|one| one.answer.unwrap().says.unwrap());
    assert_eq!(says.collect::<Vec<_>>(), [remembered(1), remembered(2)]);
}

#[tokio::test]
async fn one_that_is_silent_or_gone_or_cannot_say_is_named() {
    let mut gateway = Gateway::new().await;
    let (mut silent, mut gone, mut unable, away) = (
        gateway.member("a-silent").await,
        gateway.member("b-gone").await,
        gateway.member("c-unable").await,
        gateway.member("d-away").await,
    );
    drop(away);
    gateway.wait_for("d-away", v1::InstanceState::Disconnected).await;
    let asked = gateway.ask(recall("", 300));
    let question = unable.question().await;
    unable.answer(question.id, Says::Refusal("it has no config yet".to_owned())).await;
    silent.question().await;
    // an answer to a question that nobody has asked changes nothing
    silent.answer(question.id + 100, remembered(1)).await;
    gone.question().await;
    drop(gone);
    let response = asked.await.unwrap();
    assert_eq!(
        states(&response),
        [
            ("a-silent", AnswerState::Silent),
            ("b-gone", AnswerState::Disconnected),
            ("c-unable", AnswerState::Refused),
            ("d-away", AnswerState::Disconnected),
        ]
    );
    let problems: Vec<&str> = response.instances.iter().map(|one| one.problem.as_str()).collect();
    assert_eq!(
        problems,
        ["no answer in 300ms", "it left before it answered", "it has no config yet", "not connected"]
    );
}

#[tokio::test]
async fn one_instance_can_be_asked_alone_and_an_unknown_one_is_not_found() {
    let mut gateway = Gateway::new().await;
    let (_one, mut two) = (gateway.member("dp-1").await, gateway.member("dp-2").await);
    let asked = gateway.ask(recall("dp-2", 0));
    let question = two.question().await;
    two.answer(question.id, remembered(2)).await;
    assert_eq!(states(&asked.await.unwrap()), [("dp-2", AnswerState::Answered)]);
    let refusal = gateway.admin.ask(recall("dp-3", 0)).await.expect_err("unknown");
    assert_eq!(refusal.code(), Code::NotFound);
}

#[tokio::test]
async fn a_tap_is_joined_left_and_ended() {
    let mut gateway = Gateway::new().await;
    let mut one = gateway.member("dp-1").await;
    let mut events = gateway.watch("").await;
    let tap = one.question().await;
    assert_eq!(next(&mut events).await, ("dp-1".to_owned(), Event::Joined(v1::Joined {})));
    one.answer(tap.id, tapped(2, 0)).await;
    let Says::Tapped(expected) = tapped(2, 0) else { unreachable!() };
    assert_eq!(next(&mut events).await, ("dp-1".to_owned(), Event::Tapped(expected)));

    // a later one takes part, an ended one does not
    let mut two = gateway.join("dp-2").await;
    assert_eq!(two.question().await.id, tap.id);
    assert_eq!(next(&mut events).await, ("dp-2".to_owned(), Event::Joined(v1::Joined {})));
    drop(two);
    assert!(matches!(next(&mut events).await, (name, Event::Lost(_)) if name == "dp-2"));

    drop(events);
    let end = one.question().await;
    assert_eq!((end.id, end.asks), (tap.id, Some(question::Asks::EndTap(v1::EndTap {}))));
}

#[tokio::test]
async fn what_a_slow_watcher_misses_is_counted() {
    let mut gateway = Gateway::new().await;
    let mut one = gateway.member("dp-1").await;
    let mut events = gateway.watch("dp-1").await;
    let tap = one.question().await;
    // far more than the queues on the way hold; the watcher does not read meanwhile
    const BATCHES: u64 = 1000;
    const EACH: u64 = 10;
    for _ in 0..BATCHES {
        let requests = vec![PastRequest { path: "x".repeat(1000), ..PastRequest::default() }; EACH as usize];
        one.answer(tap.id, Says::Tapped(Tapped { requests, dropped: 0 })).await;
    }
    let (mut seen, mut dropped) = (0, 0);
    while seen + dropped < BATCHES * EACH {
        // what was missed is told with what comes next
        one.answer(tap.id, tapped(0, 0)).await;
        if let (_, Event::Tapped(tapped)) = next(&mut events).await {
            seen += tapped.requests.len() as u64;
            dropped += tapped.dropped;
        }
    }
    assert_eq!(seen + dropped, BATCHES * EACH);
    assert!(dropped > 0, "everything was seen");
}
