//! What every peer in Rust shares: its answers, its arguments, its count of allocations. Beside it, nothing
//! differs but what is compared.

use std::alloc::{GlobalAlloc, Layout, System};
use std::convert::Infallible;
use std::hint::black_box;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use axum::Router;
use axum::extract::RawQuery;
use axum::routing::get;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;

static KIBIBYTE: [u8; 1 << 10] = [b'x'; 1 << 10];
static MEBIBYTE: [u8; 1 << 20] = [b'x'; 1 << 20];

/// Where to serve: `ADDRESS HTTP2_ADDRESS [--tls CERT KEY] [--count-allocations]`.
pub struct Arguments {
    /// For HTTP/1, and for HTTP/2 where a server tells them apart itself.
    pub http1: SocketAddr,
    /// For HTTP/2 alone.
    pub http2: SocketAddr,
    /// The PEM files of a certificate and its key.
    pub tls: Option<(PathBuf, PathBuf)>,
}

impl Arguments {
    /// # Panics
    ///
    /// If there are none.
    pub fn read() -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        COUNTING.store(arguments.iter().any(|argument| argument == "--count-allocations"), Relaxed);
        let address = |at: usize| arguments[at].parse().expect("an address");
        let tls = arguments.iter().position(|argument| argument == "--tls");
        let tls = tls.map(|at| ((&arguments[at + 1]).into(), (&arguments[at + 2]).into()));
        Self { http1: address(0), http2: address(1), tls }
    }
}

/// The service, for whoever serves one that is written against hyper.
pub async fn answer<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = match request.uri().path() {
        "/hello" => Bytes::from_static(b"WORLD!"),
        "/1k" => Bytes::from_static(&KIBIBYTE),
        "/1m" => Bytes::from_static(&MEBIBYTE),
        "/pid" => pid().into(),
        "/allocations" => allocations().into(),
        "/touch" => touch(request.uri().query()).into(),
        _ => return Ok(not_found()),
    };
    Ok(Response::new(Full::new(body)))
}

fn not_found() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = http::StatusCode::NOT_FOUND;
    response
}

/// The same for axum.
pub fn router() -> Router {
    Router::new()
        .route("/hello", get(|| async { "WORLD!" }))
        .route("/1k", get(|| async { &KIBIBYTE[..] }))
        .route("/1m", get(|| async { &MEBIBYTE[..] }))
        .route("/pid", get(|| async { pid() }))
        .route("/allocations", get(|| async { allocations() }))
        .route("/touch", get(|RawQuery(query): RawQuery| async move { touch(query.as_deref()) }))
}

fn pid() -> String {
    std::process::id().to_string()
}

/// Memory that is the process's own from now on, as a cache would be: `mib=1024`.
fn touch(query: Option<&str>) -> String {
    static TOUCHED: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
    let mib: usize = query.and_then(|query| query.strip_prefix("mib=")?.parse().ok()).unwrap_or(0);
    let mut memory = vec![0; mib << 20];
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    TOUCHED.lock().expect("no panic").push(black_box(memory));
    format!("touched {mib}")
}

static COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

fn allocations() -> String {
    ALLOCATIONS.load(Relaxed).to_string()
}

/// The system's allocator; with `--count-allocations` it counts. In each peer alike, so that the little that
/// asking costs is no difference between them.
pub struct Counting;

impl Counting {
    fn count() {
        if COUNTING.load(Relaxed) {
            ALLOCATIONS.fetch_add(1, Relaxed);
        }
    }
}

// SAFETY: each call is passed on to `System` as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::count();
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count();
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { System.dealloc(block, layout) }
    }
}
