//! The reference page of the project file, docs/project-file.md, made from the tables of keys. It must not add facts of its own.

use super::keys::{Key, SECTIONS, Section};

/// The whole page, Markdown.
pub fn page() -> String {
    let mut page = String::from(
        "# The project file\n\n\
         Every key of penstock.yaml in this version. JSON is accepted wherever YAML is. Unknown keys are refused.\n\n\
         `${NAME}` is replaced from the environment in the keys marked with $, and nowhere else; `$${` stands for `${`.\n\
         Durations are written like `30s`, `15m`, `1h`, `7d`, or as a number of seconds. A key without a default must be written.\n\n\
         This page is made from the parser's own table; `penstock validate` checks a file against it.\n",
    );
    for section in SECTIONS {
        page.push_str(&chapter(section));
    }
    page
}

fn chapter(section: &Section) -> String {
    let title = if section.place.is_empty() { "the top".to_string() } else { format!("`{}`", section.place) };
    let mut text = format!("\n## {title}\n\n{}\n\n| key | value | default | example | |\n|---|---|---|---|---|\n", section.about);
    for key in section.keys.iter().filter(|key| !key.later) {
        text.push_str(&row(key));
    }
    let later: Vec<String> = section.keys.iter().filter(|key| key.later).map(|key| format!("`{}`", key.name)).collect();
    if !later.is_empty() {
        text.push_str(&format!("\nNot available in this version: {}.\n", later.join(", ")));
    }
    text
}

fn row(key: &Key) -> String {
    let mark = if key.environment { " $" } else { "" };
    let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{}`", text.replace('|', "\\|")) };
    format!("| `{}`{mark} | {} | {} | {} | {} |\n", key.name, key.kind, key.default.replace('|', "\\|"), code(key.example), key.about)
}
