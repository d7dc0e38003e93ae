//! DNS over HTTPS (RFC 8484), without HTTP: a request's values become a DNS message or a status,
//! a DNS message becomes the values of a response.
//!
//! | module | what it is |
//! |---|---|
//! | [`request`] | method, target and content type to the message that is asked |
//! | [`date`] | when a response is made |
//! | [`freshness`] | for how long a response may be kept by HTTP's caches |
//! | [`forwarded`] | the client's address as a trusted proxy tells it |
//! | [`status`] | the statuses that are answered, their texts and their counters |
//!
//! Not here: how requests and responses travel (`http1`, `http2`, HTTP/3).
pub(crate) mod date;
pub(crate) mod forwarded;
pub(crate) mod freshness;
pub(crate) mod request;
pub(crate) mod status;

/// The media type of a DNS message (RFC 8484 section 6).
pub(crate) const MEDIA_TYPE: &str = "application/dns-message";
