//! Exported traces.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Request};
use axum::routing::post;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use nix::sys::signal::Signal;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::{span::SpanKind, status::StatusCode};
use prost::Message;
use tokio::net::TcpListener;

use crate::support::{ServiceProcess, TestDatabase, client, finished};

/// Headers and body of each export request.
type Received = Arc<Mutex<Vec<(HeaderMap, ExportTraceServiceRequest)>>>;

/// A collector for OTLP over HTTP.
struct Collector {
    address: SocketAddr,
    received: Received,
}

impl Collector {
    async fn start() -> Self {
        let received = Received::default();
        let router = Router::new()
            .route("/v1/traces", post(receive))
            .with_state(received.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let service = TowerToHyperService::new(router.clone());
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, received }
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    fn spans(&self) -> Vec<Span> {
        let received = self.received.lock().unwrap();
        let resources = received.iter().flat_map(|(_, request)| &request.resource_spans);
        let scopes = resources.flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }
}

async fn receive(State(received): State<Received>, headers: HeaderMap, body: Bytes) {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    received.lock().unwrap().push((headers, request));
}

fn attributes(attributes: &[KeyValue]) -> BTreeMap<&str, String> {
    attributes
        .iter()
        .map(|attribute| {
            let value = match attribute.value.as_ref().unwrap().value.as_ref().unwrap() {
                Value::StringValue(text) => text.clone(),
                Value::IntValue(number) => format!("{number} as a number"),
                other => panic!("{other:?}"),
            };
            (attribute.key.as_str(), value)
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// Sends one request to a service with `settings`, stops it, and returns its log.
async fn run_request(
    database: &TestDatabase,
    settings: &[(&str, &str)],
    path: &str,
    traceparent: &str,
) -> String {
    let mut service = ServiceProcess::spawn(
        ServiceProcess::command()
            .env("DATABASE_URL", database.url())
            .env("LOG_FORMAT", "json")
            .envs(settings.iter().copied()),
    );
    let url = service.url();
    let request = Request::get(format!("{url}{path}")).header("traceparent", traceparent);
    client::send(request.body(Body::empty()).unwrap()).await.unwrap();
    service.signal(Signal::SIGTERM);
    // Blocking here would stop the collector, which must receive the last traces.
    tokio::task::spawn_blocking(move || service.read_to_end())
        .await
        .unwrap()
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT_SPAN: &str = "b7ad6b7169203331";

#[tokio::test(flavor = "multi_thread")]
async fn request_continues_the_clients_trace_with_a_span_per_step() {
    let database = TestDatabase::demo_with(
        "INSERT INTO public.users (id, organization_id) VALUES ('secret', 'client1')",
    )
    .await;
    let collector = Collector::start().await;
    let endpoint = collector.endpoint();
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=hush"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
    ];
    let log = run_request(
        &database,
        &settings,
        "/users/secret/orders",
        &format!("00-{TRACE}-{CLIENT_SPAN}-01"),
    )
    .await;

    let spans = collector.spans();
    let [request] = &spans
        .iter()
        .filter(|span| span.name == "GET /users/{id}/orders")
        .collect::<Vec<_>>()[..]
    else {
        panic!("{spans:?}")
    };
    assert_eq!(request.kind(), SpanKind::Server);
    assert_eq!(hex(&request.trace_id), TRACE);
    assert_eq!(hex(&request.parent_span_id), CLIENT_SPAN);
    assert_eq!(
        request.status.clone().unwrap_or_default().code(),
        StatusCode::Unset
    );
    let expected = [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200 as a number"),
        ("http.route", "/users/{id}/orders"),
        ("tenant", "client1"),
        ("url.scheme", "http"),
    ];
    assert_eq!(
        attributes(&request.attributes),
        expected.map(|(name, value)| (name, value.to_owned())).into()
    );
    let mut steps: Vec<_> = spans
        .iter()
        .filter(|span| span.parent_span_id == request.span_id)
        .collect();
    steps.sort_by_key(|span| span.start_time_unix_nano);
    let names: Vec<_> = steps.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["acquire", "lookup", "acquire", "query"]);
    let namespaces: Vec<_> = steps
        .iter()
        .map(|span| attributes(&span.attributes)["db.namespace"].clone())
        .collect();
    let name = database.name();
    let in_tenant = format!("{name}|client1");
    assert_eq!(namespaces, [name, name, name, &in_tenant]);
    for step in steps {
        assert_eq!(step.kind(), SpanKind::Client);
        assert_eq!(hex(&step.trace_id), TRACE);
        assert_eq!(attributes(&step.attributes)["db.system.name"], "postgresql");
        assert!(request.start_time_unix_nano <= step.start_time_unix_nano);
        assert!(step.end_time_unix_nano <= request.end_time_unix_nano);
    }

    let received = collector.received.lock().unwrap();
    let (headers, export) = &received[0];
    assert_eq!(headers["x-key"], "hush");
    let resource = attributes(&export.resource_spans[0].resource.as_ref().unwrap().attributes);
    assert_eq!(resource["service.name"], "tenant-orders");
    assert_eq!(resource["deployment.environment.name"], "test");
    let everything = format!("{received:?}");
    assert!(!everything.contains("secret"), "{everything}");
    let line = log
        .lines()
        .find(|line| line.contains("\"request completed\""))
        .unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["trace_id"], TRACE);
    assert!(!log.contains("otel"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failure_is_an_error_in_the_trace() {
    let database = TestDatabase::demo_with("DROP TABLE client1.orders").await;
    let collector = Collector::start().await;
    let endpoint = format!("{}/v1/traces", collector.endpoint());
    let settings = [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint.as_str()),
        ("OTEL_SERVICE_NAME", "orders-of-a-test"),
    ];
    run_request(&database, &settings, "/users/1/orders", "none").await;
    let spans = collector.spans();
    for (name, error_type) in [("GET /users/{id}/orders", "503"), ("query", "42P01")] {
        let span = spans.iter().find(|span| span.name == name).unwrap();
        assert_eq!(
            span.status.clone().unwrap_or_default().code(),
            StatusCode::Error,
            "{name}"
        );
        assert_eq!(attributes(&span.attributes)["error.type"], error_type);
    }
    let query = spans.iter().find(|span| span.name == "query").unwrap();
    assert_eq!(attributes(&query.attributes)["db.response.status_code"], "42P01");
    let received = collector.received.lock().unwrap();
    let resource = received[0].1.resource_spans[0].resource.as_ref().unwrap();
    assert_eq!(
        attributes(&resource.attributes)["service.name"],
        "orders-of-a-test"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn disabled_or_unsampled_traces_are_not_exported() {
    let database = TestDatabase::demo().await;
    let collector = Collector::start().await;
    let endpoint = collector.endpoint();
    for (setting, traceparent) in [
        (("OTEL_SDK_DISABLED", "true"), "01"),
        (("OTEL_TRACES_EXPORTER", "none"), "01"),
        (("OTEL_TRACES_SAMPLER", "always_off"), "01"),
        // The client's trace is not sampled.
        (("OTEL_TRACES_SAMPLER", "parentbased_always_on"), "00"),
    ] {
        let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), setting];
        let traceparent = format!("00-{TRACE}-{CLIENT_SPAN}-{traceparent}");
        run_request(&database, &settings, "/users/1/orders", &traceparent).await;
    }
    let spans = collector.spans();
    assert!(
        !spans.iter().any(|span| hex(&span.trace_id) == TRACE),
        "{spans:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unavailable_collector_does_not_affect_requests() {
    let database = TestDatabase::demo().await;
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")];
    let log = run_request(&database, &settings, "/users/1/orders", "none").await;
    assert!(log.contains("\"status\":200"), "{log}");
    assert!(log.contains("\"stopped\""), "{log}");
}

#[test]
fn unsupported_protocol_is_rejected() {
    let (status, _, errors) = finished(
        ServiceProcess::command()
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    );
    assert_eq!(status, Some(2), "{errors}");
    assert!(
        errors.contains("OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf"),
        "{errors}"
    );
}
