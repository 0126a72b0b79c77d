//! A naive port of the tutorial to axum and sqlx, for comparison. It sets the search path for the session and uses
//! one prepared statement for all tenants. A cancelled request leaves its search path on the connection, which is the
//! fault that the product prevents.

use std::env;
use std::error::Error;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool, Row};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let pool = PgPoolOptions::new()
        .max_connections(env::var("DATABASE_MAX_CONNECTIONS")?.parse()?)
        .connect(&env::var("DATABASE_URL")?)
        .await?;
    let router = Router::new()
        .route("/users/{id}/orders", get(orders))
        .with_state(pool);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", env::var("PORT")?.parse()?)).await?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, router).await?;
    Ok(())
}

async fn orders(State(pool): State<PgPool>, Path(id): Path<String>) -> Result<Json<Value>, StatusCode> {
    match read(&pool, &id).await {
        Ok(Some(answer)) => Ok(Json(answer)),
        Ok(None) => Err(StatusCode::NOT_FOUND),
        Err(_) => Err(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

async fn read(pool: &PgPool, id: &str) -> Result<Option<Value>, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let user = sqlx::query("SELECT name, organization_id FROM public.users WHERE id = $1")
        .bind(id)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(user) = user else { return Ok(None) };
    let organization: String = user.try_get(1)?;
    let path = format!("SET search_path TO \"{organization}\", public");
    sqlx::raw_sql(AssertSqlSafe(path))
        .execute(&mut *connection)
        .await?;
    let rows = sqlx::query(
        "SELECT o.id, o.quantity, i.id, i.description, i.price::float8
         FROM orders o JOIN items i ON i.id = o.item_id WHERE o.user_id = $1",
    )
    .bind(id)
    .fetch_all(&mut *connection)
    .await?;
    let mut total_due = 0.0;
    let mut orders = Vec::with_capacity(rows.len());
    for row in rows {
        let (quantity, price): (i32, f64) = (row.try_get(1)?, row.try_get(4)?);
        total_due += price * f64::from(quantity);
        orders.push(json!({
            "id": row.try_get::<String, _>(0)?,
            "item": { "id": row.try_get::<String, _>(2)?, "description": row.try_get::<String, _>(3)? },
            "unit_price": price,
            "quantity": quantity,
            "line_total": price * f64::from(quantity),
        }));
    }
    Ok(Some(json!({
        "user": { "id": id, "name": user.try_get::<Option<String>, _>(0)?, "organization_id": organization },
        "orders": orders,
        "total_due": total_due,
    })))
}
