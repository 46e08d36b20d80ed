//! Who may ask what: the client's certificate names a principal (part of step 13 of the data flow).
//!
//! - [`Principal`] is who a client is.
//! - [`Asker`] is who sent a request, and from where; who is not to be answered is [`Denied`].
//!
//! Nothing here reads a store.

mod asker;
mod denied;
mod principal;

pub use asker::Asker;
pub use denied::Denied;
pub use principal::Principal;
