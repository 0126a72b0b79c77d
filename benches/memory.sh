#!/usr/bin/env bash
# Memory over time: prints the memory of the service and of each of its backends under full load, once a minute.
#
# Usage: benches/memory.sh [MINUTES [TENANTS [USERS]]], by default 60 minutes with 200 tenants of 500 users,
# which fill the tenant cache. Needs wrk and a PostgreSQL server on the machine (Debian: apt install wrk postgresql).
set -euo pipefail
cd "$(dirname "$0")/.."
minutes=${1:-60} tenants=${2:-200} users=${3:-500}

cargo build --release --locked
program="$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/release/tenant-orders"
export DATA_DIR="/var/tmp/tenant-orders-benchmark/${tenants}x${users}x10"
mkdir -p "${DATA_DIR%/*}"
"$program" seed bulk --tenants "$tenants" --users "$users" --orders 10

log=$(mktemp)
PORT=0 RUST_LOG=info "$program" >/dev/null 2>"$log" &
service=$! load=
cleanup() {
    [ -z "$load" ] || kill "$load" 2>/dev/null || true
    kill "$service" || true
    wait
    rm -f "$log"
}
trap cleanup EXIT
until address=$(grep -o 'http://[0-9.:]*' "$log" | head -n 1) && [ -n "$address" ]; do
    kill -0 "$service" || { cat "$log" >&2; exit 1; }
    sleep 0.1
done

wrk -t1 -c12 "-d$((minutes * 60))s" -s benches/users.lua "$address" -- "$tenants" "$users" 0 &
load=$!
echo "minute, responses with status 200, service MiB, private MiB of each backend"
for minute in $(seq 1 "$minutes"); do
    sleep 59
    responses=$(curl -s "$address/metrics" | awk '/request_duration_seconds_count.*orders.*"200"/ {print $2}')
    resident=$(awk '/VmRSS/ {printf "%.0f", $2 / 1024}' "/proc/$service/status")
    server=$(head -n 1 "$DATA_DIR/cluster/postmaster.pid")
    backends=
    for backend in $(pgrep -P "$server" -f '^postgres: postgres '); do
        backends+=" $(awk '/^Private/ {sum += $2} END {printf "%.0f", sum / 1024}' "/proc/$backend/smaps_rollup")"
    done
    echo "$minute, $responses, $resident,$backends"
done
