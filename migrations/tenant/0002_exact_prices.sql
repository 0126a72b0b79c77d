-- Clients of the table wait for at most the lock timeout: half of it for the lock, and half of it for the rewrite.
SELECT set_config('lock_timeout', ceil(extract(epoch FROM current_setting('lock_timeout')::interval) * 500)::text, true);
LOCK TABLE items IN ACCESS EXCLUSIVE MODE;
SELECT set_config('statement_timeout', current_setting('lock_timeout'), true);

-- Through text, which is the shortest decimal of the same float: a direct cast rounds to 15 digits.
ALTER TABLE items ALTER COLUMN price TYPE numeric USING price::text::numeric;
