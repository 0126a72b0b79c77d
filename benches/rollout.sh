#!/usr/bin/env bash
# Ten migrations (benches/ten) on many tenants while the service and a writer use them, between two control runs.
#
# Usage: benches/rollout.sh [TENANTS], by default 1000. Needs psql, pgbench, wrk, and DATABASE_URL of an empty database
# whose server accepts 40 connections more. PROGRAM is the program, by default a new release build.
set -euo pipefail
cd "$(dirname "$0")/.."

tenants=${1:-1000} users=10 seconds=30
if [ -z "${PROGRAM:-}" ]; then
    cargo build --release --locked
    PROGRAM=${CARGO_TARGET_DIR:-target}/release/tenant-orders
fi
scratch=$(mktemp -d)
service=
cleanup() {
    [ -z "$service" ] || kill "$service" || true
    wait
    rm -rf "$scratch"
}
trap cleanup EXIT

cp -r migrations "$scratch/migrations"
cp benches/ten/* "$scratch/migrations/tenant/"
cat >"$scratch/write.sql" <<SQL
\set tenant random(1, $tenants)
\set person random(1, $users)
INSERT INTO t:tenant.orders (id, creation_timestamp, quantity, user_id, item_id)
VALUES (gen_random_uuid(), now(), 1 + :person, concat('t', :tenant, '-u', :person), '1');
SQL

"$PROGRAM" seed bulk --tenants "$tenants" --users $users --items 20 --orders 20 2>"$scratch/log"
"$PROGRAM" serve --port 8591 2>"$scratch/service" &
service=$!
until "$PROGRAM" healthcheck --ready --port 8591 >/dev/null 2>&1; do sleep 0.2; done

load() { # NAME COMMAND…: prints a row while the command runs, which is repeated load for the duration of the command
    local name=$1 started writer reader
    shift
    pgbench "$DATABASE_URL" --no-vacuum --protocol=simple --client=2 --time=3600 --file="$scratch/write.sql" \
        --progress=1 >"$scratch/writes" 2>&1 &
    writer=$!
    wrk --threads 1 --connections 8 --duration 3600 --script benches/users.lua http://127.0.0.1:8591 -- \
        "$tenants" $users 0 >"$scratch/requests" &
    reader=$!
    started=$(date +%s.%N)
    "$@" >"$scratch/output" 2>&1 || { tail -n 5 "$scratch/output" >&2; exit 1; }
    local ended
    ended=$(date +%s.%N)
    kill -INT $reader # prints its result
    kill -TERM $writer
    wait $reader || true
    wait $writer || true
    local aborted
    aborted=$(grep --count 'aborted\|ERROR' "$scratch/writes" || true)
    awk -v name="$name" -v seconds="$(echo "$ended - $started" | bc)" -v aborted="$aborted" '
        /^result/ {printf "| %s | %.0f | %d | %.1f | %.1f | %d |", name, seconds, $2, $4 / 1000, $5 / 1000, $6}
        END {printf " %d |\n", aborted}' "$scratch/requests"
    awk '/^progress/ {tps += $4; lag = ($7 > lag) ? $7 : lag} END {printf "  writes: %d, worst second %.1f ms\n", tps, lag}' \
        "$scratch/writes"
}

echo "| | seconds | requests | p50 ms | p99 ms | failed requests | failed writes |"
load "control before" sleep $seconds
load "ten migrations" "$PROGRAM" migrate --migrations "$scratch/migrations"
load "control after" sleep $seconds
