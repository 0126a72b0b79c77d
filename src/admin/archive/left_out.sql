-- Objects in the schema $1, or of its tables, that an archive does not hold and that the data does not need.
WITH schema AS (
    SELECT oid FROM pg_namespace WHERE nspname = $1
),
tables AS (
    SELECT * FROM pg_class WHERE relnamespace = (SELECT oid FROM schema) AND relkind IN ('r', 'p')
),
parts AS (
    -- Direct members of the schema, such as views, functions and types.
    SELECT d.classid, d.objid
    FROM pg_depend d LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
    LEFT JOIN pg_type y ON d.classid = 'pg_type'::regclass AND y.oid = d.objid
    WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = (SELECT oid FROM schema)
      AND COALESCE(c.relkind NOT IN ('r', 'p', 'S'), y.typtype NOT IN ('d', 'e'), true)
      -- An extension stands for its members.
      AND NOT EXISTS (
          SELECT FROM pg_depend m WHERE m.classid = d.classid AND m.objid = d.objid AND m.deptype = 'e')
  UNION ALL
    SELECT 'pg_trigger'::regclass, oid FROM pg_trigger
    WHERE tgrelid IN (SELECT oid FROM tables) AND NOT tgisinternal
  UNION ALL
    SELECT 'pg_rewrite'::regclass, oid FROM pg_rewrite WHERE ev_class IN (SELECT oid FROM tables)
  UNION ALL
    SELECT 'pg_policy'::regclass, oid FROM pg_policy WHERE polrelid IN (SELECT oid FROM tables)
  UNION ALL
    SELECT 'pg_constraint'::regclass, oid FROM pg_constraint
    WHERE conrelid IN (SELECT oid FROM tables) AND contype = 'n' AND NOT convalidated
  UNION ALL
    SELECT 'pg_class'::regclass, indexrelid FROM pg_index
    WHERE indrelid IN (SELECT oid FROM tables) AND NOT indisvalid
)
SELECT pg_describe_object(classid, objid, 0) FROM parts
UNION
SELECT format('row security of table %s', relname) FROM tables WHERE relrowsecurity
UNION
SELECT format('privileges on type %s', format_type(oid, NULL)) FROM pg_type
WHERE typnamespace = (SELECT oid FROM schema) AND typtype IN ('d', 'e') AND typacl IS NOT NULL
UNION
SELECT format('privileges on single columns of table %s', relname) FROM tables
WHERE oid IN (SELECT attrelid FROM pg_attribute WHERE attacl IS NOT NULL)
ORDER BY 1
