//! Crossdock, a WebAssembly-plugin integration hub for retail: the library behind the one binary.
//!
//! Modules are layers; each imports only lower ones, and siblings at L3 never import each other. The tidy test holds
//! this table.
//!
//! | layer | modules | what they may do |
//! | --- | --- | --- |
//! | L0 | [`model`] | data only |
//! | L1 | [`ports`] | the seams: traits and their types, no implementation |
//! | L2 | [`policy`], [`flow`] | pure decisions, no I/O, no clock |
//! | L3 | [`wasm`], [`store`], [`net`], [`telemetry`] | one technology each |
//! | L4 | [`app`], [`cli`] | configuration, wiring, the runner |
//! | L4 | [`sandbox`] | the small retailer that the demo talks to |

pub mod app;
pub mod cli;
pub mod flow;
pub mod model;
pub mod net;
pub mod policy;
pub mod ports;
pub mod sandbox;
pub mod store;
pub mod telemetry;
pub mod wasm;
