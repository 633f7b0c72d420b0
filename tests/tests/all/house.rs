//! The rules of the house, as tests: who may import whom, what the engine may not touch, how files are named and how long they are.
//! Each rule is an absence, and its failure names the file and the way out. It must not build or start anything of the product.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Who may import whom of ours, by package. The list is exact: a package that is missing or new belongs here, with a reason.
const IMPORTS: [(&str, &[&str]); 14] = [
    // The core imports nobody.
    ("engine", &[]),
    // Its siblings import the core, never each other.
    ("api", &["engine"]),
    ("backend-aws", &["engine"]),
    ("backend-embedded", &["engine"]),
    ("rows", &["engine"]),
    ("transport", &["engine"]),
    // What any process brings along, and what any process that plans does.
    ("process", &["engine"]),
    ("planning", &["engine", "process", "rows"]),
    // What the functions share, and the functions: one backend, and what each needs of the others.
    ("stack", &["backend-aws", "engine", "process", "transport"]),
    ("configure", &["api", "backend-aws", "engine", "process", "stack"]),
    ("plan", &["backend-aws", "engine", "planning", "process", "rows", "stack"]),
    ("deliver", &["engine", "process", "stack"]),
    // The executable wires them.
    ("penstock", &["api", "backend-embedded", "engine", "planning", "process", "rows", "transport"]),
    // Tests may see everything; nobody sees them.
    ("tests", &["api", "backend-aws", "backend-embedded", "engine", "planning", "process", "rows", "transport"]),
];

/// What a package may not reach, through whatever it imports: the reason that it is a package of its own. `aws*` stands for all names
/// that start so.
const UNREACHABLE: [(&str, &[&str]); 8] = [
    ("engine", &["tokio", "hyper", "reqwest", "axum", "aws*", "rusqlite", "arrow*", "parquet", "rand", "getrandom", "rustls", "chrono"]),
    ("api", &["reqwest", "aws*", "rusqlite", "arrow*", "parquet", "rustls"]),
    // One HTTP client, the SDK's, S3 included; and no chain of credentials that asks other services.
    ("backend-aws", &["reqwest", "axum", "rusqlite", "arrow*", "parquet", "aws-config", "aws-sdk-s3", "aws-sdk-sts", "aws-lc*"]),
    ("backend-embedded", &["hyper", "reqwest", "axum", "aws*", "arrow*", "parquet", "rustls"]),
    // It reaches tokio and rustls through the way to a model's database, and nothing else of a network.
    ("rows", &["hyper", "reqwest", "axum", "aws*", "rusqlite"]),
    ("transport", &["axum", "aws*", "rusqlite", "arrow*", "parquet"]),
    // A function that starts ten times a second must be small.
    ("deliver", &["reqwest", "axum", "rusqlite", "arrow*", "parquet"]),
    ("penstock", &["aws*"]),
];

/// A second one of what there is one of: TLS stack, JSON library, runtime, HTTP client.
const SECOND_ONES: [&str; 12] =
    ["openssl", "openssl-sys", "native-tls", "aws-lc-rs", "async-std", "smol", "reqwest", "ureq", "isahc", "simd-json", "sonic-rs", "json"];

/// What the engine's sources may not hold: time, chance, the environment, the network and threads come in as arguments.
const NOT_IN_ENGINE: [&str; 16] = [
    "SystemTime",
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
    "std::env",
    "env::var",
    "std::net",
    "std::process",
    "std::thread",
    "thread::spawn",
    "thread::sleep",
    "rand::",
    "RandomState",
    "println!",
    "eprintln!",
    "std::io::stdin",
];

/// Where the engine opens files: a plan's rows lie in one, and `Objects::local` hands it over as a path.
const ENGINE_OPENS_FILES: [&str; 3] =
    ["shared/engine/src/deliver/drive.rs", "shared/engine/src/plan/requests.rs", "shared/engine/src/run/finish.rs"];

/// Names that say nothing of what is in a module.
const EMPTY_NAMES: [&str; 9] = ["utils", "util", "helpers", "helper", "common", "misc", "manager", "service", "services"];

/// What is not finished, or is hidden.
const UNFINISHED: [&str; 4] = ["todo!", "unimplemented!", "#[ignore", "FIXME"];

/// Paths that exist on one machine only.
const MACHINE_PATHS: [&str; 4] = ["/home/", "/root/", "/Users/", "/work/"];

/// The longest file, lines. Some 500 is the aim; beyond this a file holds two things.
const LONGEST_FILE: usize = 700;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace").to_path_buf()
}

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(arguments).current_dir(root()).output().expect("cargo starts");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo prints text")
}

/// The packages of the workspace as cargo sees them.
fn packages() -> BTreeMap<String, Value> {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps", "--offline"])).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    packages.iter().map(|package| (package["name"].as_str().expect("a name").to_string(), package.clone())).collect()
}

/// A file of the repository: its path from the root, with `/`, and its text.
struct Page {
    path: String,
    text: String,
}

impl Page {
    /// Its lines up to the unit tests at its end, with their numbers.
    fn lines_of_the_product(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines: Vec<&str> = self.text.lines().collect();
        let tests = lines.windows(2).position(|pair| pair[0].trim() == "#[cfg(test)]" && pair[1].starts_with("mod tests {"));
        let end = tests.unwrap_or(lines.len());
        lines.into_iter().take(end).enumerate().map(|(index, line)| (index + 1, line))
    }

    fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.path.contains("/tests/") || self.path.ends_with("/tests.rs")
    }
}

/// Every text file that belongs to the repository, this one aside: it names what it forbids.
fn pages() -> Vec<Page> {
    let mut pages = Vec::new();
    walk(&root(), &mut pages);
    let own = pages.iter().position(|page| page.path == "tests/tests/all/house.rs").expect("this file is found");
    pages.swap_remove(own);
    assert!(pages.len() > 100, "the walk finds the repository: {} files", pages.len());
    pages
}

fn walk(folder: &Path, pages: &mut Vec<Page>) {
    const LEFT_OUT: [&str; 6] = ["target", ".git", ".penstock", ".receiver", "node_modules", "__pycache__"];
    for entry in std::fs::read_dir(folder).expect("a folder of the repository can be listed") {
        let path = entry.expect("an entry can be read").path();
        let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
        // Whatever their name, build folders carry this mark.
        if LEFT_OUT.contains(&name.as_str()) || path.join("CACHEDIR.TAG").exists() || path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            walk(&path, pages);
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            let path = path.strip_prefix(root()).expect("below the root").to_string_lossy().replace('\\', "/");
            pages.push(Page { path, text });
        }
    }
}

fn sources() -> Vec<Page> {
    pages().into_iter().filter(|page| page.path.ends_with(".rs")).collect()
}

fn assert_none(found: Vec<String>, rule: &str) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

/// Whether a word stands in a line, and not as the end of a longer one.
fn holds(line: &str, word: &str) -> bool {
    let alone = |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| !word.starts_with(char::is_alphanumeric) || alone(at))
}

/// Each place where one of these words stands in what `lines` gives of a page.
fn occurrences<'a>(page: &'a Page, words: &'a [&str]) -> impl Iterator<Item = String> + 'a {
    page.text.lines().enumerate().flat_map(move |(index, line)| {
        words.iter().filter(|word| holds(line, word)).map(move |word| format!("{}:{}: {word}", page.path, index + 1))
    })
}

#[test]
fn packages_import_whom_the_table_says() {
    let packages = packages();
    let found: BTreeMap<&str, BTreeSet<&str>> = packages
        .iter()
        .map(|(name, package)| {
            let imports = package["dependencies"].as_array().expect("dependencies").iter();
            let ours = imports.filter_map(|import| import["name"].as_str()).filter(|import| packages.contains_key(*import));
            (name.as_str(), ours.collect())
        })
        .collect();
    let table: BTreeMap<&str, BTreeSet<&str>> = IMPORTS.iter().map(|(name, imports)| (*name, imports.iter().copied().collect())).collect();
    assert_eq!(found, table, "left is what the manifests say, right what IMPORTS in tests/tests/all/house.rs allows");
}

#[test]
fn packages_cannot_reach_what_they_are_kept_apart_from() {
    let mut found = Vec::new();
    for (package, forbidden) in UNREACHABLE {
        let tree = cargo(&["tree", "--offline", "--package", package, "--edges", "normal", "--prefix", "none", "--format", "{p}"]);
        let reached: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        assert!(reached.contains(package) && reached.len() > 3, "the tree of {package}: {reached:?}");
        for name in reached {
            let is = |rule: &&str| rule.strip_suffix('*').map_or(*rule == name, |start| name.starts_with(start));
            if forbidden.iter().any(is) {
                found.push(format!("{package} reaches {name}: `cargo tree -p {package} -e normal -i {name}` shows how"));
            }
        }
    }
    assert_none(found, "a crate is defined by what it may not import");
}

#[test]
fn there_is_no_second_tls_stack_json_library_runtime_or_client() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock");
    let names = lock.lines().filter_map(|line| line.strip_prefix("name = \"")).filter_map(|line| line.strip_suffix('"'));
    let names: BTreeSet<&str> = names.collect();
    assert!(names.contains("engine") && names.contains("rustls"), "Cargo.lock lists packages");
    assert_none(SECOND_ONES.iter().filter(|name| names.contains(**name)).map(|name| name.to_string()).collect(), "one of each is enough");
}

#[test]
fn versions_and_features_stand_in_the_root_manifest_only() {
    let mut found = Vec::new();
    for page in pages().iter().filter(|page| page.path.ends_with("/Cargo.toml")) {
        let mut in_dependencies = false;
        for (index, line) in page.text.lines().enumerate() {
            let line = line.trim();
            if let Some(section) = line.strip_prefix('[') {
                in_dependencies = section.trim_end_matches(']').ends_with("dependencies");
                // `[dependencies.x]` would hide a version in a section of its own.
                if section.contains("dependencies.") {
                    found.push(format!("{}:{}: {line}", page.path, index + 1));
                }
            } else if in_dependencies && !line.is_empty() && !line.starts_with('#') && !line.ends_with(".workspace = true") {
                found.push(format!("{}:{}: {line}", page.path, index + 1));
            }
        }
    }
    assert_none(found, "write `name.workspace = true`, with version and features in the root's [workspace.dependencies]");
}

#[test]
fn every_package_takes_the_workspaces_lints() {
    let missing = pages()
        .into_iter()
        .filter(|page| page.path.ends_with("/Cargo.toml") && !page.text.contains("[lints]\nworkspace = true"))
        .map(|page| page.path);
    assert_none(missing.collect(), "add [lints] with `workspace = true`");
}

#[test]
fn the_engine_knows_no_time_chance_environment_network_or_thread() {
    let mut found = Vec::new();
    let mut opens = BTreeSet::new();
    for page in sources().iter().filter(|page| page.path.starts_with("shared/engine/src/") && !page.is_test()) {
        for (number, line) in page.lines_of_the_product().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            found.extend(NOT_IN_ENGINE.iter().filter(|word| holds(line, word)).map(|word| format!("{}:{number}: {word}", page.path)));
            if line.contains("std::fs") || line.contains("File::") || line.contains("OpenOptions") {
                opens.insert(page.path.clone());
            }
        }
    }
    assert_none(found, "it comes in as an argument or through a port");
    let allowed: BTreeSet<String> = ENGINE_OPENS_FILES.iter().map(|path| path.to_string()).collect();
    assert_none(opens.difference(&allowed).cloned().collect(), "the engine opens plans only, in the files that ENGINE_OPENS_FILES lists");
}

#[test]
fn every_source_file_opens_with_what_it_is_for() {
    let silent = sources().into_iter().filter(|page| !page.text.starts_with("//! ")).map(|page| page.path);
    assert_none(silent.collect(), "open it with `//!`: what it is for, and what it must not do");
}

#[test]
fn no_source_file_is_longer_than_can_be_read_at_once() {
    let lengths = sources().into_iter().map(|page| (page.text.lines().count(), page.path));
    let long = lengths.filter(|(lines, _)| *lines > LONGEST_FILE).map(|(lines, path)| format!("{path}: {lines} lines"));
    assert_none(long.collect(), "cut it in two");
}

#[test]
fn no_module_has_a_name_that_says_nothing() {
    let says_nothing = |path: &String| path.trim_end_matches(".rs").split('/').any(|part| EMPTY_NAMES.contains(&part));
    assert_none(sources().into_iter().map(|page| page.path).filter(says_nothing).collect(), "name it after what it holds");
}

#[test]
fn nothing_is_left_unfinished_or_ignored() {
    let found = sources().iter().flat_map(|page| occurrences(page, &UNFINISHED).collect::<Vec<_>>()).collect();
    assert_none(found, "finish it, or take it out");
}

#[test]
fn every_lint_that_is_switched_off_says_why() {
    let mut found = Vec::new();
    for page in sources() {
        // An attribute may go over several lines.
        for (at, _) in page.text.match_indices("[allow(").chain(page.text.match_indices("[expect(")) {
            let attribute = page.text[at..].split_once(")]").map_or(&page.text[at..], |(inside, _)| inside);
            if !attribute.contains("reason = \"") {
                let number = page.text[..at].lines().count();
                found.push(format!("{}:{number}: {attribute})]", page.path));
            }
        }
    }
    assert_none(found, "add `reason = \"…\"`, or make the lint content");
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    let found = pages().iter().flat_map(|page| occurrences(page, &MACHINE_PATHS).collect::<Vec<_>>()).collect();
    assert_none(found, "write it relative to the repository, or take it from the environment");
}

#[test]
fn no_document_links_to_what_is_not_there() {
    let mut found = Vec::new();
    for page in pages().iter().filter(|page| page.path.ends_with(".md")) {
        let folder = root().join(&page.path).parent().expect("a file lies in a folder").to_path_buf();
        let links = page.text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
        for link in links.filter(|link| !link.contains("://") && !link.starts_with('#')) {
            let file = link.split('#').next().unwrap_or(link);
            if !folder.join(file).exists() {
                found.push(format!("{}: {link}", page.path));
            }
        }
    }
    assert_none(found, "correct the link, or write what it leads to");
}

/// The README's two commands, and .ci/run, are one thing said twice.
#[test]
fn the_readme_and_ci_run_the_same_tests() {
    let text = |path: &str| std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let (readme, ci) = (text("README.md"), text(".ci/run"));
    let commands: Vec<&str> = readme.lines().map(str::trim).filter(|line| line.starts_with("cargo test")).collect();
    let [command, ..] = commands[..] else { panic!("README.md has the test command on a line of its own") };
    assert!(commands.iter().all(|other| *other == command), "README.md has one test command: {commands:?}");
    let called: Vec<&str> = ci.lines().map(str::trim).filter(|line| line.starts_with("cargo test")).collect();
    let called: Vec<&str> = called.into_iter().map(|line| line.split(" 2>").next().unwrap_or(line)).collect();
    assert_eq!(called, [command], ".ci/run calls the README's test command, once");
    assert!(readme.contains("bash examples/newsletter/try.sh"), "README.md has the example's command");
    assert!(root().join("examples/newsletter/try.sh").exists());
}
