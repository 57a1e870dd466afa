//! What `endless::status()` tells, as Prometheus reads it, on a port of its own.
//!
//! ```text
//! cargo run --example prometheus    # the first lines say the PID
//! curl localhost:4242/hello
//! curl localhost:4243/metrics
//! ```
//!
//! Each generation counts from 0. Prometheus takes that for what it is, the reset of a counter: `rate()` and
//! `increase()` go on over restarts, and `changes(endless_generation[1d])` says how many there were. What a
//! predecessor answers while it drains is scraped no more, as its port is the successor's.

use std::fmt;

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::{Router, routing::get};
use endless::ServerStatus;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge};
use prometheus_client::registry::Registry;

#[endless::main]
async fn main() -> endless::Result<()> {
    let public = Router::new().route("/hello", get(|| async { "WORLD!" }));
    let admin = Router::new().route("/metrics", get(metrics));
    tokio::try_join!(endless::serve("127.0.0.1:4242", public), endless::serve("127.0.0.1:4243", admin))?;
    Ok(())
}

async fn metrics() -> impl IntoResponse {
    let mut registry = Registry::with_prefix("endless");
    registry.register_collector(Box::new(Status));
    let mut text = String::new();
    text::encode(&mut text, &registry).expect("a string takes all that is written to it");
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
}

/// Asked at each scrape, so that nothing is counted twice.
#[derive(Debug)]
struct Status;

impl Collector for Status {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let status = endless::status();
        let servers = &status.servers;
        let generation = ConstGauge::new(status.generation);
        let serving = encoder.encode_descriptor("generation", "Who serves", None, MetricType::Gauge)?;
        generation.encode(serving)?;

        let gauge = |value: usize| ConstGauge::new(value as u64);
        let counter = |value: u64| ConstCounter::new(value);
        each(&mut encoder, "connections", "Open connections", servers, |it| gauge(it.connections))?;
        each(&mut encoder, "in_flight", "Requests without a whole answer", servers, |it| {
            gauge(it.in_flight)
        })?;
        each(&mut encoder, "requests", "Requests", servers, |it| counter(it.requests))?;
        each(&mut encoder, "moved", "Connections that came or went", servers, |it| counter(it.moved))?;
        responses(&mut encoder, servers)
    }
}

/// A number of each server.
fn each<M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    servers: &[ServerStatus],
    number: impl Fn(&ServerStatus) -> M,
) -> fmt::Result {
    let Some(kind) = servers.first().map(|server| number(server).metric_type()) else { return Ok(()) };
    let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
    for server in servers {
        number(server).encode(metric.encode_family(&[("server", server.address.as_str())])?)?;
    }
    Ok(())
}

fn responses(encoder: &mut DescriptorEncoder<'_>, servers: &[ServerStatus]) -> fmt::Result {
    let mut metric = encoder.encode_descriptor("responses", "By status", None, MetricType::Counter)?;
    for server in servers {
        for (code, count) in &server.responses {
            let labels = [("server", server.address.as_str()), ("code", &code.to_string())];
            ConstCounter::new(*count).encode(metric.encode_family(&labels)?)?;
        }
    }
    Ok(())
}
