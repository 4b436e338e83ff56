//! Spans, exported to an OpenTelemetry collector.

use std::fmt;
use std::sync::OnceLock;
use std::time::SystemTime;

use durastream_server::{TraceParent, TraceSampler};
use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId,
    TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::layer::{Context as Around, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::collector::Collector;
use crate::input;

/// Bytes of a text that a span keeps.
const TEXT_BYTES: usize = 2 << 10;

static TRACES: OnceLock<Traces> = OnceLock::new();

/// The way out for spans.
struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    sampler: TraceSampler,
}

/// Begins to export to `endpoint`, the whole URL; only the first call of a process counts.
pub(crate) fn begin(endpoint: &str, ratio: f64) -> PyResult<Spans> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Collector::new())
        .with_endpoint(endpoint)
        .build()
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    let mut resource = Resource::builder();
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name("durastream");
    }
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let provider = SdkTracerProvider::builder()
        .with_resource(resource.with_attribute(version).build())
        // What gets here was chosen.
        .with_sampler(Sampler::AlwaysOn)
        .with_batch_exporter(exporter)
        .build();
    let tracer = provider.tracer("durastream");
    let traces = TRACES.get_or_init(|| Traces {
        provider,
        tracer,
        sampler: TraceSampler::new(ratio),
    });
    Ok(Spans(traces))
}

/// Whether a request of the trio listener with this `traceparent` field is to be traced.
#[pyfunction]
#[pyo3(signature = (traceparent))]
pub(crate) fn is_traced(traceparent: Option<&[u8]>) -> bool {
    let text = traceparent.and_then(|value| std::str::from_utf8(value).ok());
    TRACES
        .get()
        .is_some_and(|traces| traces.sampler.takes(text.and_then(TraceParent::parse)))
}

/// Exports a request that took `seconds` until now, with the fields of the native listener's spans.
#[pyfunction]
pub(crate) fn trace_request(
    seconds: f64,
    texts: Vec<(String, String)>,
    numbers: Vec<(String, u64)>,
    whole: bool,
) -> PyResult<()> {
    let now = SystemTime::now();
    let took = input::seconds(seconds.max(f64::MIN_POSITIVE))?;
    let mut doing = Doing::since(now.checked_sub(took).unwrap_or(now));
    for (name, value) in &texts {
        doing.text(name, value);
    }
    for (name, value) in &numbers {
        doing.number(name, *value);
    }
    doing.whole(whole);
    if let Some(traces) = TRACES.get() {
        doing.export("request", traces);
    }
    Ok(())
}

/// Exports what is left; waits no longer than `seconds` for it.
#[pyfunction]
pub(crate) fn flush_traces(py: Python<'_>, seconds: f64) -> PyResult<()> {
    let time = input::seconds(seconds)?;
    if let Some(traces) = TRACES.get() {
        py.detach(|| {
            if let Err(error) = traces.provider.shutdown_with_timeout(time) {
                tracing::warn!(%error, "the last spans were not taken by the collector");
            }
        });
    }
    Ok(())
}

/// Makes an OpenTelemetry span of each span of this workspace.
pub(crate) struct Spans(&'static Traces);

impl Spans {
    /// Whether a span is one of them: libraries have theirs.
    pub(crate) fn wants(metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.target().starts_with("durastream")
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, around: Around<'_, S>) {
        // The listener has chosen its requests; of the rest, commit groups, some are taken.
        if attributes.metadata().name() != "request" && !self.0.sampler.takes(None) {
            return;
        }
        let mut doing = Doing::since(SystemTime::now());
        attributes.record(&mut doing);
        if let Some(span) = around.span(id) {
            span.extensions_mut().insert(doing);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, around: Around<'_, S>) {
        if let Some(span) = around.span(id)
            && let Some(doing) = span.extensions_mut().get_mut::<Doing>()
        {
            values.record(doing);
        }
    }

    fn on_close(&self, id: Id, around: Around<'_, S>) {
        if let Some(span) = around.span(&id)
            && let Some(doing) = span.extensions_mut().remove::<Doing>()
        {
            doing.export(span.name(), self.0);
        }
    }
}

/// A span that is not over, with the names of OpenTelemetry's conventions for HTTP servers.
struct Doing {
    begun: SystemTime,
    parent: Option<TraceParent>,
    method: String,
    route: Option<String>,
    status: u64,
    attributes: Vec<KeyValue>,
}

impl Doing {
    fn since(begun: SystemTime) -> Self {
        Self {
            begun,
            parent: None,
            method: String::new(),
            route: None,
            status: 0,
            attributes: Vec::with_capacity(16),
        }
    }

    fn put(&mut self, name: &'static str, value: impl Into<Value>) {
        self.attributes.push(KeyValue::new(name, value));
    }

    fn text(&mut self, name: &str, value: &str) {
        // So that spans which wait are bounded in bytes, not only in number.
        let value = value
            .get(..value.floor_char_boundary(TEXT_BYTES))
            .unwrap_or_default();
        match name {
            "method" => value.clone_into(&mut self.method),
            "target" => {
                let (path, query) = value.split_once('?').unwrap_or((value, ""));
                self.put("url.path", path.to_owned());
                if !query.is_empty() {
                    self.put("url.query", query.to_owned());
                }
            }
            "version" => self.put("network.protocol.version", value.to_owned()),
            "peer" => match value.rsplit_once(':') {
                Some((host, port)) => {
                    let host = host.trim_start_matches('[').trim_end_matches(']');
                    self.put("network.peer.address", host.to_owned());
                    self.put("network.peer.port", port.parse().unwrap_or(0_i64));
                }
                None => self.put("network.transport", value.to_owned()),
            },
            "base" => self.route = Some(format!("{value}/{{stream}}")),
            "operation" => {
                // Not of a stream, whatever its path looks like.
                if value == "other" {
                    self.route = None;
                }
                self.put("durastream.operation", value.to_owned());
            }
            "traceparent" => self.parent = TraceParent::parse(value),
            _ => {}
        }
    }

    fn number(&mut self, name: &str, value: u64) {
        let signed = i64::try_from(value).unwrap_or(i64::MAX);
        match name {
            "status" => {
                self.status = value;
                if value > 0 {
                    self.put("http.response.status_code", signed);
                }
            }
            "received" => self.put("http.request.body.size", signed),
            "sent" => self.put("http.response.body.size", signed),
            "frames" => self.put("durastream.group.frames", signed),
            "bytes" => self.put("durastream.group.bytes", signed),
            _ => {}
        }
    }

    fn whole(&mut self, whole: bool) {
        self.put("durastream.response.whole", whole);
    }

    fn export(mut self, what: &'static str, traces: &Traces) {
        let is_request = what == "request";
        let (mut name, mut kind) = (what.to_owned(), SpanKind::Internal);
        if is_request {
            let method = std::mem::take(&mut self.method);
            name = match &self.route {
                Some(route) => format!("{method} {route}"),
                None => method.clone(),
            };
            kind = SpanKind::Server;
            self.put("http.request.method", method);
            if let Some(route) = self.route.take() {
                self.put("http.route", route);
            }
        }
        let failed = self.status >= 500;
        if failed {
            self.put("error.type", self.status.to_string());
        }
        let mut around = Context::new();
        if let Some(parent) = self.parent {
            around = around.with_remote_span_context(SpanContext::new(
                TraceId::from(parent.trace),
                SpanId::from(parent.span),
                TraceFlags::SAMPLED,
                true,
                TraceState::default(),
            ));
        }
        let mut span = traces
            .tracer
            .span_builder(name)
            .with_kind(kind)
            .with_start_time(self.begun)
            .with_attributes(self.attributes)
            .start_with_context(&traces.tracer, &around);
        if failed {
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

impl Visit for Doing {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "whole" {
            self.whole(value);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}
