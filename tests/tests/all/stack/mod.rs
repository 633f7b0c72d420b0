//! A stack: the three Lambda executables with queues, table and bucket on moto. Journeys that are the same on one machine stand with
//! `serve`; here is what only a stack does.

mod batches;
mod commands;
mod faults;
mod parts;
mod sources;

use crate::journey::executable::functions;
use crate::journey::stage::{Stage, files_below};
use serde_json::{Value, json};
use tests::aws::{Proxy, moto};
use tests::stack::{Setting, Stack};

/// Whether a stack can be set up here; if not, that was said.
pub(crate) fn is_here() -> bool {
    moto().is_some()
}

/// A stack on which all goes well.
pub(crate) fn setting() -> Setting {
    Setting::new(functions())
}

/// A proxy in front of moto, and a stack that reaches AWS through it.
pub(crate) fn behind_a_proxy() -> (Proxy, Setting) {
    let proxy = Proxy::start(moto().expect("moto is here").address());
    let setting = Setting { endpoint: Some(proxy.address()), ..setting() };
    (proxy, setting)
}

/// Starts a stack.
pub(crate) fn start(_stage: &Stage, setting: Setting) -> Stack {
    Stack::start(moto().expect("whoever starts a stack has asked whether moto is here"), setting)
}

/// Puts the files of a stage into the stack's bucket, and has the project's models read them there.
pub(crate) fn put_files(stack: &Stack, stage: &Stage, project: &mut Value) {
    let root = stage.path("");
    for file in files_below(&root) {
        let name = file.strip_prefix(&root).expect("below the stage").to_string_lossy().into_owned();
        if name == "penstock.yaml" || name.starts_with('.') {
            continue;
        }
        let bytes = std::fs::read(&file).expect("a stage's file can be read");
        stack.put_object(moto().expect("moto is here"), &format!("rows/{name}"), bytes);
    }
    for model in project["models"].as_object_mut().into_iter().flatten().map(|(_, model)| model) {
        if model["source"]["type"] == "file"
            && let Some(path) = model["source"]["path"].as_str()
        {
            model["source"]["path"] = json!(format!("s3://{}/rows/{path}", stack.parts.names.bucket));
        }
    }
}
