//! L4: a hub put together. Configuration, what is installed, acceptance, and the runner that carries runs forward.

pub mod accept;
pub mod access;
pub mod actors;
pub mod acts;
pub mod apis;
pub mod audit;
pub mod backup;
pub mod build;
mod calls;
mod children;
pub mod clock;
pub mod config;
pub mod contracts;
#[cfg(debug_assertions)]
pub mod crash_point;
pub mod diagnose;
pub mod effects;
pub mod exceptions;
pub mod facts;
pub mod gate;
pub mod golden;
pub mod hub;
mod identity;
pub mod inbox;
pub mod index;
pub mod install;
pub mod installation;
pub mod intake;
pub mod mailbox;
pub mod package;
pub mod parcel;
mod people;
pub mod permits;
mod polls;
pub mod promises;
pub mod publish;
pub mod queues;
mod registry;
mod replay;
pub mod retention;
pub mod runner;
mod schedules;
pub mod schemas;
pub mod secrets;
mod settings;
pub mod snapshot;
pub mod state;
pub mod subscriptions;
#[cfg(test)]
mod test_hub;
#[cfg(test)]
mod test_waits;
mod traffic;
pub mod trial;
pub mod triggers;
pub mod turns;
mod webhook;
