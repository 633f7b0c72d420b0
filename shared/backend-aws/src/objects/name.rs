//! The S3 key of an object's name: the name itself.

use engine::object_name;
use engine::port::PortError;
use object_store::path::Path as ObjectPath;

/// The S3 key of a name.
pub(super) fn path(name: &str) -> Result<ObjectPath, PortError> {
    object_name::check(name)?;
    ObjectPath::parse(name).map_err(|error| PortError::Failed(format!("object name {name:?}: {error}")))
}
