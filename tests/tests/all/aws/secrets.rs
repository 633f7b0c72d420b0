//! Data keys between processes.

use super::Behind;
use engine::port::{Belongs, Expect, Key, PortError, Secrets, Store};
use futures_util::future::join;
use tests::aws::Fault;

const CRM: Belongs<'_> = Belongs { organization: "acme", document: "credential/crm", version: 7 };

#[tokio::test]
async fn two_processes_that_seal_first_at_the_same_time_share_one_data_key() {
    let Some(behind) = Behind::new() else { return };
    let other = behind.stack.aws_by(behind.proxy.address());
    let (ours, theirs) = (behind.aws.secrets(), other.secrets());
    let (first, second) = join(ours.seal(b"one", CRM), theirs.seal(b"two", CRM)).await;
    assert_eq!(theirs.open(&first.unwrap(), CRM).await.unwrap(), b"one");
    assert_eq!(ours.open(&second.unwrap(), CRM).await.unwrap(), b"two");
}

#[tokio::test]
async fn kms_is_asked_once_for_an_organization_and_process() {
    let Some(behind) = Behind::new() else { return };
    let secrets = behind.aws.secrets();
    let sealed = secrets.seal(b"s3cr3t", CRM).await.unwrap();
    for _ in 0..5 {
        secrets.seal(b"s3cr3t", CRM).await.unwrap();
    }
    assert_eq!(behind.proxy.seen("TrentService").len(), 1);
    let later = behind.stack.aws_by(behind.proxy.address()).secrets();
    for _ in 0..5 {
        assert_eq!(later.open(&sealed, CRM).await.unwrap(), b"s3cr3t");
    }
    assert_eq!(behind.proxy.seen("TrentService.Decrypt").len(), 1);
}

#[tokio::test]
async fn a_data_key_that_was_moved_to_another_organization_does_not_open_there() {
    let Some(behind) = Behind::new() else { return };
    let store = behind.aws.store();
    behind.aws.secrets().seal(b"s3cr3t", CRM).await.unwrap();
    let kept = store.get(&Key::new("acme#key", "current"), 0).await.unwrap().unwrap();
    let moved = engine::port::Document { body: kept.body, ..Default::default() };
    store.put(&Key::new("other#key", "current"), moved, Expect::Absent, 0).await.unwrap();
    let later = behind.stack.aws().secrets();
    let error = later.seal(b"x", Belongs { organization: "other", ..CRM }).await.unwrap_err();
    assert!(matches!(&error, PortError::Failed(why) if why.contains("KMS Decrypt")), "{error:?}");
}

#[tokio::test]
async fn without_kms_nothing_opens_and_nothing_is_shown() {
    let Some(behind) = Behind::new() else { return };
    let sealed = behind.aws.secrets().seal(b"s3cr3t", CRM).await.unwrap();
    behind.proxy.rule("TrentService", 0, usize::MAX, Fault::Refuse(400, "AccessDeniedException"));
    let later = behind.stack.aws_by(behind.proxy.address()).secrets();
    let error = later.open(&sealed, CRM).await.unwrap_err().to_string();
    assert!(error.contains("role") && error.contains("KMS Decrypt"), "{error}");
}

/// A copy of another stack's table: what was sealed under that stack's key is lost, and can be put again.
#[tokio::test]
async fn secrets_of_another_stacks_key_can_be_put_again() {
    let Some(behind) = Behind::new() else { return };
    let lost = behind.aws.secrets().seal(b"s3cr3t", CRM).await.unwrap();
    behind.proxy.rule("TrentService.Decrypt", 0, 2, Fault::Refuse(400, "IncorrectKeyException"));
    let later = behind.stack.aws_by(behind.proxy.address()).secrets();
    let error = later.open(&lost, CRM).await.unwrap_err().to_string();
    assert!(error.contains("another stack's key") && error.contains("put each of them again"), "{error}");
    let anew = later.seal(b"another", CRM).await.unwrap();
    let other = behind.stack.aws().secrets();
    assert_eq!(other.open(&anew, CRM).await.unwrap(), b"another");
    let error = other.open(&lost, CRM).await.unwrap_err().to_string();
    assert!(error.contains("data key"), "{error}");
}
