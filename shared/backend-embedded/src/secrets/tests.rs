//! What is particular to keys on a disk: who may read them, passphrases, rotation, and crashes between any two steps. The contract of
//! sealing is in the workspace's integration tests.

use std::fs;
use std::path::Path;

use engine::port::{Belongs, PortError};

use super::{EmbeddedSecrets, Passphrase, Unlock};
use crate::DataDir;

const CRM: Belongs<'_> = Belongs { organization: "acme", document: "credential/crm", version: 7 };
const SHOP: Belongs<'_> = Belongs { organization: "other", document: "credential/shop", version: 1 };

fn directory() -> (tempfile::TempDir, DataDir) {
    let folder = tempfile::tempdir().unwrap();
    let dir = DataDir::open(folder.path().join("data")).unwrap();
    (folder, dir)
}

fn phrase(text: &str) -> Unlock {
    Unlock::Passphrase(Passphrase::new(text))
}

fn failure<T>(result: Result<T, PortError>) -> String {
    match result {
        Err(PortError::Failed(message)) => message,
        Err(other) => panic!("another error: {other:?}"),
        Ok(_) => panic!("this was to fail"),
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    let keys = ["secret", "keyring"];
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| keys.iter().any(|key| name.starts_with(key))).collect();
    names.sort();
    names
}

/// A copy of a data directory: what is on the disk when a process dies now. Modes are copied too.
fn copied(dir: &DataDir) -> (tempfile::TempDir, DataDir) {
    let (folder, copy) = directory();
    for name in names_in(dir.path()) {
        fs::copy(dir.path().join(&name), copy.path().join(&name)).unwrap();
    }
    (folder, copy)
}

#[test]
fn a_key_file_is_made_once_for_its_owner_alone() {
    let (_folder, dir) = directory();
    let sealed = dir.secrets(Unlock::KeyFile).unwrap().seal_now(b"s3cr3t", CRM).unwrap();
    assert_eq!(names_in(dir.path()), ["keyring", "secret.key", "secret.lock"]);
    let key = fs::read(dir.path().join("secret.key")).unwrap();
    let again = dir.secrets(Unlock::KeyFile).unwrap();
    assert_eq!(again.open_now(&sealed, CRM).unwrap(), b"s3cr3t");
    assert_eq!(fs::read(dir.path().join("secret.key")).unwrap(), key);
    #[cfg(unix)]
    for name in ["secret.key", "keyring"] {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
}

#[cfg(unix)]
#[test]
fn a_key_file_that_others_may_use_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let (_folder, dir) = directory();
    drop(dir.secrets(Unlock::KeyFile).unwrap());
    let path = dir.path().join("secret.key");
    for mode in [0o644, 0o640, 0o604, 0o620, 0o602, 0o601, 0o660, 0o666, 0o777] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let message = failure(dir.secrets(Unlock::KeyFile));
        assert!(message.contains("secret.key") && message.contains(&format!("{mode:04o}")) && message.contains("chmod 600"), "{message}");
    }
    for mode in [0o600, 0o400] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        dir.secrets(Unlock::KeyFile).unwrap();
    }
    // Only root may give a file away, so only root can see this.
    if std::os::unix::fs::chown(&path, Some(12_345), None).is_ok() {
        let message = failure(dir.secrets(Unlock::KeyFile));
        assert!(message.contains("user 12345"), "{message}");
    }
}

#[test]
fn a_lost_or_foreign_or_damaged_key_file_is_told_apart_and_never_replaced() {
    let (_folder, dir) = directory();
    dir.secrets(Unlock::KeyFile).unwrap().seal_now(b"s3cr3t", CRM).unwrap();
    let (path, keyring) = (dir.path().join("secret.key"), dir.path().join("keyring"));
    let key = fs::read_to_string(&path).unwrap();

    let (_other_folder, other) = directory();
    drop(other.secrets(Unlock::KeyFile).unwrap());
    fs::copy(other.path().join("secret.key"), &path).unwrap();
    assert!(failure(dir.secrets(Unlock::KeyFile)).contains("not the key"));

    for damaged in ["", "penstock secret key, format 1\n", "penstock secret key, format 2\nid x\nkey x\n"] {
        fs::write(&path, damaged).unwrap();
        assert!(failure(dir.secrets(Unlock::KeyFile)).contains("holds no key"), "{damaged:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
    }
    // The right id with another key.
    let (id, other_key) = (key.lines().nth(1).unwrap(), fs::read_to_string(other.path().join("secret.key")).unwrap());
    fs::write(&path, format!("penstock secret key, format 1\n{id}\n{}\n", other_key.lines().nth(2).unwrap())).unwrap();
    assert!(failure(dir.secrets(Unlock::KeyFile)).contains("damaged"));

    fs::remove_file(&path).unwrap();
    assert!(failure(dir.secrets(Unlock::KeyFile)).contains("is gone"));
    assert_eq!(names_in(dir.path()), ["keyring", "secret.lock"]);

    fs::copy(other.path().join("secret.key"), &path).unwrap();
    fs::write(&path, &key).unwrap();
    let whole = fs::read(&keyring).unwrap();
    fs::write(&keyring, &whole[..whole.len() / 2]).unwrap();
    assert!(failure(dir.secrets(Unlock::KeyFile)).contains("keyring is damaged"));
    fs::write(&keyring, &whole).unwrap();
    dir.secrets(Unlock::KeyFile).unwrap();
}

#[test]
fn a_passphrase_leaves_no_key_on_the_disk_and_a_wrong_one_is_recognised() {
    let (_folder, dir) = directory();
    assert!(failure(dir.secrets(phrase("short"))).contains("shorter than 8"));
    assert_eq!(names_in(dir.path()), ["secret.lock"]);
    let secrets = dir.secrets(phrase("correct horse battery")).unwrap();
    let sealed = secrets.seal_now(b"s3cr3t", CRM).unwrap();
    drop(secrets);
    assert_eq!(names_in(dir.path()), ["keyring", "secret.lock"]);
    assert_eq!(failure(dir.secrets(phrase("correct horse batterz"))), "the passphrase is wrong");
    assert!(failure(dir.secrets(Unlock::KeyFile)).contains("PENSTOCK_PASSPHRASE"));
    assert_eq!(dir.secrets(phrase("correct horse battery")).unwrap().open_now(&sealed, CRM).unwrap(), b"s3cr3t");
    assert!(!fs::read_to_string(dir.path().join("keyring")).unwrap().contains("horse"));
}

#[test]
fn the_master_key_changes_over_and_back_and_the_old_one_unlocks_no_more() {
    let (_folder, dir) = directory();
    let secrets = dir.secrets(Unlock::KeyFile).unwrap();
    let sealed = secrets.seal_now(b"s3cr3t", CRM).unwrap();
    let mut before = Unlock::KeyFile;
    let old_key = fs::read(dir.path().join("secret.key")).unwrap();
    for (to, files) in [
        (Unlock::KeyFile, ["keyring", "secret.key", "secret.lock"].as_slice()),
        (phrase("first passphrase"), &["keyring", "secret.lock"]),
        (phrase("second passphrase"), &["keyring", "secret.lock"]),
        (Unlock::KeyFile, &["keyring", "secret.key", "secret.lock"]),
    ] {
        secrets.rotate(to.clone()).unwrap();
        assert_eq!(names_in(dir.path()), files);
        assert_eq!(secrets.open_now(&sealed, CRM).unwrap(), b"s3cr3t");
        assert_eq!(dir.secrets(to.clone()).unwrap().open_now(&sealed, CRM).unwrap(), b"s3cr3t");
        if matches!((&before, &to), (Unlock::KeyFile, Unlock::KeyFile)) {
            assert_ne!(fs::read(dir.path().join("secret.key")).unwrap(), old_key);
        } else {
            failure(dir.secrets(before));
        }
        before = to;
    }
    assert!(failure(secrets.rotate(phrase("seven77"))).contains("shorter"));
    assert_eq!(dir.secrets(Unlock::KeyFile).unwrap().open_now(&sealed, CRM).unwrap(), b"s3cr3t");
    // The key of before opens nothing any more.
    fs::write(dir.path().join("secret.key"), old_key).unwrap();
    assert!(failure(dir.secrets(Unlock::KeyFile)).contains("not the key"));
}

#[test]
fn new_data_keys_seal_what_comes_and_old_ones_open_what_was() {
    let (_folder, dir) = directory();
    let secrets = dir.secrets(Unlock::KeyFile).unwrap();
    let (old, foreign) = (secrets.seal_now(b"old", CRM).unwrap(), secrets.seal_now(b"foreign", SHOP).unwrap());
    secrets.rotate_data_keys().unwrap();
    let new = secrets.seal_now(b"new", CRM).unwrap();
    let key_of = |sealed: &str| sealed.split('.').nth(1).unwrap().to_owned();
    assert_ne!(key_of(&old), key_of(&new));
    assert_ne!(key_of(&old), key_of(&foreign), "a data key for each organization");
    let again = dir.secrets(Unlock::KeyFile).unwrap();
    for (sealed, of, plain) in [(&old, CRM, "old"), (&new, CRM, "new"), (&foreign, SHOP, "foreign")] {
        assert_eq!(secrets.open_now(sealed, of).unwrap(), plain.as_bytes());
        assert_eq!(again.open_now(sealed, of).unwrap(), plain.as_bytes());
    }
}

/// A server goes on while a command rotates its keys.
#[test]
fn a_process_that_has_the_keys_open_goes_on_over_the_rotations_of_another() {
    let (_folder, dir) = directory();
    let running = dir.secrets(Unlock::KeyFile).unwrap();
    let old = running.seal_now(b"old", CRM).unwrap();
    let other = dir.secrets(Unlock::KeyFile).unwrap();
    other.rotate(Unlock::KeyFile).unwrap();
    other.rotate_data_keys().unwrap();
    let theirs = other.seal_now(b"theirs", CRM).unwrap();
    assert_eq!(running.open_now(&theirs, CRM).unwrap(), b"theirs");
    assert_eq!(running.open_now(&old, CRM).unwrap(), b"old");
    let ours = running.seal_now(b"ours", CRM).unwrap();
    assert_eq!(ours.split('.').nth(1), theirs.split('.').nth(1), "sealed under the new data key");
    // A new organization gets its key under the new master key, and nothing of the others is lost.
    let new = running.seal_now(b"new", SHOP).unwrap();
    for (sealed, of) in [(&old, CRM), (&theirs, CRM), (&ours, CRM), (&new, SHOP)] {
        other.open_now(sealed, of).unwrap();
        dir.secrets(Unlock::KeyFile).unwrap().open_now(sealed, of).unwrap();
    }
    // Under a passphrase that it does not know it still uses what it has, and makes nothing new.
    other.rotate(phrase("unknown to the running one")).unwrap();
    assert_eq!(running.open_now(&old, CRM).unwrap(), b"old");
    running.seal_now(b"more", CRM).unwrap();
    let message = failure(running.seal_now(b"x", Belongs { organization: "third", ..CRM }));
    assert!(message.contains("PENSTOCK_PASSPHRASE"), "{message}");
    other.open_now(&old, CRM).unwrap();
}

/// Does something that dies at its first, second, … step, on copies of one directory, until it comes through.
fn die_at_each_step(
    dir: &DataDir,
    act: impl Fn(&DataDir, super::Step<'_>) -> Result<(), PortError>,
    check: impl Fn(&DataDir, usize),
) -> usize {
    for step in 0.. {
        let (_folder, copy) = copied(dir);
        let mut left = step;
        let mut count = || {
            if left == 0 {
                return Err(PortError::Failed("the process dies here".to_owned()));
            }
            left -= 1;
            Ok(())
        };
        let done = act(&copy, &mut count);
        check(&copy, step);
        if done.is_ok() {
            return step;
        }
    }
    unreachable!("the steps are counted up without end")
}

#[test]
fn a_crash_at_any_step_of_the_first_keys_leaves_whole_keys_or_none() {
    let (_folder, dir) = directory();
    for unlock in [Unlock::KeyFile, phrase("a passphrase")] {
        let steps = die_at_each_step(
            &dir,
            |dir, step| EmbeddedSecrets::open_in_steps(dir, unlock.clone(), step).map(drop),
            |dir, step| {
                let secrets = dir.secrets(unlock.clone()).unwrap_or_else(|e| panic!("step {step}: {e}"));
                let sealed = secrets.seal_now(b"s3cr3t", CRM).unwrap();
                assert_eq!(dir.secrets(unlock.clone()).unwrap().open_now(&sealed, CRM).unwrap(), b"s3cr3t");
            },
        );
        assert!(steps >= 5, "{steps}");
    }
}

#[test]
fn a_crash_at_any_step_of_a_rotation_leaves_everything_readable() {
    for (from, to) in [
        (Unlock::KeyFile, Unlock::KeyFile),
        (Unlock::KeyFile, phrase("new passphrase")),
        (phrase("old passphrase"), Unlock::KeyFile),
        (phrase("old passphrase"), phrase("new passphrase")),
    ] {
        let (_folder, dir) = directory();
        let secrets = dir.secrets(from.clone()).unwrap();
        let sealed = [(secrets.seal_now(b"one", CRM).unwrap(), CRM), (secrets.seal_now(b"two", SHOP).unwrap(), SHOP)];
        let steps = die_at_each_step(
            &dir,
            |dir, step| {
                let secrets = dir.secrets(from.clone())?;
                let done = secrets.rotate_in_steps(to.clone(), step);
                // The process may as well go on after an error.
                for (text, of) in &sealed {
                    secrets.open_now(text, *of).unwrap();
                }
                done
            },
            |dir, step| {
                let reopened =
                    dir.secrets(from.clone()).or_else(|_| dir.secrets(to.clone())).unwrap_or_else(|e| panic!("step {step}: {e}"));
                for (text, of) in &sealed {
                    reopened.open_now(text, *of).unwrap_or_else(|e| panic!("step {step}: {e}"));
                }
                // It can be done again from wherever it stopped, and leaves nothing lying about.
                reopened.rotate(to.clone()).unwrap();
                for (text, of) in &sealed {
                    dir.secrets(to.clone()).unwrap().open_now(text, *of).unwrap();
                }
                let is_file = matches!(to, Unlock::KeyFile);
                let left: Vec<String> = names_in(dir.path()).into_iter().filter(|name| !name.ends_with(".partial")).collect();
                let expected: &[&str] = if is_file { &["keyring", "secret.key", "secret.lock"] } else { &["keyring", "secret.lock"] };
                assert_eq!(left, expected, "step {step}");
            },
        );
        assert!(steps >= 5, "{steps}");
    }
}

#[test]
fn a_crash_at_any_step_of_new_data_keys_leaves_everything_readable() {
    let (_folder, dir) = directory();
    let secrets = dir.secrets(Unlock::KeyFile).unwrap();
    let sealed = secrets.seal_now(b"s3cr3t", CRM).unwrap();
    let steps = die_at_each_step(
        &dir,
        |dir, step| dir.secrets(Unlock::KeyFile)?.rotate_data_keys_in_steps(step),
        |dir, step| {
            let secrets = dir.secrets(Unlock::KeyFile).unwrap();
            assert_eq!(secrets.open_now(&sealed, CRM).unwrap(), b"s3cr3t", "step {step}");
            let new = secrets.seal_now(b"new", CRM).unwrap();
            assert_eq!(dir.secrets(Unlock::KeyFile).unwrap().open_now(&new, CRM).unwrap(), b"new");
        },
    );
    assert!(steps >= 5, "{steps}");
}

#[test]
fn processes_that_make_the_first_keys_at_once_agree() {
    let (_folder, dir) = directory();
    let sealed: Vec<String> = std::thread::scope(|scope| {
        let make = || dir.secrets(Unlock::KeyFile).unwrap().seal_now(b"s3cr3t", CRM).unwrap();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let secrets = dir.secrets(Unlock::KeyFile).unwrap();
    for text in sealed {
        assert_eq!(secrets.open_now(&text, CRM).unwrap(), b"s3cr3t");
    }
}

#[test]
fn nothing_that_can_be_printed_holds_a_key_or_a_passphrase() {
    let (_folder, dir) = directory();
    let unlock = phrase("correct horse battery");
    let shown = format!("{unlock:?} {:?}", dir.secrets(unlock.clone()).unwrap());
    assert!(shown.contains("[redacted]") && !shown.contains("horse"), "{shown}");
    assert!(!failure(dir.secrets(phrase("wrong horse battery"))).contains("horse"));
}
