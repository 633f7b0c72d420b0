//! Where rows come from besides files: rows that are pushed, and the query of a database that runs for the tests.

mod postgres;
mod postgres_served;
mod postgres_wrong;
mod pushed;
mod pushed_at_random;
mod pushed_run;
mod server;
mod shelf;
