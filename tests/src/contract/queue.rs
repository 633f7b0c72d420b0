//! The cases of the queue. What was sent is seen by taking what can be received now.

use engine::port::{Message, PortError, Queue};

fn at_once(body: impl Into<String>) -> Message {
    Message { body: body.into(), delay_seconds: 0 }
}

fn taken(take: impl Fn() -> Vec<String>) -> Vec<String> {
    let mut bodies = take();
    bodies.sort();
    bodies
}

pub(super) async fn what_was_sent_can_be_received<Q: Queue>((queue, take): (Q, impl Fn() -> Vec<String>)) {
    queue.send(Vec::new()).await.unwrap();
    assert_eq!(taken(&take), Vec::<String>::new());
    let odd = ["{\"lane\":\"crm\"}", "pässwörd \u{2028} 😀", "a\tb\nc", " ", "0"];
    queue.send(odd.map(at_once).to_vec()).await.unwrap();
    let mut sorted = odd.map(str::to_owned);
    sorted.sort();
    assert_eq!(taken(&take), sorted);
    assert_eq!(taken(&take), Vec::<String>::new());
}

pub(super) async fn more_can_be_sent_than_a_call_takes<Q: Queue>((queue, take): (Q, impl Fn() -> Vec<String>)) {
    let many: Vec<String> = (0..45).map(|n| format!("{n:03}")).collect();
    queue.send(many.iter().map(at_once).collect()).await.unwrap();
    assert_eq!(taken(&take), many);
    // The largest, so many that no call takes all of them.
    let large: Vec<String> = (0..7).map(|n| n.to_string().repeat(200_000)).collect();
    queue.send(large.iter().map(at_once).collect()).await.unwrap();
    assert!(taken(&take) == large);
}

pub(super) async fn a_delayed_message_is_not_received_yet<Q: Queue>((queue, take): (Q, impl Fn() -> Vec<String>)) {
    let later = [60, 900, 901, u32::MAX].map(|delay_seconds| Message { body: "later".to_owned(), delay_seconds });
    queue.send(later.into_iter().chain([at_once("now")]).collect()).await.unwrap();
    assert_eq!(taken(&take), ["now"]);
}

pub(super) async fn what_is_no_message_is_refused<Q: Queue>((queue, take): (Q, impl Fn() -> Vec<String>)) {
    for odd in [String::new(), "x".repeat(200_001), "a\0b".to_owned(), "\u{1b}[0m".to_owned(), "\u{ffff}".to_owned()] {
        let sent = queue.send(vec![at_once(odd)]).await;
        assert!(matches!(sent, Err(PortError::Failed(_))), "a refusal was due, and this came: {sent:?}");
    }
    assert_eq!(taken(&take), Vec::<String>::new());
}
