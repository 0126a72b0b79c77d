\set tenant random(1, :tenants)
\set user random(1, :users)
SELECT id, name, organization_id FROM public.users WHERE id = 't:tenant-u:user';
SET search_path TO t:tenant, public;
SELECT o.id, o.quantity, i.id, i.description, i.price FROM orders o JOIN items i ON i.id = o.item_id WHERE o.user_id = 't:tenant-u:user';
