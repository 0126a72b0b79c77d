-- no-transaction
CREATE INDEX CONCURRENTLY orders_item_id_idx ON orders (item_id);
