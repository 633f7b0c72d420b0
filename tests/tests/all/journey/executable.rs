//! Finding the executables `penstock` and those of the functions, so that the tests run what was built from these sources. It must not know what is tested.
//!
//! Cargo builds a package's executables for its own integration tests only, and these tests stand in a package of their own. So each
//! executable is taken from beside the tests' own (`target/PROFILE/penstock`) where it is newer than every source that it was built of
//! (cargo lists them in `penstock.d`); else it is built by the same cargo, with the same profile and the same features, by one
//! process at a time. `PENSTOCK_EXECUTABLE` and `PENSTOCK_FUNCTIONS` (a folder) name others to be
//! tested, release builds say.

use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// The executable to test; built if it is missing or older than its sources.
pub fn penstock() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| match std::env::var_os("PENSTOCK_EXECUTABLE") {
        Some(named) => std::path::absolute(named).expect("PENSTOCK_EXECUTABLE names a file"),
        None => find(&Place::of_this_test(), "penstock"),
    })
}

/// The folder that holds the functions' executables, current ones.
pub fn functions() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| match std::env::var_os("PENSTOCK_FUNCTIONS") {
        Some(named) => std::path::absolute(named).expect("PENSTOCK_FUNCTIONS names a folder"),
        None => {
            let place = Place::of_this_test();
            for name in ["configure", "plan", "deliver"] {
                find(&place, name);
            }
            place.folder
        }
    })
}

/// Where cargo puts what it builds as it built this test.
struct Place {
    target: PathBuf,
    /// Of `--target`, if it was given.
    triple: Option<String>,
    /// The folder's name: that of the profile, but for `debug`.
    profile: String,
    folder: PathBuf,
}

impl Place {
    fn of_this_test() -> Place {
        let own = std::env::current_exe().expect("a test knows its own executable");
        // target/[TRIPLE/]PROFILE/deps/all-HASH
        let folder = own.parent().and_then(Path::parent).expect("cargo puts tests two folders deep").to_path_buf();
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let above = folder.parent().expect("a profile's folder lies in the target folder");
        // Cargo marks the target folder and nothing below it.
        let (target, triple) = match above.join("CACHEDIR.TAG").exists() {
            true => (above.to_path_buf(), None),
            false => (above.parent().unwrap_or(above).to_path_buf(), Some(name(above))),
        };
        Place { target, triple, profile: name(&folder), folder: folder.clone() }
    }

    fn executable(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
    }
}

fn find(place: &Place, name: &str) -> PathBuf {
    let executable = place.executable(name);
    if is_current(&executable) {
        return executable;
    }
    let path = place.folder.join("penstock.journey.lock");
    let turn = File::create(&path).unwrap_or_else(|error| panic!("{} cannot be made: {error}", path.display()));
    turn.lock().unwrap_or_else(|error| panic!("{} cannot be locked: {error}", path.display()));
    // Another test process may have built it while this one waited for its turn.
    if !is_current(&executable) {
        build(place, name);
    }
    executable
}

/// Whether it is there and newer than everything it was built of.
fn is_current(executable: &Path) -> bool {
    let modified = |path: &Path| std::fs::metadata(path).and_then(|meta: Metadata| meta.modified()).ok();
    let (Some(built), Ok(list)) = (modified(executable), std::fs::read_to_string(executable.with_extension("d"))) else { return false };
    let Some((_, sources)) = list.split_once(": ") else { return false };
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
    let older = |time: Option<SystemTime>| time.is_some_and(|time| time <= built);
    // A space in a path is written as `\ `.
    sources.replace("\\ ", "\0").split_whitespace().all(|source| older(modified(Path::new(&source.replace('\0', " ")))))
        && older(modified(&manifest))
}

fn build(place: &Place, name: &str) {
    let profile = if place.profile == "debug" { "dev" } else { &place.profile };
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    // With `--tests` the dependencies have the features that they have for the tests, and nothing is built twice.
    command.args(["build", "--workspace", "--tests", "--bin", name, "--profile", profile, "--target-dir"]).arg(&place.target);
    if let Some(triple) = &place.triple {
        command.args(["--target", triple]);
    }
    // What cargo set for this test would make it think that build scripts have to run again.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR" || name == "CARGO_MANIFEST_PATH" {
            command.env_remove(name);
        }
    }
    let output = command.output().unwrap_or_else(|error| panic!("cargo cannot be started to build {name}: {error}"));
    assert!(output.status.success(), "{name} does not build:\n{}", String::from_utf8_lossy(&output.stderr));
}
