-- no-transaction
-- The order in which a user's orders are listed, so that a page is read without sorting all of them.
CREATE INDEX CONCURRENTLY orders_user_id_idx ON orders (user_id, creation_timestamp DESC NULLS LAST, id);
