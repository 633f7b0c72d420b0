//! The template against AWS's own linters: `sam validate --lint` and `cfn-lint`, which know what CloudFormation takes.
//!
//! They are Python programs: `pip install aws-sam-cli==1.170.0 cfn-lint==1.58.0` into a folder whose `bin` PENSTOCK_SAM names. Neither
//! reaches the network or an account here.

use super::template::root;
use std::path::{Path, PathBuf};
use std::process::Command;

fn linters() -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("PENSTOCK_SAM")?);
    let works = |name: &str| command(&folder, name).arg("--version").output().is_ok_and(|output| output.status.success());
    (works("sam") && works("cfn-lint")).then_some(folder)
}

/// A program of the folder, with a region and credentials that open nothing.
fn command(folder: &Path, name: &str) -> Command {
    let mut command = Command::new(folder.join(name));
    command.current_dir(root()).env("SAM_CLI_TELEMETRY", "0").env("__SAM_CLI_APP_DIR", std::env::temp_dir().join("penstock-sam-settings"));
    command.env("AWS_DEFAULT_REGION", "eu-central-1").env("AWS_ACCESS_KEY_ID", "none").env("AWS_SECRET_ACCESS_KEY", "none");
    command.env("AWS_EC2_METADATA_DISABLED", "true").env_remove("AWS_PROFILE");
    // Whatever would go out goes to a port where nobody is.
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
        command.env(name, "http://127.0.0.1:9");
    }
    command
}

#[test]
fn aws_has_nothing_to_say_against_the_template() {
    let Some(folder) = linters() else {
        let why = "SKIPPED: sam and cfn-lint are not here; `pip install aws-sam-cli==1.170.0 cfn-lint==1.58.0`, and name the bin folder with PENSTOCK_SAM";
        assert!(
            std::env::var_os("PENSTOCK_STRICT").is_none_or(|strict| strict != "1"),
            "{why}, and PENSTOCK_STRICT=1 lets nothing be skipped"
        );
        eprintln!("{why}");
        return;
    };
    // Both architectures are one template, and both environments of samconfig.toml are read.
    let table: [(&str, &[&str]); 3] = [
        ("cfn-lint", &["infra/template.yaml"]),
        ("sam", &["validate", "--lint", "--config-env", "dev"]),
        ("sam", &["validate", "--lint", "--config-env", "prod"]),
    ];
    for (name, arguments) in table {
        let output = command(&folder, name).args(arguments).output().expect("it can be started");
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{name} {}: {said}", arguments.join(" "));
        if name == "sam" {
            assert!(said.contains("infra/template.yaml is a valid SAM Template"), "{said}");
        }
    }
}
