//! L3: HTTP, in both directions. The only place that names `hyper`.
//!
//! | module | does |
//! | --- | --- |
//! | [`egress`] | the one way out for connectors |
//! | [`server`] | the hub's own HTTP surface |
//! | [`tls`] | its certificate |
//! | [`client`] | a small client of that surface, for the command line |
//! | [`problem`] | how that surface says what went wrong |

pub mod client;
pub mod egress;
pub mod problem;
pub mod server;
pub mod tls;
