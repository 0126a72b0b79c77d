-- Objects in the schema $1 that hold data, or that data needs, and that an archive cannot restore.
WITH schema AS (
    SELECT oid FROM pg_namespace WHERE nspname = $1
),
relations AS (
    SELECT c.* FROM pg_class c WHERE c.relnamespace = (SELECT oid FROM schema)
),
tables AS (
    SELECT oid FROM relations WHERE relkind IN ('r', 'p')
),
-- Enums and domains, which an archive creates.
types AS (
    SELECT oid, typarray FROM pg_type WHERE typnamespace = (SELECT oid FROM schema) AND typtype IN ('d', 'e')
),
-- Schemas of other tenants.
others AS (
    SELECT relnamespace AS oid FROM pg_class
    WHERE relname IN ('items', 'orders') AND relkind IN ('r', 'p', 'v', 'm', 'f') AND relnamespace <> ALL (
        SELECT oid FROM schema UNION ALL SELECT 'public'::regnamespace)
    GROUP BY relnamespace HAVING count(*) = 2
),
-- Parts of tables: columns, indexes, defaults, constraints. Domains and their constraints.
parts AS (
    SELECT 'pg_type'::regclass AS classid, oid FROM types
  UNION ALL
    SELECT 'pg_class'::regclass, oid FROM tables
  UNION ALL
    SELECT 'pg_class'::regclass, indexrelid FROM pg_index WHERE indrelid IN (SELECT oid FROM tables)
  UNION ALL
    SELECT 'pg_attrdef'::regclass, oid FROM pg_attrdef WHERE adrelid IN (SELECT oid FROM tables)
  UNION ALL
    SELECT 'pg_constraint'::regclass, oid FROM pg_constraint
    WHERE conrelid IN (SELECT oid FROM tables) OR contypid IN (SELECT oid FROM types)
),
-- Objects that the parts need, with their schemas. Looking for them among all objects of other tenants takes seconds.
needed AS (
    SELECT d.*, CASE d.refclassid
        WHEN 'pg_class'::regclass THEN
            (SELECT relnamespace FROM pg_class WHERE oid = d.refobjid AND relkind NOT IN ('i', 'I'))
        WHEN 'pg_type'::regclass THEN (SELECT typnamespace FROM pg_type WHERE oid = d.refobjid)
        WHEN 'pg_proc'::regclass THEN (SELECT pronamespace FROM pg_proc WHERE oid = d.refobjid)
        WHEN 'pg_operator'::regclass THEN (SELECT oprnamespace FROM pg_operator WHERE oid = d.refobjid)
        WHEN 'pg_opclass'::regclass THEN (SELECT opcnamespace FROM pg_opclass WHERE oid = d.refobjid)
        WHEN 'pg_collation'::regclass THEN (SELECT collnamespace FROM pg_collation WHERE oid = d.refobjid)
        END AS schema
    FROM parts p JOIN pg_depend d ON d.classid = p.classid AND d.objid = p.oid
)
SELECT format('foreign table %s', relname) FROM relations WHERE relkind = 'f'
UNION
SELECT format('table %s, which inherits or is inherited from', relname) FROM relations
WHERE relkind = 'r' AND NOT relispartition
  AND oid IN (SELECT inhrelid FROM pg_inherits UNION ALL SELECT inhparent FROM pg_inherits)
UNION
SELECT format('table %s, which is a partition of %s', c.oid::regclass, p.oid::regclass)
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent
WHERE c.relispartition AND c.relnamespace <> p.relnamespace
  AND (SELECT oid FROM schema) IN (c.relnamespace, p.relnamespace)
UNION
SELECT format('typed table %s', relname) FROM relations WHERE relkind = 'r' AND reloftype <> 0
UNION
SELECT format('%s, which has the name of a system catalog', relname) FROM relations
WHERE relkind IN ('r', 'p', 'S') AND NOT pg_table_is_visible(oid)
UNION
SELECT format('type %s, which has the name of a system type', typname) FROM pg_type
WHERE oid IN (SELECT oid FROM types) AND NOT pg_type_is_visible(oid)
UNION
SELECT format('%s, which needs %s', pg_describe_object(d.classid, d.objid, d.objsubid),
              pg_describe_object(d.refclassid, d.refobjid, 0))
FROM needed d
WHERE d.schema IN (SELECT oid FROM others)
   -- An archive creates the tables, enums and domains of the schema itself, but neither other types nor functions.
   OR d.schema = (SELECT oid FROM schema) AND d.refclassid <> 'pg_class'::regclass
      AND NOT (d.refclassid = 'pg_type'::regclass
               AND d.refobjid IN (SELECT oid FROM types UNION ALL SELECT typarray FROM types))
ORDER BY 1
