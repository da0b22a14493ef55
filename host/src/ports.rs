//! L1: the seams. Traits and the types that cross them; both callers and implementations import these, and neither
//! imports the other.

pub mod access;
pub mod apis;
pub mod blobs;
pub mod clock;
pub mod egress;
pub mod exceptions;
pub mod hub;
pub mod impact;
pub mod invoker;
pub mod journal;
pub mod pipelines;
pub mod privacy;
pub mod promises;
pub mod records;
pub mod registry;
pub mod review;
pub mod schemas;
pub mod secrets;
pub mod settings;
pub mod state;
pub mod subscriptions;
pub mod tables;
pub mod traffic;
