//! Whose signature of a package holds. Pure: keys and bytes come in, and who signed what under whose trust comes out.
//!
//! What is signed is a [`descriptor`]: it names everything that a package holds by its digest, and is computed anew by
//! whoever verifies, so that nothing in the package is believed because the package says so. It travels in a DSSE
//! [`envelope`]. [`trust`] says which signatures hold under the keys that an operator trusts.

pub mod descriptor;
pub mod envelope;
pub mod trust;
