//! What the tests of Crossdock share.

pub mod calls;
pub mod crashes;
pub mod dice;
pub mod disk;
pub mod effects;
pub mod gatekeeper;
pub mod guests;
pub mod hub;
pub mod mock_sap;
pub mod packages;
pub mod remote;
pub mod retail;
pub mod said;
pub mod signatures;
pub mod verifier;
