-- no-transaction
DO $$ BEGIN
    LOOP
        UPDATE orders SET ordered_on = creation_timestamp::date WHERE id IN (
            SELECT id FROM orders WHERE ordered_on IS NULL AND creation_timestamp IS NOT NULL LIMIT 1000);
        EXIT WHEN NOT FOUND;
        COMMIT;
    END LOOP;
END $$;
