//! The page at `/docs`.

pub(crate) fn page() -> String {
    String::new()
}
