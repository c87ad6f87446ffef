//! The planner against a small model of a cluster: golden scenarios, crashes at every effect,
//! random worlds, and admission.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says by a panic what went wrong"
)]

mod controllers;
mod disturb;
mod feed;
mod laws;
mod objects;
mod random;
mod run;
mod scenarios;
mod script;
mod server;
mod setup;
mod tell;
mod view;
mod world;
