//! L4: a hub put together. Configuration, what is installed, acceptance, and the runner that carries runs forward.

pub mod accept;
pub mod build;
mod calls;
pub mod check;
pub mod clock;
pub mod config;
pub mod contracts;
pub mod diagnose;
pub mod facts;
pub mod hub;
mod identity;
pub mod index;
pub mod install;
pub mod installation;
pub mod intake;
pub mod package;
pub mod permits;
pub mod runner;
pub mod secrets;
pub mod state;
mod traffic;
pub mod turns;
mod webhook;
