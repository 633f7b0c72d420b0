//! Too much at once, and what breaks: turned away with a word, and nobody else is taken along.

use super::stage::on_stage;
use api::{Closed, Desk, clerk, router};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use std::rc::Rc;
use tests::office::MemoryOffice;
use tower::ServiceExt;

async fn health(desk: Desk<MemoryOffice>) -> (u16, String, String) {
    let request = Request::builder().uri("/healthz").body(Empty::<Bytes>::new()).expect("a sound request");
    let response = router(desk).oneshot(request).await.expect("the router always answers");
    let retry = response.headers().get("retry-after").and_then(|value| value.to_str().ok()).unwrap_or_default().to_string();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("the answer is whole").to_bytes();
    (status, retry, String::from_utf8_lossy(&body).into_owned())
}

/// faults.md S23
#[test]
fn more_than_can_be_done_at_once_is_turned_away() {
    on_stage(async |_| {
        let (desk, jobs) = Desk::<MemoryOffice>::new();
        let mut taken = 0;
        while desk.post(|_| async {}).is_ok() {
            taken += 1;
            assert!(taken <= 1000, "there is no bound");
        }
        let (status, retry, body) = health(desk.clone()).await;
        assert_eq!((status, retry.as_str()), (503, "1"), "{body}");
        assert!(body.contains("\"code\":\"busy\""), "{body}");
        // Once what was taken is done there is room again.
        tokio::task::spawn_local(clerk(jobs, Rc::new(MemoryOffice::new())));
        tokio::task::yield_now().await;
        let (status, ..) = health(desk).await;
        assert_eq!(status, 200);
    });
}

#[test]
fn a_server_that_stops_says_so() {
    on_stage(async |_| {
        let (desk, jobs) = Desk::<MemoryOffice>::new();
        drop(jobs);
        let (status, retry, body) = health(desk).await;
        assert_eq!((status, retry.as_str()), (503, "5"), "{body}");
    });
}

#[test]
fn one_broken_job_takes_no_other_with_it() {
    on_stage(async |_| {
        let (desk, jobs) = Desk::<MemoryOffice>::new();
        let clerk = tokio::task::spawn_local(clerk(jobs, Rc::new(MemoryOffice::new())));
        let waiting = desk.ask(|office| async move {
            tokio::task::yield_now().await;
            office.wall.get()
        });
        let broken = desk.ask(|_| async {
            if true {
                panic!("this job breaks on purpose")
            }
        });
        let (waiting, broken) = futures_util::join!(waiting, broken);
        assert_eq!((waiting, broken), (Ok(1_800_000_000_000_000), Err(Closed::Broken)));
        assert_eq!(health(desk.clone()).await.0, 200);
        drop(desk);
        clerk.await.expect("the clerk ends when the last desk is gone");
    });
}
