//! L2: pure decisions about what is allowed. No I/O, no clock, no technology: facts go in, a permission or a refusal
//! with its reason comes out.
//!
//! | module | decides |
//! | --- | --- |
//! | [`admission`] | whether a change of a webhook source lets in more than before |
//! | [`address`] | which network addresses a connection may reach |
//! | [`binding`] | which version of a plugin serves, which is on trial, when a trial is over |
//! | [`authorization`] | who may do what |
//! | [`chain`] | whether a batch of the journal continues the one before it, and holds what it says |
//! | [`delivery`] | where events may be delivered, how they are signed, what an answer means |
//! | [`disclosure`] | whether a change lets more leave the hub for others than before |
//! | [`effective`] | what a plugin may touch, and which layer denies it the rest |
//! | [`egress`] | which HTTP requests a connector may send |
//! | [`event_schema`] | whether a schema may become the next version of an event type |
//! | [`flow_control`] | which calls go now and which wait, which events are refused at peak |
//! | [`gate`] | whether a plugin version may be published, and what its changes mean |
//! | [`lifecycle`] | which state a plugin's version can go to |
//! | [`openid`] | whom a token of an OpenID provider stands for |
//! | [`personal`] | what of an event is personal data, and how it is sealed |
//! | [`reach`] | whether a change of a connection or a binding lets code reach more than before |
//! | [`publication`] | which reads may be published, and on which terms |
//! | [`replay`] | whether a whole journal, batch after batch, is what a checkpoint was signed for |
//! | [`seal`] | whether the hub signed a checkpoint or an export |
//! | [`signing`] | whose signature of a package holds |
//! | [`signature`] | whether a webhook delivery comes from who holds the secret |
//! | [`token`] | whether a token is one of this hub |

pub mod address;
pub mod admission;
pub mod authorization;
pub mod binding;
pub mod chain;
pub mod delivery;
pub mod disclosure;
pub mod effective;
pub mod egress;
pub mod event_schema;
pub mod flow_control;
pub mod gate;
pub mod lifecycle;
pub mod openid;
pub mod personal;
pub mod publication;
pub mod reach;
pub mod replay;
pub mod review;
pub mod seal;
pub mod signature;
pub mod signing;
pub mod table;
pub mod token;
