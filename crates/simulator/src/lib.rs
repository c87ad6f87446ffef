//! Worlds: the shipped controller, unmodified, against an in-memory Kubernetes API under a paused
//! clock, with a cluster's actors around it, faults between it and the API, and oracles that look at
//! raw objects after every change.
//!
//! A world is a function of its seed: time, names, hash keys and the order of tasks come from it.
//! Nothing here decides what the controller should do; the oracles know only the laws.

pub mod actors;
pub mod demo;
pub mod faults;
pub mod json;
pub mod log;
pub mod oracles;
pub mod planted;
pub mod ports;
pub mod random;
pub mod replica;
pub mod run;
pub mod runner;
pub mod scenario;
pub mod simulate;
pub mod trace;
pub mod webhooks;
pub mod world;
