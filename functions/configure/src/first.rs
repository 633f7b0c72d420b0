//! The first token of an organization: who may invoke the function may have it made. It must not be reachable over HTTP.

use crate::office::StackOffice;
use api::Office;
use engine::model::name::Name;
use engine::port::Clock;
use engine::token::{self, Scope, Wanted};
use lambda_runtime::Error;
use serde::Deserialize;
use serde_json::{Value, json};

/// What the function takes when it is invoked by hand: `{"penstock": {"create_token": {…}}}`.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Command {
    CreateToken(CreateToken),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateToken {
    organization: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    scopes: Option<Vec<String>>,
}

/// Carries out a command and gives its answer. What is wrong with the command is part of the answer.
///
/// # Errors
/// The store failed.
pub async fn command(office: &StackOffice, command: &Value) -> Result<Value, Error> {
    let refused = |error: String| Ok(json!({"error": error}));
    let wanted = match Command::deserialize(command) {
        Ok(Command::CreateToken(wanted)) => wanted,
        Err(error) => return refused(format!("the command cannot be read: {error}")),
    };
    let organization = match Name::new(&wanted.organization) {
        Ok(organization) => organization,
        Err(error) => return refused(format!("organization: {error}")),
    };
    let words = wanted.scopes.unwrap_or_else(|| vec!["read".into(), "write".into(), "send".into()]);
    let scopes = match Scope::parse_list(&words.join(",")) {
        Ok(scopes) => scopes,
        Err(error) => return refused(format!("scopes: {error}")),
    };
    let name = wanted.name.unwrap_or_else(|| "first".to_string());
    make(office, &organization, &name, scopes).await
}

async fn make(office: &StackOffice, organization: &Name, name: &str, scopes: Vec<Scope>) -> Result<Value, Error> {
    let wanted = Wanted { organization, name, scopes: &scopes, expires_at: None };
    let now = office.stack.clock.now().wall;
    match token::create(office.store(), wanted, office.random(), now).await? {
        Ok(fresh) => Ok(json!({"organization": organization, "id": fresh.token.id, "text": fresh.text.reveal()})),
        Err(problems) => {
            let problems: Vec<Value> = problems.iter().map(|p| json!({"path": p.path, "message": p.message})).collect();
            Ok(json!({"error": "the token cannot be made", "problems": problems}))
        }
    }
}
