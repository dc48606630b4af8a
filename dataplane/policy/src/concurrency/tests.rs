//! Slots, the queue in front of them, and that neither loses or invents one, on any number of threads.

use super::*;
use crate::filter::FilterConfig;
use crate::filter::test_support::filter;
use std::sync::Barrier;
use std::task::Wake;
use std::thread::{self, Thread};

pub(super) fn concurrency(settings: &str) -> Arc<Concurrency> {
    match filter(&format!("concurrency: {{{settings}}}")) {
        FilterConfig::Concurrency(config) => Concurrency::new(&config),
        other => panic!("{other:?}"),
    }
}

fn poll(wait: &mut Wait) -> Poll<Slot> {
    Pin::new(wait).poll(&mut Context::from_waker(Waker::noop()))
}

fn is_waiting(wait: &mut Wait) -> bool {
    poll(wait).is_pending()
}

#[test]
fn no_more_than_max_are_in_flight_and_none_waits_without_a_queue() {
    let limit = concurrency("max: 2");
    let (one, _two) = (limit.try_acquire().expect("a slot"), limit.try_acquire().expect("a slot"));
    assert!(limit.try_acquire().is_none());
    assert!(limit.wait().is_none());
    drop(one);
    assert!(limit.try_acquire().is_some());
    let view = limit.view();
    assert_eq!((view.limit, view.max, view.in_flight, view.queued, view.refused), (2, 2, 1, 0, 1));
}

#[test]
fn slots_are_handed_on_in_the_order_of_waiting() {
    let limit = concurrency("max: 1, queue: 2");
    let slot = limit.try_acquire().expect("a slot");
    let (mut first, mut second) = (limit.wait().expect("a place"), limit.wait().expect("a place"));
    assert!(limit.wait().is_none(), "the queue is full");
    assert!(is_waiting(&mut second) && is_waiting(&mut first), "whoever is polled first");
    drop(slot);
    assert!(limit.try_acquire().is_none(), "nobody overtakes");
    assert!(is_waiting(&mut second));
    let Poll::Ready(slot) = poll(&mut first) else { panic!("it is the first one's turn") };
    slot.finished(Duration::ZERO, Now::default(), None);
    assert!(poll(&mut second).is_ready());
    assert_eq!(limit.view().waited, 2);
}

#[test]
fn a_slot_that_came_free_needs_no_waiting() {
    let limit = concurrency("max: 1");
    let mut wait = limit.wait().expect("the slot itself");
    assert!(limit.try_acquire().is_none());
    assert!(poll(&mut wait).is_ready());
    assert_eq!(limit.view().in_flight, 0);
    drop(limit.wait().expect("the slot itself"));
    assert_eq!(limit.view().in_flight, 0, "never awaited");
}

#[test]
fn who_gives_up_leaves_the_queue() {
    let limit = concurrency("max: 1, queue: 2");
    let slot = limit.try_acquire().expect("a slot");
    let (first, mut second) = (limit.wait().expect("a place"), limit.wait().expect("a place"));
    drop(first);
    assert_eq!(limit.view().queued, 1);
    drop(slot);
    assert!(poll(&mut second).is_ready());
    assert_eq!((limit.view().in_flight, limit.view().queued), (0, 0));
}

#[test]
fn a_slot_given_to_one_who_has_gone_goes_to_the_next() {
    let limit = concurrency("max: 1, queue: 2");
    let slot = limit.try_acquire().expect("a slot");
    let (mut first, mut second) = (limit.wait().expect("a place"), limit.wait().expect("a place"));
    assert!(is_waiting(&mut first) && is_waiting(&mut second));
    drop(slot);
    drop(first);
    assert!(poll(&mut second).is_ready());
    assert_eq!(limit.view().in_flight, 0);
}

#[test]
fn a_higher_limit_lets_in_who_waits_and_a_lower_one_nobody() {
    let limit = concurrency("max: 8, queue: 4");
    limit.set_limit(1);
    let slot = limit.try_acquire().expect("a slot");
    let mut waits: Vec<_> = (0..4).map(|_| limit.wait().expect("a place")).collect();
    limit.set_limit(3);
    let let_in: Vec<_> = waits.iter_mut().map(poll).filter_map(ready).collect();
    assert_eq!(let_in.len(), 2);
    assert!(waits.iter_mut().skip(2).all(is_waiting), "the first two");
    limit.set_limit(1);
    drop(let_in);
    assert!(waits.iter_mut().skip(2).all(is_waiting), "one is still in flight");
    drop(slot);
    assert!(poll(&mut waits[2]).is_ready());
}

fn ready(poll: Poll<Slot>) -> Option<Slot> {
    match poll {
        Poll::Ready(slot) => Some(slot),
        Poll::Pending => None,
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Awaits on a thread of its own, as a worker does; gives up after so many polls.
fn block_on(mut wait: Wait, polls: usize) -> Option<Slot> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    for _ in 0..polls {
        if let Poll::Ready(slot) = Pin::new(&mut wait).poll(&mut cx) {
            return Some(slot);
        }
        if polls > 1 {
            thread::park();
        }
    }
    None
}

/// Eight threads take, await, give up and release as they like. A hand-over that got lost would leave one parked for
/// ever. How many were in flight at most, and how many in all; `meanwhile` happens again and again.
fn hammer(limit: &Arc<Concurrency>, meanwhile: impl Fn(&mut fastrand::Rng)) -> (u32, u32) {
    const THREADS: u32 = 8;
    let (in_flight, most, done, ended) =
        (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    let start = Barrier::new(THREADS as usize + 1);
    let work = |random: &mut fastrand::Rng| {
        let impatient = random.u8(..) < 64;
        let slot = limit.try_acquire().or_else(|| {
            let polls = if impatient { 1 } else { usize::MAX };
            block_on(limit.wait()?, polls)
        });
        let Some(slot) = slot else { return };
        most.fetch_max(in_flight.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        done.fetch_add(1, Ordering::Relaxed);
        if random.bool() {
            thread::yield_now();
        }
        in_flight.fetch_sub(1, Ordering::SeqCst);
        drop(slot);
    };
    thread::scope(|scope| {
        for seed in 0..THREADS {
            let (work, ended, start) = (&work, &ended, &start);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(u64::from(seed));
                start.wait();
                (0..3000).for_each(|_| work(&mut random));
                ended.fetch_add(1, Ordering::Release);
            });
        }
        start.wait();
        let mut random = fastrand::Rng::with_seed(99);
        while ended.load(Ordering::Acquire) < THREADS {
            meanwhile(&mut random);
            thread::yield_now();
        }
    });
    let view = limit.view();
    assert_eq!((view.in_flight, view.queued), (0, 0), "all is free again");
    assert!(view.waited > 0, "some had to wait: {view:?}");
    (most.into_inner(), done.into_inner())
}

#[test]
fn threads_neither_lose_nor_invent_a_slot() {
    let limit = concurrency("max: 3, queue: 4");
    let (most, done) = hammer(&limit, |_| {});
    assert!((1..=3).contains(&most) && done > 3000, "{most} at once, {done} in all");
}

#[test]
fn a_limit_that_moves_loses_nobody_who_waits() {
    let limit = concurrency("max: 4, queue: 4");
    let (most, done) = hammer(&limit, |random| limit.set_limit(random.u32(1..=4)));
    assert!((1..=4).contains(&most) && done > 3000, "{most} at once, {done} in all");
}

#[test]
fn a_request_that_need_not_wait_allocates_nothing() {
    let limit = concurrency("max: 3, queue: 4, adaptive: true");
    let pass = || {
        let slot = limit.try_acquire().expect("a slot");
        slot.finished(Duration::from_millis(5), Now::default(), None);
    };
    assert_eq!(allocation_counter::measure(pass).count_total, 0);
}
