//! L0: the data that every other layer speaks of, and its serialized forms. No I/O, no clock, no technology.

pub mod audit;
pub mod connection;
pub mod contract;
pub mod decision;
pub mod entry;
pub mod event;
pub mod event_schema;
pub mod explanation;
pub mod failure;
pub mod id;
pub mod json;
pub mod lane;
pub mod limits;
pub mod log;
pub mod manifest;
pub mod pace;
pub mod pipeline;
pub mod principal;
pub mod registry;
pub mod run;
pub mod schemas;
pub mod surface;
pub mod timestamp;
pub mod trust;
