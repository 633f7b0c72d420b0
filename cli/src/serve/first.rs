//! The first start: a token that can do everything, and the project file as the first definitions.

use super::house::House;
use crate::args::Global;
use crate::failure::Failure;
use crate::project;
use engine::catalog::Kind;
use engine::model::name::Name;
use engine::model::project::Problem;
use engine::port::Clock;
use engine::schedule;
use engine::token::{self, Scope, Wanted};
use process::chance;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What the first start came to.
pub struct Begun {
    organization: Name,
    /// Where a token lies that was made now.
    token: Option<PathBuf>,
    /// How many definitions the project file gave.
    defined: Option<usize>,
    /// Whether the project file says something else than what is served.
    differs: bool,
}

/// Makes what is missing.
pub async fn begin(house: &House, global: &Global) -> Result<Begun, Failure> {
    let document = match global.project.exists() {
        true => Some(project::document(&global.project)?),
        false => None,
    };
    let named = document.as_ref().and_then(|document| document["organization"]["id"].as_str()).unwrap_or("default");
    let organization = Name::new(named).map_err(Failure::new)?;
    let catalog = house.catalog(&organization);
    let mut defined = None;
    let mut differs = false;
    if let Some(document) = &document {
        let mut empty = true;
        for kind in Kind::ALL {
            empty &= catalog.list(kind, None, 1).await?.is_empty();
        }
        match catalog.apply(document, false, !empty).await? {
            Ok(changes) if empty => defined = Some(changes.iter().filter(|change| change.is_change()).count()),
            Ok(changes) => differs = changes.iter().any(|change| change.is_change()),
            Err(refused) if empty => return Err(Failure::new(format!("the project file cannot be served: {}", why(&refused)))),
            Err(_) => differs = true,
        }
    }
    if let Ok(project) = catalog.project().await? {
        schedule::settle(&house.store, &project, house.clock.now().wall).await?;
    }
    let token = match token::list(&house.store, &organization, None, 1, house.clock.now().wall).await?.is_empty() {
        true => Some(first_token(house, &organization).await?),
        false => None,
    };
    Ok(Begun { organization, token, defined, differs })
}

fn why(refused: &engine::catalog::Refused) -> String {
    match refused {
        engine::catalog::Refused::Invalid(problems) => {
            problems.iter().map(|Problem { path, message }| format!("{path}: {message}")).collect::<Vec<_>>().join("; ")
        }
        other => format!("{other:?}"),
    }
}

/// A token with all scopes, in a file that only its owner can read.
async fn first_token(house: &House, organization: &Name) -> Result<PathBuf, Failure> {
    let random = crate::token::random()?;
    let wanted = Wanted { organization, name: "first start", scopes: &Scope::ALL, expires_at: None };
    let fresh = token::create(&house.store, wanted, random, house.clock.now().wall).await?;
    let fresh = fresh.map_err(|problems| Failure::new(format!("the first token cannot be made: {problems:?}")))?;
    let path = house.data.path().join("token");
    let partial = house.data.path().join(chance::fresh_name("token", house.clock.now().wall));
    let wrong = |e: std::io::Error| Failure::new(format!("{} cannot be written: {e}", path.display()));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&partial).map_err(wrong)?;
    file.write_all(format!("{}\n", fresh.text.reveal()).as_bytes()).and_then(|()| file.sync_all()).map_err(wrong)?;
    std::fs::rename(&partial, &path).map_err(wrong)?;
    Ok(path)
}

impl Begun {
    /// Says where everything is: a line of JSON on standard output where that is asked for, else sentences on standard error.
    pub fn show(&self, global: &Global, address: SocketAddr, data: &Path) {
        if global.json {
            let token = self.token.as_ref().map(|path| path.display().to_string());
            say!(
                "{}",
                serde_json::json!({
                    "url": format!("http://{address}"), "organization": self.organization, "data_dir": data.display().to_string(),
                    "token_file": token, "defined": self.defined, "differs": self.differs,
                })
            );
            return;
        }
        if global.quiet {
            return;
        }
        eprintln!("penstock serves {} on http://{address} (API /v1, its description /docs), data in {}", self.organization, data.display());
        if let Some(count) = self.defined {
            eprintln!("  {count} definitions taken from {}; from now on `penstock apply` changes them", global.project.display());
        }
        if self.differs {
            eprintln!("  {} says something else than what is served: `penstock apply --dry-run` shows what", global.project.display());
        }
        if let Some(path) = &self.token {
            eprintln!("  a token that may do everything is in {}", path.display());
        }
        if !address.ip().is_loopback() {
            eprintln!("  it listens beyond this machine and speaks plain HTTP: put a proxy with TLS before it");
        }
    }
}
