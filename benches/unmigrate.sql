-- Makes the tables as they are in a database that the service never migrated.
DO $$
DECLARE
    tenant name;
    index regclass;
BEGIN
    FOR tenant IN SELECT DISTINCT organization_id FROM public.users
        JOIN pg_class ON relnamespace::regnamespace::text = organization_id AND relname = '_tenant_orders_migrations'
    LOOP
        EXECUTE format('ALTER TABLE %I.items ALTER price TYPE double precision', tenant);
        FOR index IN SELECT indexrelid FROM pg_index
            WHERE indrelid = format('%I.orders', tenant)::regclass AND NOT indisprimary
        LOOP
            EXECUTE format('DROP INDEX %s', index);
        END LOOP;
        EXECUTE format('CREATE INDEX ON %I.orders (user_id)', tenant);
        EXECUTE format('DROP TABLE %I._tenant_orders_migrations', tenant);
        COMMIT; -- one transaction for each tenant, or the lock table is full
    END LOOP;
END
$$;
VACUUM ANALYZE;
