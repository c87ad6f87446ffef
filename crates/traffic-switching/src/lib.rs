//! What each kind of route splits now, and the guarded patch that changes it.
//!
//! One module per kind. Pure: objects come in as the server sent them, patches go out; nothing here
//! reads a clock, talks to a server or decides which split is right.

pub mod ingress;
pub mod managed_fields;
pub mod service;
