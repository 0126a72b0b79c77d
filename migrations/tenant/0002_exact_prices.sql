-- Through text, which is the shortest decimal of the same float: a direct cast rounds to 15 digits.
ALTER TABLE items ALTER COLUMN price TYPE numeric USING price::text::numeric;
