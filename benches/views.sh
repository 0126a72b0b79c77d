#!/usr/bin/env bash
# Tables with other names behind the views of docs/your-database.md, compared with the same tables under the service's
# names: latency for one client, and the indexes that PostgreSQL uses. Both are measured in turn, in several rounds.
#
# Usage: DATABASE_URL=postgres://… benches/views.sh [ROUNDS], by default 5. The URL names a superuser and ends with the
# name of a database; databases named views_… are created beside it. Needs psql and wrk (Debian: apt install postgresql wrk).
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${1:-5}
cargo build --release --locked --quiet
program="${CARGO_TARGET_DIR:-target}/release/tenant-orders"
scratch=$(mktemp -d)
services=()
cleanup() {
    [ ${#services[@]} = 0 ] || kill "${services[@]}" || true
    wait
    rm -rf "$scratch"
}
trap cleanup EXIT

run() { # DATABASE: runs standard input
    psql --quiet --no-psqlrc --tuples-only --no-align --set ON_ERROR_STOP=1 "${DATABASE_URL%/*}/$1"
}

documented() { # MARK: prints a block of SQL
    awk -v mark="<!-- $1 -->" '$0 == mark {found = 1} found && /^```/ {if (inside) exit; inside = 1; next} inside' \
        docs/your-database.md
}

# Two tenants, each with 1,000 users, 1,000 products and 100,000 orders.
create() { # TYPE ID: the type of the ids, and an id of the number n
    local database
    for database in "views_$1_base" "views_$1"; do
        run postgres <<<"DROP DATABASE IF EXISTS $database" 2>/dev/null
    done
    run postgres <<<"CREATE DATABASE views_$1"
    run "views_$1" <<SQL
$(documented tables | sed "s/bigint/$1/g")
CREATE FUNCTION id(n bigint) RETURNS $1 IMMUTABLE LANGUAGE sql AS '$2';
CREATE SCHEMA org_2;
CREATE TABLE org_2.products (LIKE org_1.products INCLUDING ALL);
CREATE TABLE org_2.sales_orders (LIKE org_1.sales_orders INCLUDING ALL);
INSERT INTO accounts SELECT id(n), 'account ' || n, 1 + n % 2 FROM generate_series(1, 2000) n;
DO \$\$ BEGIN FOR t IN 1..2 LOOP
    EXECUTE format('INSERT INTO org_%s.products SELECT id(n), ''product '' || n, n FROM generate_series(1, 1000) n', t);
    EXECUTE format('INSERT INTO org_%s.sales_orders SELECT id(n), ''2026-01-01''::timestamp + n * interval ''1 min'',
        1 + n %% 9, id(2 * (1 + n %% 1000) + 1 - %s), id(1 + n %% 997) FROM generate_series(1, 100000) n', t, t);
END LOOP; END \$\$;
$(documented views)
SQL
    run postgres <<<"CREATE DATABASE views_$1_base TEMPLATE views_$1"
    run "views_$1_base" <<SQL
DROP VIEW users, org_1.items, org_1.orders, org_2.items, org_2.orders;
ALTER TABLE accounts RENAME TO users;
ALTER TABLE users RENAME full_name TO name;
ALTER TABLE users RENAME org_id TO organization_id;
ALTER TABLE users ALTER organization_id TYPE text USING 'org_' || organization_id;
DO \$\$ BEGIN FOR t IN 1..2 LOOP
    EXECUTE format('SET LOCAL search_path TO org_%s', t);
    ALTER TABLE products RENAME TO items;
    ALTER TABLE items RENAME title TO description;
    ALTER TABLE items RENAME unit_price TO price;
    ALTER TABLE sales_orders RENAME TO orders;
    ALTER TABLE orders RENAME placed_at TO creation_timestamp;
    ALTER TABLE orders RENAME pieces TO quantity;
    ALTER TABLE orders RENAME account_id TO user_id;
    ALTER TABLE orders RENAME product_id TO item_id;
END LOOP; END \$\$;
SQL
    for database in "views_$1" "views_$1_base"; do
        run "$database" <<<"VACUUM ANALYZE"
    done
}

serve() { # DATABASE: starts the service, and sets url
    local log="$scratch/$1.log"
    DATABASE_URL="${DATABASE_URL%/*}/$1" PORT=0 DATABASE_MAX_CONNECTIONS=1 RUST_LOG=warn,tenant_orders::server=info \
        "$program" 2>"$log" &
    services+=($!)
    for _ in $(seq 100); do
        url=$(grep --only-matching 'http://127.0.0.1:[0-9]*' "$log" 2>/dev/null | tail -n 1) && return
        sleep 0.1
    done
    return 1
}

cat >"$scratch/users.lua" <<'LUA'
function init(arguments) path = arguments[1] end
function request() return wrk.format("GET", string.format(path, math.random(2000))) end
function done(summary, latency)
    local errors = summary.errors
    assert(errors.connect + errors.read + errors.write + errors.status + errors.timeout == 0, "a request failed")
    print("p50 " .. latency:percentile(50) / 1000)
end
LUA

measure() { # URL PATH: prints the median latency in ms
    wrk -t1 -c1 -d3s -s "$scratch/users.lua" "$1" -- "$2" | awk '$1 == "p50" {print $2}'
}

scans() { # DATABASE ID: prints the indexes that find a user, the orders of a user, and an item, through the views
    local id="'$2'::text::${1#views_}"
    run "$1" <<<"EXPLAIN SELECT FROM users WHERE id = $id; SET search_path TO org_2;
        EXPLAIN SELECT FROM orders WHERE user_id = $id; EXPLAIN SELECT FROM items WHERE id = $id" |
        sed -nE 's/.*(Seq Scan on [a-z_]+).*/\1/p; s/.*Index (Only )?Scan (on|using) ([a-z_]+).*/`\3`/p' | paste -sd ' ' -
}

printf '| ids | p50 ms, tables | p50 ms, views | views ÷ tables | indexes used through the views |\n|---|--:|--:|--:|---|\n'
compare() { # TYPE PATH ID
    local tables views round
    serve "views_$1_base"; local base_url=$url
    serve "views_$1"
    measure "$base_url" "$2" >/dev/null; measure "$url" "$2" >/dev/null # warms the caches
    for round in $(seq "$rounds"); do
        tables=$(measure "$base_url" "$2")
        views=$(measure "$url" "$2")
        echo "$tables $views"
    done >"$scratch/rounds"
    sort -n -k 1 "$scratch/rounds" | awk -v middle=$(((rounds + 1) / 2)) 'NR == middle {print $1}' >"$scratch/tables"
    sort -n -k 2 "$scratch/rounds" | awk -v middle=$(((rounds + 1) / 2)) 'NR == middle {print $2}' >"$scratch/views"
    awk '{print $2 / $1}' "$scratch/rounds" | sort -n |
        awk -v middle=$(((rounds + 1) / 2)) '{r[NR] = $1} END {printf "%.2f (%.2f–%.2f)", r[middle], r[1], r[NR]}' \
            >"$scratch/ratio"
    printf '| `%s` | %.2f | %.2f | %s | %s |\n' "$1" "$(cat "$scratch/tables")" "$(cat "$scratch/views")" \
        "$(cat "$scratch/ratio")" "$(scans "views_$1" "$3")"
}

create bigint 'SELECT n'
compare bigint /users/%d/orders 5
create uuid "SELECT (''00000000-0000-0000-0000-'' || lpad(n::text, 12, ''0''))::uuid"
compare uuid /users/00000000-0000-0000-0000-%012d/orders 00000000-0000-0000-0000-000000000005
