//! What hyper lets through of HTTP/1 and RFC 9112 does not: requests that two readers, a proxy and a service
//! behind it, could take for two different ones. And what hyper counts in HTTP/1 alone.

use http::header::{HOST, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Request, StatusCode, Uri, Version};
use http_body::Body;

/// As hyper's own limit of HTTP/1. Bytes alone are no limit in HTTP/2, where a field can cost one.
const MAX_HEADERS: usize = 100;

/// The status that the request gets instead of an answer of the service.
pub(crate) fn refusal<B: Body>(request: &Request<B>) -> Option<StatusCode> {
    let headers = request.headers();
    if request.version() >= Version::HTTP_2 {
        return (headers.len() > MAX_HEADERS).then_some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    if !names_its_host(headers, request.version()) || !is_target(request.method(), request.uri()) {
        return Some(StatusCode::BAD_REQUEST);
    }
    // Of "gzip, chunked", the service would be given what it does not know to be packed. Whatever has a coding has a
    // body, to hyper too, and most requests have none.
    let is_packed = !request.body().is_end_stream() && !is_unpacked(headers);
    is_packed.then_some(StatusCode::NOT_IMPLEMENTED)
}

/// In absolute form the target names the host, whatever the header says (RFC 9112, section 3.2.2).
pub(super) fn prefer_targets_host<B>(request: &mut Request<B>) {
    if request.version() >= Version::HTTP_2 || request.uri().scheme().is_none() {
        return;
    }
    let host = request.uri().authority().map(|authority| match authority.as_str().rsplit_once('@') {
        Some((_user, host)) => HeaderValue::from_str(host),
        None => HeaderValue::from_str(authority.as_str()),
    });
    if let Some(Ok(host)) = host {
        request.headers_mut().insert(HOST, host);
    }
}

/// RFC 9112, section 3.2: once in HTTP/1.1, at most once in HTTP/1.0, and of an authority's characters.
fn names_its_host(headers: &HeaderMap, version: Version) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => {
            host.as_bytes().iter().fold(true, |all, byte| all & OF_AUTHORITY[usize::from(*byte)])
        }
        (None, _) => version == Version::HTTP_10,
        (Some(_), Some(_)) => false,
    }
}

/// The bytes that an authority is made of (RFC 3986, section 3.2), without a user's name.
const OF_AUTHORITY: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"-._~%!$&'()*+,;=:[]";
    let mut place = 0;
    while place < others.len() {
        table[others[place] as usize] = true;
        place += 1;
    }
    table
};

/// Nothing but CONNECT names an authority and no more (RFC 9112, section 3.2.3).
fn is_target(method: &Method, target: &Uri) -> bool {
    target.scheme().is_some() || target.authority().is_none() || method == Method::CONNECT
}

/// Whether chunks are all that a body comes in (RFC 9112, section 6.1).
fn is_unpacked(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (first, _) => first.is_none(),
    }
}
