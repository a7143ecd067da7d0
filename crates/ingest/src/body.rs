//! Reading a request's body within limits of size and time. actix bounds the head's time and nothing of the body's.

use std::{pin::pin, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{ConnectionType, StatusCode, header},
    web::{Bytes, Payload},
};
use bytes::BytesMut;
use futures_util::{Stream, StreamExt};

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
    tokio::time::timeout(timeout, join(payload)).await.unwrap_or(Err(NoBody::Slow))
}

/// All pieces as one. Most bodies are a single piece, which is neither copied nor given room to grow, as actix would do.
async fn join<E>(pieces: impl Stream<Item = Result<Bytes, E>>) -> Result<Bytes, NoBody> {
    let mut pieces = pin!(pieces);
    let mut body = Bytes::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| NoBody::Broken)?;
        if body.len() + piece.len() > BODY_BYTES_MAX {
            return Err(NoBody::TooLarge);
        }
        body = if body.is_empty() { piece } else { joined(body, &piece) };
    }
    Ok(body)
}

fn joined(body: Bytes, piece: &[u8]) -> Bytes {
    let mut body = BytesMut::from(body);
    body.extend_from_slice(piece);
    body.freeze()
}

/// Closes the connection after an answer: the rest of the body is not worth reading.
pub(crate) fn leave_unread(response: &mut HttpResponse) {
    response.head_mut().set_connection_type(ConnectionType::Close);
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;

    use super::*;

    #[tokio::test]
    async fn a_body_is_all_its_pieces_and_a_single_one_is_not_copied() {
        let all = |pieces: &[Bytes]| join(stream::iter(pieces.to_vec()).map(Ok::<_, Infallible>));
        let pieces = ["one", "", "two", "three"].map(|piece| Bytes::from_owner(piece.to_owned()));
        assert_eq!(all(&pieces).await.unwrap(), "onetwothree");
        assert_eq!(all(&[]).await.unwrap(), "");
        assert_eq!(all(&pieces[..1]).await.unwrap().as_ptr(), pieces[0].as_ptr());
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_or_grows_too_large_is_refused() {
        let piece = || Ok(Bytes::from(vec![b' '; BODY_BYTES_MAX / 2]));
        let after = |end| join(stream::iter([piece(), piece(), end]));
        assert_eq!(after(Ok(Bytes::new())).await.unwrap().len(), BODY_BYTES_MAX);
        assert_eq!(after(Ok(Bytes::from_static(b" "))).await, Err(NoBody::TooLarge));
        assert_eq!(after(Err(())).await, Err(NoBody::Broken));
    }
}
