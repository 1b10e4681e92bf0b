use std::sync::Arc;
use std::thread::JoinHandle;

use super::*;

#[derive(Debug)]
struct Item {
    lane: usize,
    group: u64,
    rows: usize,
    cost: u64,
    light: bool,
    arrived: Instant,
    deadline: Instant,
    reply: Subject,
    limits: Limits,
}

impl Work for Item {
    fn lane(&self) -> usize {
        self.lane
    }
    fn group(&self) -> u64 {
        self.group
    }
    fn rows(&self) -> usize {
        self.rows
    }
    fn limits(&self) -> Limits {
        self.limits
    }
    fn cost(&self) -> u64 {
        self.cost
    }
    fn is_light(&self) -> bool {
        self.light
    }
    fn arrived(&self) -> Instant {
        self.arrived
    }
    fn deadline(&self) -> Instant {
        self.deadline
    }
    fn reply(&self) -> &Subject {
        &self.reply
    }
}

const REALTIME: usize = 0;
const NORMAL: usize = 3;
const LOW: usize = 4;

fn item(lane: usize, group: u64, name: &str) -> Item {
    let now = Instant::now();
    Item {
        lane,
        group,
        rows: 1,
        cost: 0,
        light: true,
        arrived: now,
        deadline: now + Duration::from_secs(60),
        reply: Subject::from(name),
        limits: Limits {
            rows: 4,
            whole: 4,
            delay: Duration::ZERO,
        },
    }
}

fn limited(limits: Limits, item: Item) -> Item {
    Item { limits, ..item }
}

fn push(queue: &Queue<Item>, item: Item) -> Option<Duration> {
    let mut refused = None;
    queue.push_all(&mut vec![item], Instant::now(), |_, retry_after| {
        refused = Some(retry_after);
    });
    refused
}

fn take(queue: &Queue<Item>) -> Vec<String> {
    let mut batch = Vec::new();
    queue.take(0, &mut batch);
    batch.iter().map(|item| item.reply.to_string()).collect()
}

#[test]
fn a_batch_is_everything_compatible_up_to_the_limit() {
    let queue = Queue::new(100, 1);
    for (group, name) in [(1, "a"), (2, "x"), (1, "b"), (1, "c"), (1, "d"), (1, "e")] {
        assert_eq!(push(&queue, item(NORMAL, group, name)), None);
    }
    assert_eq!(take(&queue), ["a", "b", "c", "d"]);
    assert_eq!(take(&queue), ["x"], "groups take turns");
    assert_eq!(take(&queue), ["e"]);
    assert_eq!(queue.len(), 0);
}

#[test]
fn rows_are_counted_and_a_large_request_goes_alone() {
    let queue = Queue::new(100, 1);
    for (rows, name) in [(3, "a"), (2, "b"), (9, "c"), (1, "d")] {
        push(
            &queue,
            Item {
                rows,
                ..item(NORMAL, 1, name)
            },
        );
    }
    assert_eq!(take(&queue), ["a"]);
    assert_eq!(take(&queue), ["b"]);
    assert_eq!(take(&queue), ["c"]);
    assert_eq!(take(&queue), ["d"]);
}

#[test]
fn what_is_more_than_one_inference_is_divided_among_the_executors() {
    let queue = Queue::new(100, 2);
    let limits = Limits {
        rows: 8,
        whole: 2,
        delay: Duration::ZERO,
    };
    for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"] {
        push(&queue, limited(limits, item(NORMAL, 1, name)));
    }
    assert_eq!(
        take(&queue),
        ["a", "b", "c", "d"],
        "half of a part, in whole inferences"
    );
    assert_eq!(take(&queue), ["e", "f"], "one inference is not divided");
}

#[test]
fn the_most_urgent_lane_goes_first_and_takes_compatible_others_along() {
    let queue = Queue::new(100, 1);
    push(&queue, item(LOW, 1, "low"));
    push(&queue, item(NORMAL, 2, "normal"));
    push(&queue, item(REALTIME, 1, "realtime"));
    assert_eq!(take(&queue), ["realtime", "low"]);
    assert_eq!(take(&queue), ["normal"]);
}

#[test]
fn a_waiting_lane_is_not_starved() {
    let queue = Queue::new(10_000, 1);
    push(&queue, item(LOW, 1, "low"));
    push(&queue, item(NORMAL, 2, "normal"));
    let mut order = Vec::new();
    for _ in 0..100 {
        push(&queue, item(REALTIME, 3, "realtime"));
        order.push(take(&queue).remove(0));
    }
    assert_eq!(order.iter().position(|name| name == "normal"), Some(16));
    assert_eq!(order.iter().position(|name| name == "low"), Some(32));
}

#[test]
fn a_full_queue_refuses() {
    let queue = Queue::new(2, 1);
    for name in ["a", "b"] {
        assert_eq!(push(&queue, item(NORMAL, 1, name)), None);
    }
    assert!(push(&queue, item(NORMAL, 1, "c")).is_some());
    assert_eq!(queue.len(), 2);
}

#[test]
fn what_cannot_start_before_its_deadline_is_refused_with_the_expected_wait() {
    let queue = Queue::new(100, 2);
    push(
        &queue,
        Item {
            cost: 4_000_000_000,
            ..item(NORMAL, 1, "long")
        },
    );
    let deadline = Instant::now() + Duration::from_secs(1);
    let refused = push(
        &queue,
        Item {
            deadline,
            ..item(NORMAL, 1, "short")
        },
    );
    assert_eq!(
        refused,
        Some(Duration::from_secs(2)),
        "four seconds of work for two executors"
    );
    assert_eq!(push(&queue, item(NORMAL, 1, "patient")), None);
}

#[test]
fn a_waiting_call_is_taken_out_and_a_running_one_marked() {
    let queue = Queue::new(100, 1);
    push(&queue, item(NORMAL, 1, "running"));
    assert_eq!(take(&queue), ["running"]);
    push(&queue, item(NORMAL, 1, "waiting"));
    let cancel = |name: &str| queue.cancel(|reply| *reply == *name);
    assert!(matches!(cancel("waiting"), Cancelled::Queued(item) if item.reply == *"waiting"));
    assert!(!queue.is_cancelled(0, &Subject::from("running")));
    assert!(matches!(cancel("running"), Cancelled::Running));
    assert!(queue.is_cancelled(0, &Subject::from("running")));
    assert!(matches!(cancel("elsewhere"), Cancelled::Unknown));
    push(&queue, item(NORMAL, 1, "next"));
    assert_eq!(take(&queue), ["next"]);
    assert!(
        !queue.is_cancelled(0, &Subject::from("running")),
        "marks end with their batch"
    );
}

#[test]
fn expired_requests_can_be_swept() {
    let queue = Queue::new(100, 1);
    let now = Instant::now();
    push(
        &queue,
        Item {
            deadline: now,
            ..item(NORMAL, 1, "late")
        },
    );
    push(&queue, item(NORMAL, 1, "alive"));
    let late: Vec<_> = queue
        .expired(now)
        .into_iter()
        .map(|item| item.reply.to_string())
        .collect();
    assert_eq!(late, ["late"]);
    assert_eq!(take(&queue), ["alive"]);
}

#[test]
fn a_delayed_group_waits_until_it_is_full_or_due() {
    let queue = Queue::new(100, 1);
    let limits = Limits {
        rows: 2,
        whole: 2,
        delay: Duration::from_millis(50),
    };
    let started = Instant::now();
    push(&queue, limited(limits, item(REALTIME, 1, "delayed")));
    push(&queue, item(LOW, 2, "other"));
    assert_eq!(take(&queue), ["other"], "nobody waits for a delayed group");
    assert_eq!(take(&queue), ["delayed"]);
    assert!(started.elapsed() >= limits.delay);
    let limits = Limits {
        rows: 2,
        whole: 2,
        delay: Duration::from_secs(60),
    };
    for name in ["a", "b"] {
        push(&queue, limited(limits, item(REALTIME, 1, name)));
    }
    assert_eq!(take(&queue), ["a", "b"], "a full batch does not wait");
    push(&queue, limited(limits, item(REALTIME, 1, "last")));
    queue.close();
    assert_eq!(take(&queue), ["last"], "nor does one in a closed queue");
}

#[test]
fn takers_wait_and_end_when_the_queue_is_closed() {
    let queue = Arc::new(Queue::new(100, 2));
    let takers: Vec<_> = (0..2)
        .map(|executor| {
            let queue = Arc::clone(&queue);
            std::thread::spawn(move || {
                let (mut count, mut batch) = (0, Vec::new());
                while queue.take(executor, &mut batch) {
                    count += batch.drain(..).count();
                }
                count
            })
        })
        .collect();
    for index in 0..100 {
        push(&queue, item(NORMAL, index % 3, "x"));
    }
    queue.close();
    let taken: usize = takers.into_iter().map(|taker| taker.join().unwrap()).sum();
    assert_eq!(taken, 100);
}

/// Costs less than a wake-up.
const LITTLE: u64 = 1_000;

fn little(name: &str) -> Item {
    Item {
        cost: LITTLE,
        ..item(NORMAL, 1, name)
    }
}

/// Offers one item; whether the thread that brought it is to do it.
fn offer(queue: &Queue<Item>, item: Item) -> bool {
    queue.push_all(&mut vec![item], Instant::now(), |_, _| unreachable!("there is room"))
}

/// An executor that waits for one batch.
fn waiting_executor(queue: &Arc<Queue<Item>>) -> JoinHandle<Vec<String>> {
    let taker = Arc::clone(queue);
    let executor = std::thread::spawn(move || take(&taker));
    while queue.state.lock().idle == 0 {
        std::thread::yield_now();
    }
    executor
}

#[test]
fn quick_work_is_done_where_it_came_while_the_executors_wait() {
    let queue = Arc::new(Queue::new(100, 1));
    assert!(!offer(&queue, little("a")), "the executor is at work, and comes for it");
    assert_eq!(take(&queue), ["a"]);
    let executor = waiting_executor(&queue);
    assert!(offer(&queue, little("b")));
    let mut batch = Vec::new();
    assert!(queue.take_quick(true, &mut batch));
    assert_eq!(batch.len(), 1);
    assert!(matches!(queue.cancel(|reply| **reply == *"b"), Cancelled::Running));
    assert!(queue.is_cancelled(queue.own_thread(), &batch[0].reply));
    assert!(!queue.take_quick(true, &mut batch), "nothing waits");
    assert!(!queue.is_cancelled(queue.own_thread(), &batch[0].reply));
    queue.close();
    assert!(executor.join().expect("no panic").is_empty());
}

#[test]
fn other_work_is_done_by_the_executors() {
    let slow = |cost| Item { cost, ..little("slow") };
    let heavy = Item {
        light: false,
        ..little("heavy")
    };
    for item in [slow(0), slow(1_000_000_000), heavy] {
        let queue = Arc::new(Queue::new(100, 1));
        let (executor, name) = (waiting_executor(&queue), item.reply.to_string());
        assert!(!offer(&queue, item));
        assert_eq!(executor.join().expect("no panic"), [name]);
    }
}

#[test]
fn quick_work_goes_to_the_executors_while_there_is_no_room_for_answers() {
    let queue = Arc::new(Queue::new(100, 1));
    let executor = waiting_executor(&queue);
    assert!(offer(&queue, little("a")));
    assert!(!queue.take_quick(false, &mut Vec::new()));
    assert_eq!(executor.join().expect("no panic"), ["a"]);
}
