//! Qiscus Omnichannel.
