//! Reading a request's body within limits of size and time. actix bounds the head's time and nothing of the body's.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{ConnectionType, StatusCode, header},
    web::{Bytes, Payload},
};

/// The largest body read. Known webhooks stay below 8 kB; Standard Webhooks asks senders to stay below 20 kB; a team of
/// 20,000 fits.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoBody {
    #[error("the body must not be compressed")]
    Encoded,
    #[error("the body is larger than {BODY_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the body did not arrive in time")]
    Slow,
    #[error("the body did not arrive whole")]
    Broken,
}

impl NoBody {
    pub fn status(self) -> StatusCode {
        match self {
            Self::Encoded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
        }
    }
}

/// The whole body, unless it is too large or takes longer than `timeout`.
pub(crate) async fn read(
    request: &HttpRequest,
    payload: Payload,
    timeout: Duration,
) -> Result<Bytes, NoBody> {
    let encoding = request.headers().get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(NoBody::Encoded);
    }
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > BODY_BYTES_MAX as u64) {
        return Err(NoBody::TooLarge);
    }
    match tokio::time::timeout(timeout, payload.to_bytes_limited(BODY_BYTES_MAX)).await {
        Ok(Ok(Ok(body))) => Ok(body),
        Ok(Ok(Err(_))) => Err(NoBody::Broken),
        Ok(Err(_)) => Err(NoBody::TooLarge),
        Err(_) => Err(NoBody::Slow),
    }
}

/// Closes the connection after an answer: the rest of the body is not worth reading.
pub(crate) fn leave_unread(response: &mut HttpResponse) {
    response.head_mut().set_connection_type(ConnectionType::Close);
}
