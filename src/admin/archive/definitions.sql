-- Statements that recreate the tables of the schema $1: rows of (step, statement). Steps 1 and 2 run before the rows are
-- loaded, the others after. Names are unqualified, since the search path names the schema.
WITH tables AS (
    SELECT c.oid, c.relname
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relkind = 'r'
),
sequences AS (
    SELECT c.relname, d.refobjid AS table_oid, d.refobjsubid AS column_number,
           COALESCE(d.deptype = 'i', false) AS is_identity,
           format_type(s.seqtypid, NULL) AS type,
           format('START WITH %s INCREMENT BY %s MINVALUE %s MAXVALUE %s CACHE %s%s', s.seqstart,
                  s.seqincrement, s.seqmin, s.seqmax, s.seqcache, CASE WHEN s.seqcycle THEN ' CYCLE' END)
               AS options,
           pg_sequence_last_value(c.oid) AS last_value
    FROM pg_sequence s
    JOIN pg_class c ON c.oid = s.seqrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    -- The column that owns the sequence, by OWNED BY or as an identity column.
    LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0
        AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
    WHERE n.nspname = $1
),
columns AS (
    SELECT a.attrelid, a.attnum, concat(
        format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)),
        (SELECT format(' COLLATE %I.%I', n.nspname, l.collname)
         FROM pg_collation l JOIN pg_namespace n ON n.oid = l.collnamespace
         WHERE l.oid = a.attcollation AND l.oid <> y.typcollation),
        CASE
            WHEN a.attidentity <> '' THEN (
                SELECT format(' GENERATED %s AS IDENTITY (SEQUENCE NAME %I %s)',
                              CASE a.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END, s.relname, s.options)
                FROM sequences s
                WHERE s.is_identity AND s.table_oid = a.attrelid AND s.column_number = a.attnum)
            WHEN a.attgenerated <> '' THEN
                format(' GENERATED ALWAYS AS (%s) %s', pg_get_expr(d.adbin, d.adrelid),
                       CASE a.attgenerated WHEN 's' THEN 'STORED' ELSE 'VIRTUAL' END)
            WHEN d.oid IS NOT NULL THEN format(' DEFAULT %s', pg_get_expr(d.adbin, d.adrelid))
        END,
        -- Since PostgreSQL 18, rows can violate a constraint that is NOT VALID.
        CASE WHEN a.attnotnull AND NOT EXISTS (
            SELECT FROM pg_constraint k
            WHERE k.conrelid = a.attrelid AND k.contype = 'n' AND k.conkey[1] = a.attnum AND NOT k.convalidated)
        THEN ' NOT NULL' END) AS definition
    FROM tables t
    JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type y ON y.oid = a.atttypid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
),
indexes AS (
    SELECT t.relname AS table_name, i.relname, CASE WHEN x.indisunique THEN 'UNIQUE ' END AS uniqueness,
           pg_get_indexdef(i.oid) AS definition
    FROM pg_index x
    JOIN tables t ON t.oid = x.indrelid
    JOIN pg_class i ON i.oid = x.indexrelid
    WHERE x.indisvalid AND NOT EXISTS (
        SELECT FROM pg_constraint k
        WHERE k.conrelid = t.oid AND k.conindid = i.oid AND k.contype IN ('p', 'u', 'x'))
)
SELECT step, statement
FROM (
    SELECT 1 AS step, relname AS name,
           format('CREATE SEQUENCE %I AS %s %s;', relname, type, options) AS statement
    FROM sequences WHERE NOT is_identity
  UNION ALL
    SELECT 2, relname, format(E'CREATE TABLE %I (%s\n);', relname, (
        SELECT string_agg(E'\n    ' || definition, ',' ORDER BY attnum) FROM columns WHERE attrelid = oid))
    FROM tables
  UNION ALL
    -- Foreign keys follow the indexes: a foreign key can reference a unique index.
    SELECT CASE k.contype WHEN 'f' THEN 5 ELSE 3 END, k.conname,
           format('ALTER TABLE %I ADD CONSTRAINT %I %s;', t.relname, k.conname, pg_get_constraintdef(k.oid))
    FROM pg_constraint k JOIN tables t ON t.oid = k.conrelid
    WHERE k.contype IN ('p', 'u', 'x', 'c', 'f')
  UNION ALL
    -- pg_get_indexdef qualifies the table: its prefix is replaced by an unqualified one.
    SELECT 4, relname, format('CREATE %sINDEX %I ON %I%s;', uniqueness, relname, table_name, substr(
        definition, 1 + length(format('CREATE %sINDEX %I ON %I.%I', uniqueness, relname, $1, table_name))))
    FROM indexes
  UNION ALL
    SELECT 6, s.relname, format('ALTER SEQUENCE %I OWNED BY %I.%I;', s.relname, t.relname, a.attname)
    FROM sequences s
    JOIN tables t ON t.oid = s.table_oid
    JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = s.column_number
    WHERE NOT s.is_identity
  UNION ALL
    SELECT 7, relname, format('SELECT pg_catalog.setval(%L, %s);', quote_ident(relname), last_value)
    FROM sequences WHERE last_value IS NOT NULL
) AS statements
ORDER BY step, name
