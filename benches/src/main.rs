//! Compares the service with pgbench, which runs the tutorial's statements, and with a naive port of the tutorial.
//! All three run on one machine and take turns in rounds. The result is the ratios of the rounds and their spread.

mod delay;
mod measure;
mod servers;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::Parser;

use measure::{Round, median};
use servers::{Host, Server};

type Failure = Box<dyn Error>;

/// Measures tenant-orders against pgbench and a naive port. Needs cargo, wrk, pgbench and a PostgreSQL
/// server on the machine (Debian: apt install wrk postgresql), and an idle machine
#[derive(Debug, Parser)]
struct Plan {
    /// Number of tenants; caches help less with more tenants
    #[arg(long, default_value_t = 200)]
    tenants: u32,
    /// Number of users per tenant
    #[arg(long, default_value_t = 500)]
    users: u32,
    /// Number of orders per user
    #[arg(long, default_value_t = 10)]
    orders: u32,
    /// Zipf exponent of the tenants' frequencies; 0 is uniform
    #[arg(long, default_value_t = 0.0)]
    zipf: f64,
    /// Database connections of each pool and of pgbench
    #[arg(long, default_value_t = 4)]
    connections: u32,
    /// HTTP connections of the load generator
    #[arg(long, default_value_t = 12)]
    clients: u32,
    /// Number of rounds; each measures all three programs once
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Duration of each measurement, in seconds
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Duration of each program's warm-up before the first round, in seconds
    #[arg(long, default_value_t = 20)]
    warm_up: u32,
    /// Folder that keeps the database for the next run, one per number of tenants, users and orders
    #[arg(long, default_value = "/var/tmp/tenant-orders-benchmark")]
    data: PathBuf,
    /// Round-trip time to PostgreSQL, such as 500us; without it, PostgreSQL is reached by its socket
    #[arg(long, value_name = "DURATION", value_parser = delay::parse)]
    rtt: Option<Duration>,
    /// Reach PostgreSQL over TCP on port 5432 instead of by its socket
    #[arg(long, conflicts_with = "rtt")]
    tcp: bool,
    /// Undo the migrations: prices are floating-point numbers, and orders have an index on `user_id` alone
    #[arg(long)]
    unmigrated: bool,
    /// Another build of tenant-orders, measured beside this one
    #[arg(long, value_name = "PROGRAM")]
    baseline: Option<PathBuf>,
    /// Additional environment variable of the service
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
}

fn main() -> Result<(), Failure> {
    let plan = Plan::parse();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let product = here
        .parent()
        .ok_or("the benchmark is not in the repository of tenant-orders")?;
    for folder in [product, here] {
        run(Command::new("cargo")
            .args(["build", "--release", "--locked", "--bins"])
            .current_dir(folder))?;
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| product.join("target"), PathBuf::from);
    let program = target.join("release/tenant-orders");
    let kind = if plan.unmigrated { "-unmigrated" } else { "" };
    let data = plan
        .data
        .join(format!("{}x{}x{}{kind}", plan.tenants, plan.users, plan.orders));
    std::fs::create_dir_all(&plan.data)?;

    let is_new = !data.exists();
    eprintln!("seeding the database in {}, unless it already is", data.display());
    let count = |count: u32| count.to_string();
    // Without their migrations, tenants cannot be seeded again.
    if is_new || !plan.unmigrated {
        run(Command::new(&program)
            .args(["seed", "bulk", "--tenants", &count(plan.tenants)])
            .args(["--users", &count(plan.users), "--orders", &count(plan.orders)])
            .env("DATA_DIR", &data))?;
    }
    let host = Host::start(&program, &data, plan.rtt, plan.tcp)?;
    if is_new && plan.unmigrated {
        eprintln!("undoing the migrations");
        run(Command::new("psql")
            .args([
                "--quiet",
                "--no-psqlrc",
                "--set=ON_ERROR_STOP=1",
                "--username=postgres",
            ])
            .arg(format!("--host={}", host.socket.display()))
            .arg(format!("--file={}", here.join("unmigrate.sql").display()))
            .arg("postgres"))?;
    }
    let naive = std::env::current_exe()?.with_file_name("naive");
    let mut contenders = vec![
        ("pgbench, the tutorial's statements", None),
        ("tenant-orders", Some(program)),
        ("naive port", Some(naive)),
    ];
    if let Some(baseline) = &plan.baseline {
        contenders.push(("tenant-orders, other build", Some(baseline.clone())));
    }
    let mut rounds = vec![Vec::new(); contenders.len()];
    for number in 1..=plan.rounds {
        for ((name, program), rounds) in contenders.iter().zip(&mut rounds) {
            eprintln!("round {number}: {name}, {} s", plan.seconds);
            rounds.push(match program {
                None => measure::pgbench(here, &host, &plan, plan.seconds)?,
                Some(program) => {
                    // A program runs only during its turn, because its idle backends would count as another's.
                    let ignored_backends = host.backends();
                    let server = Server::start(program, &host, &plan)?;
                    let measure =
                        |seconds| measure::wrk(here, &server, &host, &ignored_backends, &plan, seconds);
                    measure(plan.warm_up)?;
                    measure(plan.seconds)?
                }
            });
        }
    }
    print_results(&plan, &contenders, &rounds);
    Ok(())
}

fn run(command: &mut Command) -> Result<(), Failure> {
    if command.status()?.success() {
        return Ok(());
    }
    Err(format!("{command:?} failed").into())
}

fn print_results(plan: &Plan, contenders: &[(&str, Option<PathBuf>)], rounds: &[Vec<Round>]) {
    println!(
        "\n{} tenants × {} users × {} orders, Zipf {}, {} connections, {} clients, {} × {} s, {} cores, {}\n",
        plan.tenants,
        plan.users,
        plan.orders,
        plan.zipf,
        plan.connections,
        plan.clients,
        plan.rounds,
        plan.seconds,
        std::thread::available_parallelism().map_or(0, usize::from),
        plan.rtt.map_or(
            if plan.tcp { "TCP" } else { "Unix socket" }.to_owned(),
            |rtt| format!("round trip {rtt:?}")
        ),
    );
    println!(
        "| | requests/s | ÷ pgbench | ÷ naive port | p50 ms | p99 ms | program, CPU ms per request | PostgreSQL, CPU ms per request | program, MiB | backend, private MiB |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    for ((name, _), of_program) in contenders.iter().zip(rounds) {
        let figure = |decimals, value: fn(&Round) -> f64| match median(of_program.iter().map(value)) {
            unknown if unknown.is_nan() => String::new(),
            known => format!("{known:.decimals$}"),
        };
        println!(
            "| {name} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            figure(0, |round| round.rate),
            ratio(of_program, &rounds[0]),
            ratio(of_program, &rounds[2]),
            figure(2, |round| round.p50),
            figure(2, |round| round.p99),
            figure(3, |round| round.program_cpu),
            figure(3, |round| round.database_cpu),
            figure(1, |round| round.program_memory),
            figure(1, |round| round.backend_memory),
        );
    }
    if let Some(other) = rounds.get(3) {
        println!("\ntenant-orders ÷ other build: {}", ratio(&rounds[1], other));
    }
    let all = || rounds.iter().flatten();
    let failed: u64 = all().map(|round| round.failed).sum();
    if failed > 0 {
        println!("INVALID: {failed} requests failed");
    }
    let busy = all().map(|round| round.others).fold(0.0, f64::max);
    if busy > 0.05 && plan.rtt.is_none() {
        println!(
            "INVALID: other programs used up to {:.0} % of the CPU",
            busy * 100.0
        );
    }
}

/// Returns the median of the rounds' ratios, with the minimum and maximum.
fn ratio(rounds: &[Round], baseline: &[Round]) -> String {
    let ratios: Vec<f64> = rounds
        .iter()
        .zip(baseline)
        .map(|(round, baseline)| round.rate / baseline.rate)
        .collect();
    let min = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let max = ratios.iter().copied().fold(0.0, f64::max);
    format!("{:.2} ({min:.2}–{max:.2})", median(ratios.into_iter()))
}
