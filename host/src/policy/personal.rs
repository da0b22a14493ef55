//! Personal data: which fields of an event are tagged as such, what remains of a fact without them, and how a fact is
//! sealed so that its place, its remainder and its bytes go together. Keys come from whoever calls; nothing is kept here.
//!
//! | module | does |
//! | --- | --- |
//! | [`tags`] | reads `x-personal` and `x-subject` of a schema |
//! | [`outline`] | makes of a fact what may be read by everybody, and what stays when its key is destroyed |
//! | [`seal`] | seals the whole fact beside its outline, and opens it |

pub mod outline;
pub mod seal;
pub mod tags;
