use std::cell::Cell;
use std::time::{Duration, Instant};

use sebastian_testkit::eventually;

use crate::SOON;

async fn message_of(failing: impl Future<Output = ()> + Send + 'static) -> String {
    let error = tokio::spawn(failing).await.expect_err("it panics");
    let message = error.into_panic();
    message.downcast_ref::<String>().expect("a formatted message").clone()
}

#[tokio::test]
async fn gives_the_state_once_it_holds() {
    let looks = Cell::new(0);
    let seen = eventually("three looks", SOON, async || {
        looks.set(looks.get() + 1);
        (looks.get() == 3).then_some(looks.get())
    })
    .await;
    assert_eq!(seen, 3);
    eventually("a state that holds at once", Duration::ZERO, async || true).await;
}

#[tokio::test]
async fn panics_with_what_should_hold_where_and_the_last_state() {
    let message = message_of(async {
        eventually("queue is empty", Duration::from_millis(20), async || Err::<(), _>("7 waiting")).await;
    })
    .await;
    assert!(message.contains("queue is empty"), "{message}");
    assert!(message.contains("7 waiting"), "{message}");
    assert!(message.contains(file!()), "{message}");
}

#[tokio::test]
async fn bounds_a_look_that_hangs() {
    let message = message_of(async {
        eventually("an answer", Duration::from_millis(20), async || std::future::pending::<bool>().await)
            .await;
    })
    .await;
    assert!(message.contains("a look that did not end"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn waits_in_real_time_under_a_paused_clock() {
    let end = Instant::now() + Duration::from_millis(50);
    eventually("50 ms went by", SOON, async || Instant::now() >= end).await;
}
