CREATE VIEW order_lines AS
SELECT o.id, o.user_id, o.ordered_on, i.description, i.price * o.quantity AS total
FROM orders o LEFT JOIN items i ON i.id = o.item_id;
