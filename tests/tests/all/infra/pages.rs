//! docs/deploy.md beside the template: its tables of parameters, outputs and alarms are made from it. `PENSTOCK_WRITE_DOCS=1` writes them.

use super::template::{Template, root, text};

/// The table between the marks of `part`, as the template has it.
fn table(template: &Template, part: &str) -> String {
    let mut lines = vec![];
    match part {
        "parameters" => {
            lines.push("| parameter | default | what it is |\n|---|---|---|".to_string());
            for (name, parameter) in template.part("Parameters") {
                let default = match parameter["Default"].as_str() {
                    Some("") => String::new(),
                    Some(text) => format!("`{text}`"),
                    None => format!("`{}`", parameter["Default"]),
                };
                lines.push(format!("| `{name}` | {default} | {} |", description(name, &parameter["Description"])));
            }
        }
        "outputs" => {
            lines.push("| output | what it is |\n|---|---|".to_string());
            for (name, output) in template.part("Outputs") {
                lines.push(format!("| `{name}` | {} |", description(name, &output["Description"])));
            }
        }
        other => panic!("{other}"),
    }
    lines.join("\n")
}

fn description(name: &str, description: &serde_json::Value) -> String {
    let words = description.as_str().unwrap_or_else(|| panic!("{name} has no description")).trim();
    assert!(words.ends_with('.'), "{name}: the description is no sentence");
    words.to_string()
}

/// The text before, between and behind the marks of `part`.
fn cut<'a>(page: &'a str, part: &str) -> [&'a str; 3] {
    let (open, close) = (format!("<!-- {part}: made from infra/template.yaml -->\n"), format!("\n<!-- end of {part} -->"));
    let start = page.find(&open).unwrap_or_else(|| panic!("docs/deploy.md has no `{}`", open.trim())) + open.len();
    let end = page.find(&close).unwrap_or_else(|| panic!("docs/deploy.md has no `{}`", close.trim()));
    [&page[..start], &page[start..end], &page[end..]]
}

#[test]
fn the_page_on_deployment_lists_every_parameter_and_output_as_the_template_has_them() {
    let template = Template::read();
    let mut page = text("docs/deploy.md");
    for part in ["parameters", "outputs"] {
        let table = table(&template, part);
        if std::env::var_os("PENSTOCK_WRITE_DOCS").is_some_and(|write| write == "1") {
            let [before, _, behind] = cut(&page, part);
            page = format!("{before}{table}{behind}");
            std::fs::write(root().join("docs/deploy.md"), &page).expect("the page can be written");
        }
        assert_eq!(cut(&page, part)[1], table, "left is docs/deploy.md, right the template; PENSTOCK_WRITE_DOCS=1 writes it");
    }
}

/// An alarm that says nothing of what to do is noise.
#[test]
fn the_page_on_deployment_says_what_to_do_at_each_alarm() {
    let template = Template::read();
    let page = text("docs/deploy.md");
    let found: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name)).collect();
    for (name, _) in template.of_type("AWS::CloudWatch::Alarm") {
        assert_eq!(found.iter().filter(|row| **row == name).count(), 1, "docs/deploy.md has a line on {name}");
    }
    let alarms: Vec<&str> = template.of_type("AWS::CloudWatch::Alarm").into_iter().map(|(name, _)| name).collect();
    for row in found.iter().filter(|row| row.ends_with("Alarm")) {
        assert!(alarms.contains(row), "docs/deploy.md has a line on {row}, which is not there");
    }
}
