ALTER TABLE orders ADD COLUMN channel text DEFAULT 'web';
ALTER TABLE orders ADD COLUMN ordered_on date;
