\set tenant random(1, :tenants)
\set user random(1, :users)
SELECT id, creation_timestamp, name, password, mail, organization_id FROM public.users WHERE id = 't:tenant-u:user';
SET search_path TO t:tenant, public;
SELECT o.id, o.creation_timestamp, o.quantity, o.user_id, o.item_id, i.id, i.creation_timestamp, i.description, i.price FROM orders o JOIN items i ON i.id = o.item_id WHERE o.user_id = 't:tenant-u:user';
