//! Events, from a line to a request.
