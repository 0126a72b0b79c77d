-- By way of text, which is the shortest decimal that means the same float: a direct cast rounds to 15 digits.
ALTER TABLE items ALTER COLUMN price TYPE numeric USING price::text::numeric;

-- In the order in which a user's orders are listed, so that a page is read without sorting them all.
CREATE INDEX orders_user_id_idx ON orders (user_id, creation_timestamp DESC NULLS LAST, id);
