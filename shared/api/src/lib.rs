//! HTTP in: the router of the REST API, its problems, its OpenAPI document. It must not know a backend, and decides nothing.
