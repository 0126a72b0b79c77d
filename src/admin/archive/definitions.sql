-- Statements that recreate the tables of the schema $1: rows of (step, statement). Steps 0 to 3 run before the rows are
-- loaded, the others after. Names are unqualified, since the search path names the schema.
--
-- As pg_dump does, this creates partitions as tables of their own, with their own columns, indexes and keys, and attaches
-- them: so they keep their names and the order of their columns.
WITH tables AS (
    SELECT c.oid, c.relname, c.relkind = 'p' AS is_partitioned, p.relname AS parent,
           pg_get_expr(c.relpartbound, c.oid) AS bound
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
    LEFT JOIN pg_class p ON p.oid = i.inhparent
    WHERE n.nspname = $1 AND c.relkind IN ('r', 'p')
),
types AS (
    SELECT y.* FROM pg_type y JOIN pg_namespace n ON n.oid = y.typnamespace
    WHERE n.nspname = $1 AND y.typtype IN ('d', 'e')
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
           CASE WHEN t.is_partitioned THEN 'ONLY ' END AS modifier, pg_get_indexdef(i.oid) AS definition
    FROM pg_index x
    JOIN tables t ON t.oid = x.indrelid
    JOIN pg_class i ON i.oid = x.indexrelid
    WHERE x.indisvalid AND NOT EXISTS (
        SELECT FROM pg_constraint k
        WHERE k.conrelid = t.oid AND k.conindid = i.oid AND k.contype IN ('p', 'u', 'x'))
)
SELECT step, statement
FROM (
    SELECT 0 AS step, lpad(y.oid::text, 10, '0') AS name, CASE y.typtype
        WHEN 'e' THEN format('CREATE TYPE %I AS ENUM (%s);', y.typname, (
            SELECT string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = y.oid))
        ELSE concat(
            format('CREATE DOMAIN %I AS %s', y.typname, format_type(y.typbasetype, y.typtypmod)),
            (SELECT format(' COLLATE %I.%I', n.nspname, l.collname)
             FROM pg_collation l JOIN pg_namespace n ON n.oid = l.collnamespace JOIN pg_type b ON b.oid = y.typbasetype
             WHERE l.oid = y.typcollation AND l.oid <> b.typcollation),
            ' DEFAULT ' || pg_get_expr(y.typdefaultbin, 0), CASE WHEN y.typnotnull THEN ' NOT NULL' END, ';')
        END AS statement
    FROM types y
  UNION ALL
    SELECT 1, relname,
           format('CREATE SEQUENCE %I AS %s %s;', relname, type, options)
    FROM sequences WHERE NOT is_identity
  UNION ALL
    SELECT 2, relname, format(E'CREATE TABLE %I (%s\n)%s;', relname, (
        SELECT string_agg(E'\n    ' || definition, ',' ORDER BY attnum) FROM columns WHERE attrelid = oid),
        CASE WHEN is_partitioned THEN ' PARTITION BY ' || pg_get_partkeydef(oid) END)
    FROM tables
  UNION ALL
    SELECT 3, relname, format('ALTER TABLE %I ATTACH PARTITION %I %s;', parent, relname, bound)
    FROM tables WHERE parent IS NOT NULL
  UNION ALL
    SELECT 4, k.conname, format('ALTER DOMAIN %I ADD CONSTRAINT %I %s;', y.typname, k.conname, pg_get_constraintdef(k.oid))
    FROM pg_constraint k JOIN types y ON y.oid = k.contypid
    WHERE k.contype = 'c'
  UNION ALL
    -- Foreign keys follow the indexes: a foreign key can reference a unique index. Partitions have the checks and foreign
    -- keys of their table from there, but a primary key or unique constraint of their own.
    SELECT CASE k.contype WHEN 'f' THEN 7 ELSE 4 END, k.conname,
           format('ALTER TABLE %s%I ADD CONSTRAINT %I %s;', CASE WHEN t.is_partitioned AND k.contype IN ('p', 'u', 'x')
                  THEN 'ONLY ' END, t.relname, k.conname, pg_get_constraintdef(k.oid))
    FROM pg_constraint k JOIN tables t ON t.oid = k.conrelid
    WHERE k.contype IN ('p', 'u', 'x') OR k.contype IN ('c', 'f') AND k.coninhcount = 0 AND k.conparentid = 0
  UNION ALL
    -- pg_get_indexdef qualifies the table: its prefix is replaced by an unqualified one.
    SELECT 5, relname, format('CREATE %sINDEX %I ON %s%I%s;', uniqueness, relname, modifier, table_name, substr(
        definition, 1 + length(format('CREATE %sINDEX %I ON %s%I.%I', uniqueness, relname, modifier, $1, table_name))))
    FROM indexes
  UNION ALL
    SELECT 6, c.relname, format('ALTER INDEX %I ATTACH PARTITION %I;', p.relname, c.relname)
    FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid
    JOIN pg_class p ON p.oid = i.inhparent
    JOIN pg_index x ON x.indexrelid = c.oid
    JOIN tables t ON t.oid = x.indrelid
  UNION ALL
    SELECT 8, s.relname, format('ALTER SEQUENCE %I OWNED BY %I.%I;', s.relname, t.relname, a.attname)
    FROM sequences s
    JOIN tables t ON t.oid = s.table_oid
    JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = s.column_number
    WHERE NOT s.is_identity
  UNION ALL
    SELECT 9, relname, format('SELECT pg_catalog.setval(%L, %s);', quote_ident(relname), last_value)
    FROM sequences WHERE last_value IS NOT NULL
) AS statements
ORDER BY step, name
