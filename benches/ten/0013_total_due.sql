CREATE FUNCTION total_due(of_user varchar) RETURNS numeric LANGUAGE sql STABLE
AS 'SELECT sum(total) FROM order_lines WHERE user_id = of_user';
