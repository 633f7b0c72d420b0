//! A disk that is full: a clear error, and with more space a rerun delivers everything.

use super::executable::penstock;
use super::stage::{People, Running, Stage, assert_holds, keep, one_by_one, project};
use std::io::Write;
use std::process::Command;
use tests::receiver::{Action, Always};

/// Says that a test could not do its work here, past the harness, which would swallow it; fails where nothing may be skipped.
fn skip(why: &str) {
    assert!(std::env::var_os("PENSTOCK_STRICT").is_none_or(|strict| strict != "1"), "{why}, and PENSTOCK_STRICT=1 lets nothing be skipped");
    std::io::stderr().write_all(format!("SKIPPED: {why}\n").as_bytes()).expect("standard error is there");
}

/// The data directory lies on a small disk with a ballast that leaves less room than a run needs: less than it takes to open it, less
/// than a plan, less than the log of the attempts. Then the ballast goes.
const SCRIPT: &str = r#"
    mount -t tmpfs -o size=48m none "$1" || exit 99
    for room in 8 200 300 450 600 1200; do
        size=$(( $(df -k --output=avail "$1" | tail -n 1) + $(du -k "$1/ballast" 2> /dev/null | cut -f 1 || true) + 0 - room ))
        head -c $((size * 1024)) /dev/zero > "$1/ballast" || exit 98
        "$2" run news --allow-private --json --data-dir "$1/data"
        echo "room $room: exit $?" >&2
    done
    rm "$1/ballast"
    "$2" run news --allow-private --json --data-dir "$1/data"
    echo "at last: exit $?" >&2
"#;

/// HT-51
#[test]
fn a_full_disk_stops_a_run_with_a_clear_error_and_with_room_everything_is_delivered() {
    let works = Command::new("unshare").args(["-rm", "true"]).status().is_ok_and(|status| status.success());
    if !works {
        return skip("the test of a full disk needs `unshare -rm`, to mount a small disk");
    }
    let (receiver, held) = keep(Always(Action::status(200)), 0.0, 1);
    let mut project = project(&receiver.url());
    one_by_one(&mut project);
    let stage = Stage::new(&project);
    let people = People::new(3000);
    stage.people(&people);
    let disk = stage.path("disk");
    std::fs::create_dir(&disk).unwrap();
    let mut command = Command::new("unshare");
    command.current_dir(stage.path("")).args(["-rm", "sh", "-c", SCRIPT, "sh"]).arg(&disk).arg(penstock());
    let ended = Running::new(command).end().expect(0);
    assert!(ended.stderr.contains("at last: exit 0"), "{ended:?}");
    let statuses: Vec<&str> = ended.stderr.lines().filter(|line| line.starts_with("room ")).collect();
    assert_eq!(statuses.len(), 6, "{ended:?}");
    assert!(statuses[0].ends_with("exit 1") && statuses[1].ends_with("exit 1"), "{statuses:?}");
    for (status, object) in statuses.iter().zip(ended.objects()) {
        match object["error"].as_str() {
            Some(error) => {
                assert!(status.ends_with("exit 1") && error.contains("no space") && error.contains("free some"), "{status}: {error}")
            }
            None => assert!(status.ends_with("exit 0"), "{status}: {object}"),
        }
    }
    // What was sent while its answer could not be recorded came again under its key, with its bytes.
    assert_holds(&held, &people);
    let arrived = receiver.count();
    assert!(arrived >= 3000, "{arrived}");
}
