//! The API's description: current, and true to what is served.

use super::stage::on_stage;
use std::path::Path;

#[test]
fn the_committed_description_is_the_one_that_is_served() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join("docs/openapi.json");
    let text = api::document_text();
    if std::env::var_os("PENSTOCK_WRITE_DOCS").is_some() {
        std::fs::write(&path, &text).expect("docs/openapi.json can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == text, "docs/openapi.json is out of date; run the tests once with PENSTOCK_WRITE_DOCS=1");
    on_stage(async |stage| {
        let answered = stage.ask("GET", "/v1/openapi.json").send().await;
        assert_eq!((answered.status, answered.text() == text), (200, true));
    });
}
