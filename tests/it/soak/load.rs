//! Clients that send requests, disconnect, and verify every response.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use fastrand::Rng;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::CONNECTIONS;
use super::report::{Finding, Report};
use crate::support::fleet::{self, MOVING_USER, Tenant};
use crate::support::{Answer, client as http, wait_until};

/// Maximum time before a client disconnects, in microseconds.
const MAX_DISCONNECT_US: u64 = 4000;

/// Maximum wait for a response, longer than any timeout of the service.
const RESPONSE_TIMEOUT: Duration = Duration::from_mins(1);

/// Maximum retries for each user after the last fault.
const MAX_FINAL_RETRIES: usize = 5;

/// Phase of the soak test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Clients disconnect, but the database has no faults.
    WithoutFaults,
    /// All kinds of faults happen.
    WithFaults,
}

impl Phase {
    /// Returns the number of clients. Without faults there is a connection for each client, so that a
    /// disconnect happens during database work.
    pub(super) fn clients(self) -> usize {
        match self {
            Self::WithoutFaults => CONNECTIONS,
            Self::WithFaults => 6 * CONNECTIONS,
        }
    }

    /// Returns the percentage of requests with a disconnect.
    fn disconnect_percentage(self) -> u8 {
        match self {
            Self::WithoutFaults => 50,
            Self::WithFaults => 15,
        }
    }
}

/// A request and what its response must contain.
enum Probe {
    Orders {
        tenant: Tenant,
        user: String,
        skip: usize,
        limit: usize,
        cursor: Option<String>,
    },
    MovingUser,
    UserWithoutTenant(String),
    UnknownUser,
    InvalidLimit,
    Ready,
}

/// Sends requests on one kept-alive connection until `stop` is set.
pub(super) async fn client(address: &str, report: &Report, phase: Phase, seed: u64, stop: &AtomicBool) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let mut rng = Rng::with_seed(seed);
    let mut next = None;
    while !stop.load(Ordering::Relaxed) {
        let probe = next.take().unwrap_or_else(|| Probe::random(&mut rng, phase));
        let request = send(&client, format!("{address}{}", probe.path()));
        let answer = if rng.u8(..100) < phase.disconnect_percentage() {
            let timeout = Duration::from_micros(rng.u64(..MAX_DISCONNECT_US));
            tokio::time::timeout(timeout, request).await
        } else {
            Ok(request.await)
        };
        match answer {
            Err(_) => report.disconnected.add(1),
            Ok(Ok(answer)) => next = probe.verify(&answer, report, phase),
            Ok(Err(error)) => report.add(Finding::OutsideTheErrorTable, error),
        }
    }
}

async fn send(client: &Client<HttpConnector, Body>, url: String) -> Result<Answer, String> {
    let request = Request::get(url).body(Body::empty()).unwrap();
    let answer = async {
        let response = client
            .request(request)
            .await
            .map_err(|error| format!("{error:?}"))?;
        Answer::read(response.map(Body::new))
            .await
            .map_err(|error| format!("{error:?}"))
    };
    tokio::time::timeout(RESPONSE_TIMEOUT, answer)
        .await
        .unwrap_or_else(|_| Err(format!("no response within {RESPONSE_TIMEOUT:?}")))
}

/// Waits until the service is ready.
pub(super) async fn wait_until_ready(address: &str) {
    wait_until("the service is ready", async || {
        http::get(format!("{address}/readyz")).await.unwrap().status == 200
    })
    .await;
}

/// Verifies the orders of every user after the last fault.
pub(super) async fn check_every_user(address: &str, report: &Report) {
    for tenant in fleet::tenants() {
        for user in tenant.users() {
            let probe = Probe::Orders {
                tenant,
                user,
                skip: 0,
                limit: 100,
                cursor: None,
            };
            let url = format!("{address}{}", probe.path());
            let mut answer = http::get(url.clone()).await.unwrap();
            for _ in 0..MAX_FINAL_RETRIES {
                if answer.status == 200 {
                    break;
                }
                answer = http::get(url.clone()).await.unwrap();
            }
            if answer.status == 200 {
                probe.verify(&answer, report, Phase::WithoutFaults);
            } else {
                report.add(
                    Finding::WrongAnswer,
                    format!("{url} does not recover: {}", answer.text()),
                );
            }
        }
    }
}

impl Probe {
    fn random(rng: &mut Rng, phase: Phase) -> Self {
        // A missing tenant closes the connection, which is a finding without faults.
        let kinds = if phase == Phase::WithoutFaults { 95 } else { 100 };
        match rng.u8(..kinds) {
            0..85 => {
                let mut tenants = fleet::tenants();
                let tenant = tenants.nth(rng.usize(..tenants.len())).unwrap();
                let users: Vec<_> = tenant.users().collect();
                Self::Orders {
                    tenant,
                    user: rng.choice(users).unwrap(),
                    skip: 0,
                    limit: rng.choice([1, 2, 3, 100, 100, 100]).unwrap(),
                    cursor: None,
                }
            }
            85..91 => Self::MovingUser,
            91..93 => Self::UnknownUser,
            93..94 => Self::InvalidLimit,
            94..95 => Self::Ready,
            _ => {
                let users: Vec<_> = fleet::users_without_tenant().collect();
                Self::UserWithoutTenant(rng.choice(users).unwrap())
            }
        }
    }

    fn path(&self) -> String {
        match self {
            Self::Orders {
                user, limit, cursor, ..
            } => {
                let cursor = cursor
                    .as_ref()
                    .map_or(String::new(), |cursor| format!("&cursor={cursor}"));
                format!("/users/{user}/orders?limit={limit}{cursor}")
            }
            Self::MovingUser => format!("/users/{MOVING_USER}/orders"),
            Self::UserWithoutTenant(user) => format!("/users/{user}/orders"),
            Self::UnknownUser => "/users/unknown/orders".to_owned(),
            Self::InvalidLimit => "/users/unknown/orders?limit=0".to_owned(),
            Self::Ready => "/readyz".to_owned(),
        }
    }

    /// Counts the response or adds a finding. Returns the probe for the next page, if there is one.
    fn verify(self, answer: &Answer, report: &Report, phase: Phase) -> Option<Self> {
        if answer.status == 200 {
            return self.verify_page(answer, report);
        }
        let problem = problem(answer);
        match (&self, problem.as_deref()) {
            (Self::UnknownUser, Some("user-not-found"))
            | (Self::InvalidLimit, Some("bad-request"))
            | (Self::UserWithoutTenant(_), Some("tenant-unavailable")) => report.rejected.add(1),
            (Self::InvalidLimit, _) => self.add_outside_the_error_table(answer, report),
            // Also without faults, a busy machine can pause for longer than the statement timeout.
            (_, Some("database-unavailable")) => report.unavailable.add(1),
            // A stopped server keeps the tenant's connections for longer than another request waits.
            (_, Some("tenant-overloaded")) if phase == Phase::WithFaults => report.unavailable.add(1),
            (_, Some("timeout")) => report.timed_out.add(1),
            _ => self.add_outside_the_error_table(answer, report),
        }
        None
    }

    fn add_outside_the_error_table(&self, answer: &Answer, report: &Report) {
        report.add(
            Finding::OutsideTheErrorTable,
            format!("{}: {} {}", self.path(), answer.status, answer.text()),
        );
    }

    fn verify_page(self, answer: &Answer, report: &Report) -> Option<Self> {
        let wrong = |finding| {
            report.add(finding, format!("{}: {}", self.path(), answer.text()));
            None
        };
        let (tenant, user, skip, limit) = match &self {
            Self::Orders {
                tenant,
                user,
                skip,
                limit,
                ..
            } => (*tenant, user.as_str(), *skip, *limit),
            // The whole response must be of one tenant, before or after the move.
            Self::MovingUser => {
                let organization = answer.json()["user"]["organization_id"].clone();
                match fleet::tenants().find(|tenant| organization == tenant.name) {
                    Some(tenant) => (tenant, MOVING_USER, 0, 100),
                    None => return wrong(Finding::WrongAnswer),
                }
            }
            Self::Ready => {
                report.correct.add(1);
                return None;
            }
            // These rows are in `public`, which must never be read.
            Self::UserWithoutTenant(_) => return wrong(Finding::ForeignRow),
            Self::UnknownUser | Self::InvalidLimit => return wrong(Finding::WrongAnswer),
        };
        let mut page = answer.json();
        let cursor = page.as_object_mut().unwrap().remove("next_cursor");
        if page != tenant.page(user, skip, limit) {
            return wrong(if fleet::shows_foreign_rows(&page, tenant) {
                Finding::ForeignRow
            } else {
                Finding::WrongAnswer
            });
        }
        report.correct.add(1);
        match (cursor, self) {
            (Some(Value::String(cursor)), Self::Orders { user, .. }) => Some(Self::Orders {
                tenant,
                user,
                skip: skip + limit,
                limit,
                cursor: Some(cursor),
            }),
            _ => None,
        }
    }
}

/// Returns the name of the problem if the response is complete and in the error table.
fn problem(answer: &Answer) -> Option<String> {
    let body: Value = serde_json::from_slice(&answer.body).ok()?;
    let name = body["type"].as_str()?.strip_prefix("/problems/")?;
    let status = match name {
        "bad-request" => 400,
        "user-not-found" => 404,
        "tenant-unavailable" | "database-unavailable" => 503,
        "timeout" => 504,
        "tenant-overloaded" => 429,
        _ => return None,
    };
    let is_complete = answer.status == status
        && body["status"] == status
        && answer.header("content-type") == Some("application/problem+json")
        && body["request_id"].as_str() == answer.header("x-request-id")
        && ["title", "detail", "instance"]
            .iter()
            .all(|member| body[member].is_string())
        && answer.header("retry-after").is_some()
            == matches!(name, "database-unavailable" | "tenant-overloaded");
    is_complete.then(|| name.to_owned())
}
