//! Where AWS is and who calls. On Lambda all of it stands in environment variables, which stay as they are for as long as a function
//! lives, so nothing is read from disks or asked of other machines: the chain of `aws-config` (profiles, instance and container
//! metadata, single sign-on) would add an SDK client and hundreds of kilobytes for what a function never meets.

use aws_credential_types::Credentials;
use engine::port::PortError;

/// Region, credentials and, if it is not AWS itself, the address to call.
#[derive(Clone)]
pub struct Environment {
    pub(crate) region: String,
    pub(crate) endpoint: Option<String>,
    pub(crate) credentials: Credentials,
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment").field("region", &self.region).field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Environment {
    /// Reads `AWS_REGION` (or `AWS_DEFAULT_REGION`), `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` and
    /// `AWS_ENDPOINT_URL`.
    ///
    /// # Errors
    /// `Failed`, if region or credentials are not there.
    pub fn read() -> Result<Environment, PortError> {
        Environment::of(|name| std::env::var(name).ok())
    }

    /// The same, from any place that has these names.
    ///
    /// # Errors
    /// As for [`Environment::read`].
    pub fn of(value: impl Fn(&str) -> Option<String>) -> Result<Environment, PortError> {
        let value = |name: &str| value(name).filter(|value| !value.is_empty());
        let need = |name: &str| value(name).ok_or_else(|| PortError::Failed(format!("the environment has no {name}: Lambda sets it")));
        let region = value("AWS_REGION").or_else(|| value("AWS_DEFAULT_REGION"));
        let region = region.map_or_else(|| need("AWS_REGION"), Ok)?;
        let (id, secret) = (need("AWS_ACCESS_KEY_ID")?, need("AWS_SECRET_ACCESS_KEY")?);
        let credentials = Credentials::new(id, secret, value("AWS_SESSION_TOKEN"), None, "environment");
        Ok(Environment { region, endpoint: value("AWS_ENDPOINT_URL"), credentials })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<Environment, PortError> {
        Environment::of(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn an_environment_says_what_it_lacks_and_never_shows_a_secret() {
        let whole = [("AWS_REGION", "eu-central-1"), ("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "hidden")];
        let environment = of(&whole).unwrap();
        assert_eq!((environment.region.as_str(), &environment.endpoint), ("eu-central-1", &None));
        assert!(!format!("{environment:?}").contains("hidden"));
        for (name, _) in whole {
            let without: Vec<_> = whole.into_iter().filter(|(key, _)| *key != name).collect();
            let error = of(&without).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        let older = [("AWS_DEFAULT_REGION", "us-east-1"), whole[1], whole[2], ("AWS_ENDPOINT_URL", "http://127.0.0.1:5000")];
        let environment = of(&older).unwrap();
        assert_eq!((environment.region.as_str(), environment.endpoint.as_deref()), ("us-east-1", Some("http://127.0.0.1:5000")));
    }
}
