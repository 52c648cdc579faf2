//! A PostgreSQL of Plangate's own, from the binaries that the machine has. It is kept under the
//! data directory, is reachable from this machine alone and with a password, and lives as long as
//! the process that started it.
//!
//! A process that is killed leaves its server running; the next start ends it and starts anew,
//! so that one process is always the server's parent and sees it die.

mod access;
mod account;
mod binaries;
mod cluster;
mod error;
mod initdb;
mod lock;
mod place;
mod process;
mod server;
mod socket;

pub use cluster::{Cluster, DATABASE, Options, running_url};
pub use error::EmbeddedError;
