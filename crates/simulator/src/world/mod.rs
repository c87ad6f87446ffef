//! What a world consists of: the installed cluster, its actors, the controller's processes and the
//! stage on which scripts act. How it runs is in [`crate::run`].

pub mod cluster;
pub mod install;
pub mod manifests;
pub mod processes;
pub mod stage;
