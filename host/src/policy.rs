//! L2: pure decisions about what is allowed. No I/O, no clock, no technology: facts go in, a permission or a refusal
//! with its reason comes out.
//!
//! | module | decides |
//! | --- | --- |
//! | [`address`] | which network addresses a connection may reach |
//! | [`egress`] | which HTTP requests a connector may send |
//! | [`flow_control`] | which calls go now and which wait, which events are refused at peak |
//! | [`signature`] | whether a webhook delivery comes from who holds the secret |

pub mod address;
pub mod egress;
pub mod flow_control;
pub mod signature;
