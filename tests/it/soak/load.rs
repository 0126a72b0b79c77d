//! Clients who ask, hang up, and look closely at every answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

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
use crate::support::{Answer, client as http};

/// A client who hangs up waits at most so many microseconds before.
const PATIENCE: u64 = 4000;

/// So often each user may be asked for until the answer is theirs, when all is over.
const TRIES_IN_THE_END: usize = 5;

/// What may be expected of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weather {
    /// Nothing goes wrong but that clients hang up.
    Calm,
    /// Everything does.
    Storm,
}

impl Weather {
    /// In calm weather no client waits for another, so that whoever hangs up does so on work at the
    /// database. In a storm there are far more clients than connections.
    pub(super) fn clients(self) -> usize {
        match self {
            Self::Calm => CONNECTIONS,
            Self::Storm => 6 * CONNECTIONS,
        }
    }

    /// Of a hundred requests so many are given up by their client.
    fn hang_ups(self) -> u8 {
        match self {
            Self::Calm => 50,
            Self::Storm => 15,
        }
    }
}

/// A question and what is known of its answer.
enum Question {
    Orders {
        tenant: Tenant,
        user: String,
        skip: usize,
        limit: usize,
        cursor: Option<String>,
    },
    OfTheMovingUser,
    OfAUserWithoutTenant(String),
    OfNobody,
    WithABadLimit,
    Ready,
}

/// A client on a connection of its own, kept alive, until `over`.
pub(super) async fn client(address: &str, report: &Report, weather: Weather, seed: u64, over: &AtomicBool) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let mut rng = Rng::with_seed(seed);
    let mut next = None;
    while !over.load(Ordering::Relaxed) {
        let question = next.take().unwrap_or_else(|| Question::random(&mut rng, weather));
        let asked = ask(&client, format!("{address}{}", question.path()));
        let answer = if rng.u8(..100) < weather.hang_ups() {
            let patience = Duration::from_micros(rng.u64(..PATIENCE));
            tokio::time::timeout(patience, asked).await
        } else {
            Ok(asked.await)
        };
        match answer {
            Err(_) => report.hung_up.add(1),
            Ok(Ok(answer)) => next = question.judge(&answer, report),
            Ok(Err(broken)) => report.found(Finding::OutsideTheTable, broken),
        }
    }
}

async fn ask(client: &Client<HttpConnector, Body>, url: String) -> Result<Answer, String> {
    let request = Request::get(url).body(Body::empty()).unwrap();
    let response = client
        .request(request)
        .await
        .map_err(|error| format!("{error:?}"))?;
    Answer::read(response.map(Body::new))
        .await
        .map_err(|error| format!("{error:?}"))
}

/// Waits until the service is ready again.
pub(super) async fn recovered(address: &str) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while http::get(format!("{address}/readyz")).await.unwrap().status != 200 {
        assert!(Instant::now() < deadline, "it does not recover");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// All is as if nothing had happened.
pub(super) async fn every_user_once(address: &str, report: &Report) {
    for tenant in fleet::tenants() {
        for user in tenant.users() {
            let question = Question::Orders {
                tenant,
                user,
                skip: 0,
                limit: 100,
                cursor: None,
            };
            let url = format!("{address}{}", question.path());
            let mut answer = http::get(url.clone()).await.unwrap();
            for _ in 0..TRIES_IN_THE_END {
                if answer.status == 200 {
                    break;
                }
                answer = http::get(url.clone()).await.unwrap();
            }
            if answer.status == 200 {
                question.judge(&answer, report);
            } else {
                report.found(
                    Finding::WrongAnswer,
                    format!("{url} is not well again: {}", answer.text()),
                );
            }
        }
    }
}

impl Question {
    fn random(rng: &mut Rng, weather: Weather) -> Self {
        // In calm weather no connection may be lost, as it is to a tenant that is missing.
        let kinds = if weather == Weather::Calm { 95 } else { 100 };
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
            85..91 => Self::OfTheMovingUser,
            91..93 => Self::OfNobody,
            93..94 => Self::WithABadLimit,
            94..95 => Self::Ready,
            _ => {
                let users: Vec<_> = fleet::users_without_tenant().collect();
                Self::OfAUserWithoutTenant(rng.choice(users).unwrap())
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
            Self::OfTheMovingUser => format!("/users/{MOVING_USER}/orders"),
            Self::OfAUserWithoutTenant(user) => format!("/users/{user}/orders"),
            Self::OfNobody => "/users/nobody/orders".to_owned(),
            Self::WithABadLimit => "/users/nobody/orders?limit=0".to_owned(),
            Self::Ready => "/readyz".to_owned(),
        }
    }

    /// Counts the answer, or tells what is wrong with it. The next page's question, if there is one.
    fn judge(self, answer: &Answer, report: &Report) -> Option<Self> {
        if answer.status == 200 {
            return self.judge_page(answer, report);
        }
        let problem = problem(answer);
        match (&self, problem.as_deref()) {
            (Self::OfNobody, Some("user-not-found"))
            | (Self::WithABadLimit, Some("bad-request"))
            | (Self::OfAUserWithoutTenant(_), Some("tenant-unavailable")) => report.refused.add(1),
            (Self::WithABadLimit, _) => self.outside(answer, report),
            // Also in calm weather a machine may stand still for longer than a statement may take.
            (_, Some("database-unavailable")) => report.unavailable.add(1),
            (_, Some("timeout")) => report.timed_out.add(1),
            _ => self.outside(answer, report),
        }
        None
    }

    fn outside(&self, answer: &Answer, report: &Report) {
        report.found(
            Finding::OutsideTheTable,
            format!("{}: {} {}", self.path(), answer.status, answer.text()),
        );
    }

    fn judge_page(self, answer: &Answer, report: &Report) -> Option<Self> {
        let wrong = |finding| {
            report.found(finding, format!("{}: {}", self.path(), answer.text()));
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
            // Whichever tenant they are told to be of, all of the answer must be that one's.
            Self::OfTheMovingUser => {
                let organization = answer.json()["user"]["organization_id"].clone();
                match fleet::tenants().find(|tenant| organization == tenant.name) {
                    Some(tenant) => (tenant, MOVING_USER, 0, 100),
                    None => return wrong(Finding::WrongAnswer),
                }
            }
            Self::Ready => {
                report.right.add(1);
                return None;
            }
            // A trap.
            Self::OfAUserWithoutTenant(_) => return wrong(Finding::ForeignRow),
            Self::OfNobody | Self::WithABadLimit => return wrong(Finding::WrongAnswer),
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
        report.right.add(1);
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

/// The name of the problem, where the answer is one of the error table and whole.
fn problem(answer: &Answer) -> Option<String> {
    let body: Value = serde_json::from_slice(&answer.body).ok()?;
    let name = body["type"].as_str()?.strip_prefix("/problems/")?;
    let status = match name {
        "bad-request" => 400,
        "user-not-found" => 404,
        "tenant-unavailable" | "database-unavailable" => 503,
        "timeout" => 504,
        _ => return None,
    };
    let is_whole = answer.status == status
        && body["status"] == status
        && answer.header("content-type") == Some("application/problem+json")
        && body["request_id"].as_str() == answer.header("x-request-id")
        && ["title", "detail", "instance"]
            .iter()
            .all(|member| body[member].is_string())
        && answer.header("retry-after").is_some() == (name == "database-unavailable");
    is_whole.then(|| name.to_owned())
}
