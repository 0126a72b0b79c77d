-- Queries, one for each foreign key of a table in the schema $1 to public.users: the number of referenced users that do
-- not belong to the tenant, as a description, or no row if there are none.
SELECT format(
    'SELECT format(''%%s of other organizations that table %%s refers to'', '
    '              CASE count(*) WHEN 1 THEN ''1 user'' ELSE count(*) || '' users'' END, %L) '
    'FROM public.users u WHERE u.organization_id::text COLLATE "C" <> %L '
    'AND EXISTS (SELECT FROM %I.%I t WHERE %s) HAVING count(*) > 0',
    c.relname, $1, $1, c.relname, (
        SELECT string_agg(format('t.%I = u.%I', own.attname, other.attname), ' AND ')
        FROM unnest(k.conkey, k.confkey) AS pair (own_number, other_number)
        JOIN pg_attribute own ON own.attrelid = k.conrelid AND own.attnum = pair.own_number
        JOIN pg_attribute other ON other.attrelid = k.confrelid AND other.attnum = pair.other_number))
FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid AND c.relkind = 'r'
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND k.contype = 'f' AND k.confrelid = 'public.users'::regclass
ORDER BY c.relname, k.conname
