//! Extractors: what does not pass them never reaches a handler's body.

mod body;
mod idempotency;
mod page;
mod path;
pub mod pointer;
mod query;

pub use body::{
    BODY_LIMIT, Envelope, Json, media_type, parse, parse_envelope, read_body, refuse_array,
};
pub use idempotency::idempotency_key;
pub use page::{Cursor, Listing, PageLimit, PageQuery};
pub use path::Path;
pub use query::Query;
