//! `penstock key`, and how a data directory's secrets are unlocked. It must not print a passphrase.

use crate::args::{Global, KeyCommand, Protection};
use crate::failure::Failure;
use crate::token::data_dir;
use backend_embedded::{DataDir, EmbeddedSecrets, Passphrase, Unlock};
use serde_json::json;

/// The variables that hold a passphrase, or name its file, now and after a change.
const PASSPHRASE: &str = "PENSTOCK_PASSPHRASE";
const NEW_PASSPHRASE: &str = "PENSTOCK_NEW_PASSPHRASE";

/// The longest passphrase file, bytes.
const LONGEST: u64 = 4096;

/// The secrets of a data directory, under its key file or under the passphrase that the environment gives.
pub fn secrets(data: &DataDir) -> Result<EmbeddedSecrets, Failure> {
    Ok(data.secrets(passphrase(PASSPHRASE)?.map_or(Unlock::KeyFile, Unlock::Passphrase))?)
}

/// `penstock key rotate`
pub fn key(global: &Global, command: &KeyCommand) -> Result<u8, Failure> {
    let KeyCommand::Rotate { to, data_keys } = command;
    let old = passphrase(PASSPHRASE)?;
    let to = match to {
        None if old.is_some() => Protection::Passphrase,
        None => Protection::KeyFile,
        Some(to) => *to,
    };
    let new = match to {
        Protection::KeyFile => Unlock::KeyFile,
        Protection::Passphrase => {
            let new = passphrase(NEW_PASSPHRASE)?.or_else(|| old.clone());
            let missing = || Failure::usage(format!("which passphrase? Set {NEW_PASSPHRASE}, or name its file in {NEW_PASSPHRASE}_FILE"));
            Unlock::Passphrase(new.ok_or_else(missing)?)
        }
    };
    let data = DataDir::open(data_dir(global))?;
    let secrets = data.secrets(old.map_or(Unlock::KeyFile, Unlock::Passphrase))?;
    secrets.rotate(new)?;
    if *data_keys {
        secrets.rotate_data_keys()?;
    }
    let word = match to {
        Protection::KeyFile => "key_file",
        Protection::Passphrase => "passphrase",
    };
    match global.json {
        true => say!("{}", json!({"protection": word, "data_keys": data_keys})),
        false if to == Protection::KeyFile => say!("the secrets are under a new key file: {}", data.path().join("secret.key").display()),
        false => say!("the secrets are under the new passphrase"),
    }
    Ok(0)
}

/// The passphrase of a variable, or of the file that the variable with `_FILE` behind it names, without the line feed at its end.
fn passphrase(variable: &str) -> Result<Option<Passphrase>, Failure> {
    let file_variable = format!("{variable}_FILE");
    let text = match (std::env::var_os(variable), std::env::var_os(&file_variable)) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return Err(Failure::usage(format!("{variable} and {file_variable} are both set: take one back"))),
        (Some(text), None) => text.into_string().map_err(|_| Failure::usage(format!("{variable} is not UTF-8 text")))?,
        (None, Some(path)) => {
            let path = std::path::PathBuf::from(path);
            let wrong = |why: String| Failure::usage(format!("{file_variable}: {} cannot be used: {why}", path.display()));
            let length = std::fs::metadata(&path).map_err(|e| wrong(e.to_string()))?.len();
            if length > LONGEST {
                return Err(wrong(format!("it has {length} bytes, and a passphrase {LONGEST} at most")));
            }
            let text = std::fs::read_to_string(&path).map_err(|e| wrong(e.to_string()))?;
            text.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text).to_string()).unwrap_or(text)
        }
    };
    if text.is_empty() {
        return Err(Failure::usage(format!("the passphrase of {variable} is empty: take the variable back, or fill it")));
    }
    Ok(Some(Passphrase::new(text)))
}
