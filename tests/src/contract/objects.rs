//! The cases of the objects.

use std::path::PathBuf;

use engine::port::{Objects, PortError};
use futures_util::future::{join, join_all};

fn assert_missing<T: std::fmt::Debug>(result: Result<T, PortError>) {
    assert!(matches!(result, Err(PortError::Missing(_))), "`Missing` was due, and this came: {result:?}");
}

fn assert_refused<T: std::fmt::Debug>(result: Result<T, PortError>) {
    assert!(matches!(result, Err(PortError::Failed(_))), "a refusal was due, and this came: {result:?}");
}

async fn names<O: Objects>(objects: &O, prefix: &str) -> Vec<String> {
    let mut names = objects.list(prefix).await.unwrap();
    names.sort();
    names
}

/// A finished file outside of the store, and the folder that it lies in.
fn finished_file(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("finished");
    std::fs::write(&file, content).unwrap();
    (folder, file)
}

pub(super) async fn what_was_never_put_is_missing<O: Objects>(objects: O) {
    assert_missing(objects.get("a", None).await);
    assert_missing(objects.get("a/b/c", Some(0..1)).await);
    assert_missing(objects.local("a").await);
    assert_eq!(names(&objects, "").await, Vec::<String>::new());
}

pub(super) async fn a_put_object_is_read_back_whole<O: Objects + Clone>(objects: O) {
    let bytes: Vec<u8> = (0..3_000_000_usize).map(|n| (n * 31 % 256) as u8).collect();
    objects.put("plans/run_1/rows", bytes.clone()).await.unwrap();
    assert!(objects.get("plans/run_1/rows", None).await.unwrap() == bytes);
    assert!(objects.clone().get("plans/run_1/rows", None).await.unwrap() == bytes);
    // What lies between is no object.
    assert_missing(objects.get("plans/run_1", None).await);
    assert_missing(objects.local("plans").await);
    assert_missing(objects.get("plans/run_1/rows/more", None).await);
}

pub(super) async fn an_empty_object_is_an_object<O: Objects>(objects: O) {
    objects.put("empty", Vec::new()).await.unwrap();
    assert_eq!(objects.get("empty", None).await.unwrap(), b"");
    assert_eq!(objects.get("empty", Some(0..0)).await.unwrap(), b"");
    assert_missing(objects.get("empty", Some(0..1)).await);
    assert_eq!(names(&objects, "").await, ["empty"]);
}

pub(super) async fn a_range_gives_its_bytes<O: Objects>(objects: O) {
    objects.put("a", b"0123456789".to_vec()).await.unwrap();
    for (range, expected) in [(0..10, "0123456789"), (0..1, "0"), (9..10, "9"), (3..7, "3456"), (4..4, ""), (10..10, "")] {
        assert_eq!(objects.get("a", Some(range.clone())).await.unwrap(), expected.as_bytes(), "{range:?}");
    }
}

pub(super) async fn a_range_beyond_the_end_is_missing<O: Objects>(objects: O) {
    objects.put("a", b"0123456789".to_vec()).await.unwrap();
    for range in [0..11, 10..11, 11..11, 100..200, 0..u64::MAX] {
        assert_missing(objects.get("a", Some(range)).await);
    }
}

pub(super) async fn a_range_that_ends_before_it_starts_is_refused<O: Objects>(objects: O) {
    objects.put("a", b"0123456789".to_vec()).await.unwrap();
    let (start, end) = (5, 4);
    assert_refused(objects.get("a", Some(start..end)).await);
}

pub(super) async fn an_object_can_be_replaced<O: Objects>(objects: O) {
    objects.put("a", b"long content".to_vec()).await.unwrap();
    objects.put("a", b"short".to_vec()).await.unwrap();
    assert_eq!(objects.get("a", None).await.unwrap(), b"short");
    assert_eq!(names(&objects, "").await, ["a"]);
}

pub(super) async fn a_reader_meets_the_old_or_the_new_object_whole<O: Objects + Clone>(objects: O) {
    const SIZE: usize = 200_000;
    objects.put("a", vec![0; SIZE]).await.unwrap();
    let writer = async {
        for n in 1..=20_u8 {
            objects.put("a", vec![n; SIZE + usize::from(n)]).await.unwrap();
        }
    };
    let reader = async {
        let mut last = 0;
        for _ in 0..60 {
            let bytes = objects.get("a", None).await.unwrap();
            let n = bytes[0];
            assert!(bytes.len() == SIZE + usize::from(n) && bytes.iter().all(|byte| *byte == n), "a mixture of two objects");
            assert!(n >= last, "an older object after a newer one");
            last = n;
        }
    };
    join(writer, reader).await;
    assert_eq!(objects.get("a", Some(0..1)).await.unwrap(), [20]);
}

pub(super) async fn an_adopted_file_becomes_the_object_and_is_gone<O: Objects>(objects: O) {
    let (folder, file) = finished_file(b"rows");
    objects.adopt("plans/run_1/rows", &file).await.unwrap();
    assert_eq!(objects.get("plans/run_1/rows", None).await.unwrap(), b"rows");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the file was to be moved");
}

pub(super) async fn an_adopted_file_replaces_an_object<O: Objects>(objects: O) {
    objects.put("a", b"what was there before".to_vec()).await.unwrap();
    let (_folder, file) = finished_file(b"new");
    objects.adopt("a", &file).await.unwrap();
    assert_eq!(objects.get("a", None).await.unwrap(), b"new");
    assert_eq!(names(&objects, "").await, ["a"]);
}

pub(super) async fn a_file_that_is_not_there_is_not_adopted<O: Objects>(objects: O) {
    let folder = tempfile::tempdir().unwrap();
    objects.put("a", b"stays".to_vec()).await.unwrap();
    assert_missing(objects.adopt("a", &folder.path().join("never")).await);
    assert!(objects.adopt("a", folder.path()).await.is_err(), "a folder is no finished file");
    assert!(folder.path().is_dir());
    assert_eq!(objects.get("a", None).await.unwrap(), b"stays");
}

pub(super) async fn a_local_file_has_the_content<O: Objects>(objects: O) {
    objects.put("snapshots/base", b"first".to_vec()).await.unwrap();
    let first = objects.local("snapshots/base").await.unwrap();
    assert_eq!(std::fs::read(&first).unwrap(), b"first");
    objects.put("snapshots/base", b"second".to_vec()).await.unwrap();
    let second = objects.local("snapshots/base").await.unwrap();
    assert_eq!(std::fs::read(second).unwrap(), b"second");
}

pub(super) async fn names_are_listed_by_any_prefix<O: Objects>(objects: O) {
    for name in ["plans/run_1/rows", "plans/run_1/requests", "plans/run_10/rows", "plans.txt", "bodies/x", "p"] {
        objects.put(name, name.as_bytes().to_vec()).await.unwrap();
    }
    let all = ["bodies/x", "p", "plans.txt", "plans/run_1/requests", "plans/run_1/rows", "plans/run_10/rows"];
    assert_eq!(names(&objects, "").await, all);
    assert_eq!(names(&objects, "p").await, all[1..]);
    assert_eq!(names(&objects, "plans").await, all[2..]);
    assert_eq!(names(&objects, "plans/").await, all[3..]);
    assert_eq!(names(&objects, "plans/run_1").await, all[3..]);
    assert_eq!(names(&objects, "plans/run_1/").await, all[3..5]);
    assert_eq!(names(&objects, "plans/run_1/r").await, all[3..5]);
    assert_eq!(names(&objects, "plans/run_1/rows").await, ["plans/run_1/rows"]);
    for none in ["plans/run_1/rows/", "plans/run_2", "x", "Plans", "p/", "plans/run_1/rows/more"] {
        assert_eq!(names(&objects, none).await, Vec::<String>::new(), "{none}");
    }
}

pub(super) async fn a_deleted_object_is_gone_and_can_be_deleted_again<O: Objects>(objects: O) {
    objects.put("plans/a", b"a".to_vec()).await.unwrap();
    objects.put("plans/b", b"b".to_vec()).await.unwrap();
    objects.delete("plans/a").await.unwrap();
    objects.delete("plans/a").await.unwrap();
    objects.delete("never/was").await.unwrap();
    objects.delete("plans").await.unwrap();
    assert_missing(objects.get("plans/a", None).await);
    assert_eq!(names(&objects, "").await, ["plans/b"]);
    assert_eq!(objects.get("plans/b", None).await.unwrap(), b"b");
    objects.delete("plans/b").await.unwrap();
    objects.put("plans/a", b"again".to_vec()).await.unwrap();
    assert_eq!(objects.get("plans/a", None).await.unwrap(), b"again");
}

pub(super) async fn names_that_could_leave_the_store_are_refused<O: Objects>(objects: O) {
    let long_segment = "a".repeat(201);
    let long_name = vec!["a".repeat(180); 6].join("/");
    let odd = [
        "",
        "/",
        ".",
        "..",
        "../a",
        "a/../b",
        "a/..",
        "/a",
        "a/",
        "a//b",
        "./a",
        "a/.",
        "a b",
        "a\\b",
        "a\0b",
        "ä",
        "a~",
        "~",
        "a:b",
        "a%2e",
        "a\n",
        "C:",
        "*",
        &long_segment,
        &long_name,
    ];
    let (_folder, file) = finished_file(b"x");
    for name in odd {
        assert_refused(objects.put(name, b"x".to_vec()).await);
        assert_refused(objects.adopt(name, &file).await);
        assert_refused(objects.get(name, None).await);
        assert_refused(objects.local(name).await);
        assert_refused(objects.delete(name).await);
    }
    assert!(file.exists(), "what was refused is not moved");
    assert_eq!(names(&objects, "").await, Vec::<String>::new());
}

pub(super) async fn odd_but_allowed_names_work<O: Objects>(objects: O) {
    let (long_segment, long_name) = ("a".repeat(200), vec!["b".repeat(149); 6].join("/"));
    let odd = ["...", "-", "_", ".hidden", "a..b", "-rf", "0", "a.b/.c/-d/_e", "con", "A", "run_1.tmp", &long_segment, &long_name];
    for name in odd {
        objects.put(name, name.as_bytes().to_vec()).await.unwrap();
    }
    for name in odd {
        assert_eq!(objects.get(name, None).await.unwrap(), name.as_bytes());
    }
    let mut sorted = odd.map(str::to_owned).to_vec();
    sorted.sort();
    assert_eq!(names(&objects, "").await, sorted);
}

pub(super) async fn prefixes_that_could_leave_the_store_are_refused<O: Objects>(objects: O) {
    objects.put("a", b"x".to_vec()).await.unwrap();
    for prefix in ["/", "../", "a/../", "/etc", "a//", "~", "a b"] {
        assert_refused(objects.list(prefix).await);
    }
    // The start of a name that begins with dots may look like a way out, and is none.
    assert_eq!(names(&objects, "..").await, Vec::<String>::new());
    assert_eq!(names(&objects, "a/..").await, Vec::<String>::new());
}

pub(super) async fn many_objects_can_be_put_at_once<O: Objects + Clone>(objects: O) {
    let puts = (0..100).map(|n| {
        let objects = objects.clone();
        async move {
            // Deleting between puts in the same folders, which come and go with their objects.
            let name = format!("many/{}/{n}", n % 5);
            objects.put(&name, n.to_string().into_bytes()).await.unwrap();
            if n % 2 == 1 {
                objects.delete(&name).await.unwrap();
            }
        }
    });
    join_all(puts).await;
    let names = names(&objects, "many/").await;
    assert_eq!(names.len(), 50);
    for name in names {
        let n = name.rsplit('/').next().unwrap();
        assert_eq!(objects.get(&name, None).await.unwrap(), n.as_bytes());
    }
}
