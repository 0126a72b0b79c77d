-- Objects in the schema $1 that hold data, or that data needs, and that an archive cannot restore.
WITH schema AS (
    SELECT oid FROM pg_namespace WHERE nspname = $1
),
relations AS (
    SELECT c.* FROM pg_class c WHERE c.relnamespace = (SELECT oid FROM schema)
),
tables AS (
    SELECT oid FROM relations WHERE relkind = 'r'
),
-- Schemas of other tenants.
others AS (
    SELECT relnamespace AS oid FROM pg_class
    WHERE relname IN ('items', 'orders') AND relkind IN ('r', 'p', 'v', 'm', 'f') AND relnamespace <> ALL (
        SELECT oid FROM schema UNION ALL SELECT 'public'::regnamespace)
    GROUP BY relnamespace HAVING count(*) = 2
),
foreign_relations AS (
    SELECT oid FROM pg_class WHERE relnamespace IN (SELECT oid FROM others) AND relkind NOT IN ('i', 'I')
),
-- Schemas whose types, functions and the like an archive cannot create.
schemas AS (
    SELECT oid FROM schema UNION ALL SELECT oid FROM others
),
-- Objects that an archive cannot create.
missing AS (
    SELECT 'pg_class'::regclass AS classid, oid FROM foreign_relations
  UNION ALL
    SELECT 'pg_type'::regclass, oid FROM pg_type WHERE typnamespace IN (SELECT oid FROM schemas)
  UNION ALL
    SELECT 'pg_proc'::regclass, oid FROM pg_proc WHERE pronamespace IN (SELECT oid FROM schemas)
  UNION ALL
    SELECT 'pg_operator'::regclass, oid FROM pg_operator WHERE oprnamespace IN (SELECT oid FROM schemas)
  UNION ALL
    SELECT 'pg_opclass'::regclass, oid FROM pg_opclass WHERE opcnamespace IN (SELECT oid FROM schemas)
  UNION ALL
    SELECT 'pg_collation'::regclass, oid FROM pg_collation WHERE collnamespace IN (SELECT oid FROM schemas)
),
-- Parts of tables: columns, indexes, defaults, constraints.
parts AS (
    SELECT 'pg_class'::regclass AS classid, oid FROM tables
  UNION ALL
    SELECT 'pg_class'::regclass, indexrelid FROM pg_index WHERE indrelid IN (SELECT oid FROM tables)
  UNION ALL
    SELECT 'pg_attrdef'::regclass, oid FROM pg_attrdef WHERE adrelid IN (SELECT oid FROM tables)
  UNION ALL
    SELECT 'pg_constraint'::regclass, oid FROM pg_constraint WHERE conrelid IN (SELECT oid FROM tables)
)
SELECT format('partitioned table %s', relname) FROM relations WHERE relkind = 'p'
UNION
SELECT format('foreign table %s', relname) FROM relations WHERE relkind = 'f'
UNION
SELECT format('table %s, which inherits or is inherited from', relname) FROM relations
WHERE relkind = 'r' AND oid IN (SELECT inhrelid FROM pg_inherits UNION ALL SELECT inhparent FROM pg_inherits)
UNION
SELECT format('typed table %s', relname) FROM relations WHERE relkind = 'r' AND reloftype <> 0
UNION
SELECT format('%s, which has the name of a system catalog', relname) FROM relations
WHERE relkind IN ('r', 'S') AND NOT pg_table_is_visible(oid)
UNION
SELECT format('%s, which needs %s', pg_describe_object(d.classid, d.objid, d.objsubid),
              pg_describe_object(d.refclassid, d.refobjid, 0))
FROM pg_depend d
JOIN parts p ON p.classid = d.classid AND p.oid = d.objid
JOIN missing o ON o.classid = d.refclassid AND o.oid = d.refobjid
ORDER BY 1
