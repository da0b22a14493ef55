//! L4: a hub put together. Configuration, what is installed, acceptance, and the runner that carries runs forward.

pub mod accept;
pub mod actors;
pub mod audit;
pub mod backup;
pub mod build;
mod calls;
pub mod check;
mod children;
pub mod clock;
pub mod config;
pub mod contracts;
#[cfg(debug_assertions)]
pub mod crash_point;
pub mod diagnose;
pub mod effects;
pub mod facts;
pub mod hub;
mod identity;
pub mod inbox;
pub mod index;
pub mod install;
pub mod installation;
pub mod intake;
pub mod mailbox;
pub mod package;
pub mod pages;
mod people;
pub mod permits;
mod polls;
pub mod queues;
pub mod retention;
pub mod runner;
mod schedules;
pub mod secrets;
pub mod snapshot;
pub mod state;
#[cfg(test)]
mod test_hub;
mod traffic;
pub mod triggers;
pub mod turns;
mod webhook;
