//! Faults of S3, and the copies that readers of files get.

use super::Behind;
use backend_aws::Names;
use engine::port::{Objects, PortError};
use tests::aws::{Fault, Proxy, Stack, moto};

const MEGABYTE: usize = 1 << 20;

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 31 % 251) as u8).collect()
}

#[tokio::test]
async fn requests_whose_answers_are_lost_are_made_again() {
    let Some(behind) = Behind::new() else { return };
    let (objects, proxy) = (behind.aws.objects().unwrap(), &behind.proxy);
    for text in ["S3 PUT", "S3 GET", "S3 HEAD", "S3 DELETE"] {
        proxy.rule(text, 0, 1, Fault::LoseAnswer);
    }
    objects.put("a", b"x".to_vec()).await.unwrap();
    assert_eq!(objects.get("a", None).await.unwrap(), b"x");
    assert_eq!(objects.get("a", Some(1..1)).await.unwrap(), b"");
    objects.delete("a").await.unwrap();
    assert!(matches!(objects.get("a", None).await, Err(PortError::Missing(_))));
    assert_eq!(proxy.seen("S3 PUT").len(), 2);
}

#[tokio::test]
async fn a_large_file_goes_in_parts_and_one_that_fails_leaves_none_behind() {
    let Some(behind) = Behind::new() else { return };
    let (objects, proxy) = (behind.aws.objects().unwrap(), &behind.proxy);
    let folder = tempfile::tempdir().unwrap();
    let (file, content) = (folder.path().join("rows"), bytes(20 * MEGABYTE));
    std::fs::write(&file, &content).unwrap();
    proxy.rule("partNumber=2", 0, 1, Fault::Refuse(403, "AccessDenied"));
    let error = objects.adopt("plans/rows", &file).await.unwrap_err();
    assert!(matches!(error, PortError::Failed(_)), "{error:?}");
    assert!(file.exists(), "what was not sent stays");
    assert!(matches!(objects.get("plans/rows", Some(0..1)).await, Err(PortError::Missing(_))));
    assert_eq!(proxy.seen("S3 DELETE").len(), 1, "the part that was sent is taken back");
    proxy.rule("partNumber=2", 0, 1, Fault::LoseAnswer);
    objects.adopt("plans/rows", &file).await.unwrap();
    assert!(!file.exists());
    assert!(objects.get("plans/rows", None).await.unwrap() == content);
    assert_eq!(
        objects.get("plans/rows", Some(19 * MEGABYTE as u64..19 * MEGABYTE as u64 + 9)).await.unwrap(),
        content[19 * MEGABYTE..][..9]
    );
}

#[tokio::test]
async fn a_copy_is_used_again_while_the_object_is_the_same() {
    let Some(behind) = Behind::new() else { return };
    let (objects, proxy) = (behind.aws.objects().unwrap(), &behind.proxy);
    objects.put("base", bytes(MEGABYTE)).await.unwrap();
    let first = objects.local("base").await.unwrap();
    let again = objects.local("base").await.unwrap();
    assert_eq!(first, again);
    assert_eq!(proxy.seen("S3 GET").len(), 2, "each use is confirmed");
    objects.put("base", bytes(10)).await.unwrap();
    let other = objects.local("base").await.unwrap();
    assert_eq!(std::fs::read(other).unwrap(), bytes(10));
    assert_eq!(std::fs::read(&first).unwrap().len(), MEGABYTE, "who has the older copy keeps it");
}

#[tokio::test]
async fn copies_are_bounded_and_none_goes_that_may_be_in_use() {
    let Some(moto) = moto() else { return };
    let mut stack = Stack::new(moto);
    stack.names = Names { scratch_bytes: 2 * MEGABYTE as u64 + 100, ..stack.names.clone() };
    let objects = stack.aws().objects().unwrap();
    for name in ["a", "b", "c"] {
        objects.put(name, bytes(MEGABYTE)).await.unwrap();
    }
    let (a, b) = (objects.local("a").await.unwrap(), objects.local("b").await.unwrap());
    let error = objects.local("c").await.unwrap_err();
    assert!(matches!(&error, PortError::Full(why) if why.contains("in use")), "{error:?}");
    assert!(a.exists() && b.exists());
    objects.release();
    objects.local("a").await.unwrap();
    let c = objects.local("c").await.unwrap();
    assert!(a.exists() && !b.exists() && c.exists(), "the longest unused goes");
    assert_eq!(std::fs::read_dir(&stack.names.scratch).unwrap().count(), 2);
}

#[tokio::test]
async fn what_s3_refuses_is_said_with_the_objects_name_and_without_its_content() {
    let Some(behind) = Behind::new() else { return };
    let objects = behind.aws.objects().unwrap();
    behind.proxy.rule("S3 PUT", 0, usize::MAX, Fault::Refuse(403, "AccessDenied"));
    let error = objects.put("plans/rows", b"content-of-rows".to_vec()).await.unwrap_err().to_string();
    assert!(error.contains("plans/rows") && !error.contains("content-of"), "{error}");
    let nowhere = Proxy::start(([127, 0, 0, 1], 9).into());
    let objects = behind.stack.aws_by(nowhere.address()).objects().unwrap();
    assert!(matches!(objects.get("a", None).await, Err(PortError::Failed(_))));
}
