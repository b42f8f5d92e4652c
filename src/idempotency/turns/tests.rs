use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context as TaskContext, Poll, Waker};

use super::TurnKind::{Condition, Context, Plain};
use super::*;
use crate::types::deadline::Shutdown;

type Taking<'a> = Pin<Box<dyn Future<Output = Result<Turn, TurnError>> + Send + 'a>>;

fn in_memory() -> Turns {
    let second = Duration::from_secs(1);
    Turns::new(None, Lifetimes { ttl: second, lease: second, store_timeout: second })
}

fn long() -> Deadline {
    Deadline::from(Instant::now() + Duration::from_secs(60))
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut TaskContext::from_waker(Waker::noop()))
}

fn take<'a>(turns: &'a Turns, kind: TurnKind, deadline: &'a Deadline) -> Taking<'a> {
    Box::pin(turns.take("c", kind, deadline))
}

/// The turn, if it has come.
fn come(taking: &mut Taking<'_>) -> Option<Turn> {
    match poll(taking.as_mut()) {
        Poll::Ready(turn) => Some(turn.unwrap()),
        Poll::Pending => None,
    }
}

#[tokio::test]
async fn kinds_exclude_each_other_as_documented() {
    for (held, asked, beside) in [
        (Plain, Plain, true),
        (Plain, Context, true),
        (Plain, Condition, false),
        (Context, Plain, true),
        (Context, Context, false),
        (Context, Condition, false),
        (Condition, Plain, false),
        (Condition, Context, false),
        (Condition, Condition, false),
    ] {
        assert_eq!(held.excludes(asked), !beside);
        let (turns, deadline) = (in_memory(), long());
        let holder = turns.take("c", held, &deadline).await.unwrap();
        let mut taking = take(&turns, asked, &deadline);
        let first = come(&mut taking);
        assert_eq!(first.is_some(), beside, "{asked:?} beside {held:?}");
        let other = turns.take("other", asked, &deadline).await;
        assert!(other.is_ok(), "another conversation");
        drop(holder);
        assert!(first.is_some() || come(&mut taking).is_some(), "{asked:?} after {held:?}");
    }
}

#[tokio::test]
async fn turns_come_in_the_order_of_their_requests() {
    let (turns, deadline) = (in_memory(), long());
    let holder = turns.take("c", Context, &deadline).await.unwrap();
    let kinds = [Context, Plain, Condition, Plain, Context, Context];
    let mut all: Vec<_> = kinds.iter().map(|kind| take(&turns, *kind, &deadline)).collect();
    // Those at work by now; a turn that came stays in `held` until its place is cleared.
    let mut held: Vec<Option<Turn>> = all.iter_mut().map(come).collect();
    let at_work = |held: &[Option<Turn>]| held.iter().map(Option::is_some).collect::<Vec<_>>();
    assert_eq!(at_work(&held), [false, true, false, false, false, false], "what writes no context passes");
    assert_eq!(turns.stats().waiting, 5);
    drop(holder);
    held[0] = come(&mut all[0]);
    assert!(held[0].is_some() && come(&mut all[2]).is_none());
    held[0] = None;
    let mut late = take(&turns, Plain, &deadline);
    assert!(
        come(&mut late).is_none(),
        "a condition waits for the plain one, and all behind it for the condition"
    );
    held[1] = None;
    held[2] = come(&mut all[2]);
    assert!(held[2].is_some() && come(&mut all[3]).is_none() && come(&mut all[4]).is_none());
    held[2] = None;
    for at in [3, 4] {
        held[at] = come(&mut all[at]);
    }
    assert!(come(&mut all[5]).is_none(), "a context is at work");
    let late = come(&mut late);
    assert!(late.is_some());
    assert_eq!(at_work(&held), [false, false, false, true, true, false]);
    held[4] = None;
    assert!(come(&mut all[5]).is_some());
    drop((held, late));
    assert_eq!((turns.stats().waited, turns.stats().waiting, turns.shared.queues.len()), (6, 0, 0));
}

#[tokio::test]
async fn a_request_that_goes_away_holds_nobody_up() {
    let (turns, deadline) = (in_memory(), long());
    let plain = turns.take("c", Plain, &deadline).await.unwrap();
    let mut condition = take(&turns, Condition, &deadline);
    let mut behind = take(&turns, Plain, &deadline);
    assert!(come(&mut condition).is_none() && come(&mut behind).is_none());
    drop(condition);
    let second = come(&mut behind).unwrap();
    // Admitted, and gone before it knew.
    let mut condition = take(&turns, Condition, &deadline);
    let mut behind = take(&turns, Context, &deadline);
    assert!(come(&mut condition).is_none() && come(&mut behind).is_none());
    drop((plain, second));
    drop(condition);
    assert!(come(&mut behind).is_some());
    drop(behind);
    assert_eq!(turns.shared.queues.len(), 0);
    assert_eq!(turns.stats().waiting, 0);
}

#[tokio::test]
async fn the_first_that_is_admitted_gets_what_the_holder_left() {
    let queues: Arc<Queues<&str>> = Arc::default();
    let enter = |kind| Queues::enter(&queues, "c", kind);
    let (Entered::Come(mut place), Entered::Waits(gone), Entered::Waits(next), Entered::Waits(last)) =
        (enter(Condition), enter(Context), enter(Plain), enter(Context))
    else {
        panic!("the order of turns")
    };
    place.left = Some("lease");
    drop(place);
    drop(gone);
    let (place, left) = next.come().await;
    assert_eq!(left, None, "it was admitted with the one that has gone");
    let (second, left) = last.come().await;
    assert_eq!(left, Some("lease"), "passed on");
    drop((place, second));
    assert_eq!(queues.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_with_the_deadline_and_with_the_process() {
    let (turns, shutdown) = (in_memory(), Shutdown::default());
    let second = Duration::from_secs(1);
    let deadline = || Deadline::from((tokio::time::Instant::now() + second).into_std());
    let turn = turns.take("c", Condition, &deadline()).await.unwrap();
    assert_eq!(turn.valid_until(), None);
    let begun = tokio::time::Instant::now();
    assert_eq!(turns.take("c", Plain, &deadline()).await.unwrap_err(), TurnError::Busy);
    assert_eq!(begun.elapsed(), second);
    let leaving = Deadline::after(60 * second, &shutdown);
    let waiting = tokio::spawn({
        let turns = turns.clone();
        async move { turns.take("c", Plain, &leaving).await.unwrap_err() }
    });
    tokio::time::sleep(second).await;
    assert_eq!(turns.stats(), TurnStats { waited: 2, busy: 1, lost: 0, waiting: 1 });
    shutdown.trigger();
    assert_eq!(waiting.await.unwrap(), TurnError::Shutdown);
    drop(turn);
    assert_eq!((turns.shared.queues.len(), turns.stats().waiting), (0, 0));
}

#[tokio::test]
async fn other_settings_keep_the_queues() {
    let (turns, deadline) = (in_memory(), long());
    let lifetimes = Lifetimes { ttl: Duration::ZERO, lease: Duration::ZERO, store_timeout: Duration::ZERO };
    let reloaded = turns.carry(None, lifetimes);
    let turn = turns.take("c", Context, &deadline).await.unwrap();
    let mut taking = take(&reloaded, Context, &deadline);
    assert!(come(&mut taking).is_none());
    drop(turn);
    assert!(come(&mut taking).is_some());
}

/// Turns at work for one conversation, as their holders count them.
#[derive(Debug, Default)]
struct AtWork([AtomicUsize; 3]);

impl AtWork {
    fn enter(&self, kind: TurnKind) {
        self.0[kind as usize].fetch_add(1, SeqCst);
        let [plain, context, condition] = self.0.each_ref().map(|count| count.load(SeqCst));
        assert!(context <= 1 && condition <= 1, "{context} contexts, {condition} conditions");
        assert!(condition == 0 || plain + context == 0, "a condition beside {plain} and {context}");
    }

    fn leave(&self, kind: TurnKind) {
        self.0[kind as usize].fetch_sub(1, SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_over_few_conversations() {
    let (turns, work) = (in_memory(), Arc::new([const { AtWork([const { AtomicUsize::new(0) }; 3]) }; 3]));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..64 {
        let (turns, work) = (turns.clone(), Arc::clone(&work));
        tasks.spawn(async move {
            let (mut random, mut done) = (fastrand::Rng::with_seed(number), 0);
            for _ in 0..300 {
                let conversation = random.usize(0..3);
                let kind = [Plain, Plain, Plain, Context, Context, Condition][random.usize(0..6)];
                // Some callers go away early.
                let patience = if random.u8(0..4) == 0 { random.u64(0..300) } else { 60_000_000 };
                let (name, deadline) = (conversation.to_string(), long());
                let taking = turns.take(&name, kind, &deadline);
                let Ok(turn) = tokio::time::timeout(Duration::from_micros(patience), taking).await else {
                    continue;
                };
                let turn = turn.unwrap();
                work[conversation].enter(kind);
                if random.bool() {
                    tokio::task::yield_now().await;
                }
                work[conversation].leave(kind);
                drop(turn);
                done += 1;
            }
            done
        });
    }
    let done: usize = tasks.join_all().await.into_iter().sum();
    assert!(done > 10_000, "{done} turns");
    assert_eq!((turns.shared.queues.len(), turns.stats().waiting), (0, 0));
}

#[tokio::test]
async fn conversations_that_nobody_uses_take_no_memory() {
    let (turns, deadline) = (in_memory(), long());
    let mut held = Vec::new();
    for number in 0..5_000 {
        held.push(turns.take(&number.to_string(), Condition, &deadline).await.unwrap());
    }
    assert_eq!((turns.shared.queues.len(), turns.stats().waited), (5_000, 0));
    held.clear();
    assert_eq!(turns.shared.queues.len(), 0);
}

/// Prints the cost of a turn that nobody else wants. It means something with `--release` only.
#[tokio::test]
#[ignore = "a measurement: cargo test --release -p parlance --lib cost_of_a_turn -- --ignored --nocapture"]
#[expect(clippy::print_stderr, reason = "a measurement prints")]
async fn cost_of_a_turn() {
    let (turns, deadline) = (in_memory(), long());
    let names: Vec<String> = (0..1_000).map(|number| format!("sms:conv_{number:08}")).collect();
    for kind in [Plain, Context, Condition] {
        let begun = Instant::now();
        for name in names.iter().cycle().take(1_000_000) {
            drop(turns.take(std::hint::black_box(name), kind, &deadline).await.unwrap());
        }
        let each = begun.elapsed() / 1_000_000;
        eprintln!("{kind:?}: {each:?}");
        assert!(each < Duration::from_micros(1), "{kind:?}: {each:?}");
    }
}
