//! Questions about single requests: put to data planes, their answers gathered within a time, or followed as they come.
//!
//! The actor only sends the questions. Answers go straight from a data plane's stream to whoever waits, so that a tap on
//! a busy fleet cannot slow a rollout down; who does not keep up misses some, and is told how many.

use crate::actor::Handle;
use crate::fleet::StreamId;
use parking_lot::Mutex;
use proto::v1::answer::Says;
use proto::v1::question::Asks;
use proto::v1::requests_event::Event;
use proto::v1::{self, AnswerState, InstanceAnswer, RequestsEvent};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

/// How long data planes may take unless the request says otherwise.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);

/// Questions open at the same time, taps among them.
const MOST: usize = 64;

/// Answers that wait for whoever asked.
const WAITING: usize = 256;

/// Every open question.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    last: AtomicU64,
    open: Mutex<HashMap<u64, Asker>>,
}

/// Whoever waits for answers.
#[derive(Debug)]
struct Asker {
    heard: mpsc::Sender<Heard>,
    /// Requests that a tap has not been told of, by instance.
    missed: HashMap<String, u64>,
}

/// What became of a question at one data plane.
#[derive(Debug)]
pub(crate) struct Heard {
    instance: String,
    stream: StreamId,
    said: Said,
}

#[derive(Debug)]
enum Said {
    Answer(Box<Says>),
    /// It joined and was asked.
    Joined,
    Left,
}

/// A question with an asker; closed when this is dropped.
pub(crate) struct Open {
    id: u64,
    questions: Arc<Questions>,
    heard: mpsc::Receiver<Heard>,
}

/// Who was asked.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) current_version: u64,
    /// With the stream on which the question went out; none where nobody can be asked, for this reason.
    pub(crate) instances: Vec<(String, Result<StreamId, String>)>,
}

impl Questions {
    pub(crate) fn open(self: &Arc<Self>) -> Result<Open, Status> {
        let (sender, heard) = mpsc::channel(WAITING);
        let mut open = self.open.lock();
        if open.len() >= MOST {
            return Err(Status::resource_exhausted(format!("{MOST} questions are open already; try again")));
        }
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        open.insert(id, Asker { heard: sender, missed: HashMap::new() });
        Ok(Open { id, questions: Arc::clone(self), heard })
    }

    /// A data plane has answered.
    pub(crate) fn answered(&self, instance: &str, stream: StreamId, answer: v1::Answer) {
        let v1::Answer { id, says: Some(mut says) } = answer else { return };
        let mut open = self.open.lock();
        // whoever asked may have hung up
        let Some(asker) = open.get_mut(&id) else { return };
        if let Says::Tapped(tapped) = &mut says {
            tapped.dropped += asker.missed.remove(instance).unwrap_or(0);
        }
        let heard = Heard { instance: instance.to_owned(), stream, said: Said::Answer(Box::new(says)) };
        if let Err(mpsc::error::TrySendError::Full(heard)) = asker.heard.try_send(heard)
            && let Said::Answer(says) = heard.said
            && let Says::Tapped(v1::Tapped { requests, dropped }) = *says
        {
            *asker.missed.entry(heard.instance).or_default() += dropped + requests.len() as u64;
        }
    }

    /// One that has joined takes part in a tap.
    pub(crate) fn joined(&self, id: u64, instance: &str, stream: StreamId) {
        if let Some(asker) = self.open.lock().get(&id) {
            let _ = asker.heard.try_send(Heard { instance: instance.to_owned(), stream, said: Said::Joined });
        }
    }

    /// A stream has ended: nothing more comes from there.
    pub(crate) fn left(&self, instance: &str, stream: StreamId) {
        for asker in self.open.lock().values() {
            let _ = asker.heard.try_send(Heard { instance: instance.to_owned(), stream, said: Said::Left });
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.questions.open.lock().remove(&self.id);
    }
}

/// Asks, and waits until everybody has answered or the time is up.
pub(crate) async fn ask(
    actor: &Handle,
    asks: Asks,
    instance: String,
    timeout: Duration,
) -> Result<v1::AskResponse, Status> {
    let mut open = actor.questions().open()?;
    let question = v1::Question { id: open.id, asks: Some(asks) };
    let Asked { current_version, instances } = actor.ask(question, instance).await?;
    let mut waiting: HashMap<String, StreamId> = HashMap::new();
    let mut answers: BTreeMap<String, InstanceAnswer> = BTreeMap::new();
    for (instance, asked) in instances {
        let answer = match asked {
            Ok(stream) => {
                waiting.insert(instance.clone(), stream);
                let problem = format!("no answer in {timeout:?}");
                InstanceAnswer { problem, state: AnswerState::Silent.into(), ..Default::default() }
            }
            Err(problem) => disconnected(problem),
        };
        answers.insert(instance.clone(), InstanceAnswer { instance, ..answer });
    }
    let deadline = Instant::now() + timeout;
    while !waiting.is_empty() {
        let Ok(Some(Heard { instance, stream, said })) = timeout_at(deadline, open.heard.recv()).await else {
            break;
        };
        if waiting.get(&instance) != Some(&stream) {
            continue;
        }
        let answer = match said {
            Said::Answer(says) => answered(open.id, *says),
            Said::Left => disconnected("it left before it answered".to_owned()),
            Said::Joined => continue,
        };
        waiting.remove(&instance);
        answers.insert(instance.clone(), InstanceAnswer { instance, ..answer });
    }
    Ok(v1::AskResponse { current_version, instances: answers.into_values().collect() })
}

fn answered(id: u64, says: Says) -> InstanceAnswer {
    match says {
        Says::Refusal(problem) => {
            InstanceAnswer { problem, state: AnswerState::Refused.into(), ..Default::default() }
        }
        says => InstanceAnswer {
            state: AnswerState::Answered.into(),
            answer: Some(v1::Answer { id, says: Some(says) }),
            ..Default::default()
        },
    }
}

fn disconnected(problem: String) -> InstanceAnswer {
    InstanceAnswer { problem, state: AnswerState::Disconnected.into(), ..Default::default() }
}

/// Where the events of a tap go; one that is full for longer than [`WAITING`] answers loses some.
pub(crate) type Watcher = mpsc::Sender<Result<RequestsEvent, Status>>;

/// Taps the fleet until the watcher hangs up or the control plane stops.
pub(crate) async fn watch(
    actor: &Handle,
    tap: v1::Tap,
    instance: String,
    watcher: Watcher,
) -> Result<(), Status> {
    let mut open = actor.questions().open()?;
    let question = v1::Question { id: open.id, asks: Some(Asks::Tap(tap)) };
    let asked = actor.tap(question, instance).await?;
    let watched = follow(&mut open, asked, &watcher).await;
    actor.end_tap(open.id).await?;
    watched
}

async fn follow(open: &mut Open, asked: Asked, watcher: &Watcher) -> Result<(), Status> {
    let mut taking_part: HashMap<String, StreamId> = HashMap::new();
    for (instance, asked) in asked.instances {
        match asked {
            Ok(stream) => {
                taking_part.insert(instance.clone(), stream);
                tell(watcher, instance, Event::Joined(v1::Joined {})).await?;
            }
            Err(problem) => tell(watcher, instance, Event::Lost(problem)).await?,
        }
    }
    loop {
        let heard = tokio::select! {
            () = watcher.closed() => return Ok(()),
            heard = open.heard.recv() => heard,
        };
        let Some(Heard { instance, stream, said }) = heard else { return Ok(()) };
        let event = match said {
            Said::Joined => {
                taking_part.insert(instance.clone(), stream);
                Event::Joined(v1::Joined {})
            }
            // an earlier stream of one that has joined again
            _ if taking_part.get(&instance) != Some(&stream) => continue,
            Said::Left => {
                taking_part.remove(&instance);
                Event::Lost("it is no longer connected".to_owned())
            }
            Said::Answer(says) => match *says {
                Says::Tapped(tapped) => Event::Tapped(tapped),
                Says::Refusal(problem) => Event::Lost(problem),
                Says::Explanation(_) | Says::Recollection(_) => continue,
            },
        };
        tell(watcher, instance, event).await?;
    }
}

async fn tell(watcher: &Watcher, instance: String, event: Event) -> Result<(), Status> {
    let event = RequestsEvent { instance, event: Some(event) };
    watcher.send(Ok(event)).await.map_err(|_| Status::cancelled("the caller hung up"))
}
