-- Reasons why statements of pending migrations would fail in the schemas $1: rows of (schema, version, reason). $2 are
-- the statements' effects as JSON. Objects whose names are in "removed" are dropped or renamed by an earlier statement.
WITH RECURSIVE effect AS (
    SELECT e.* FROM ROWS FROM (jsonb_to_recordset($2::jsonb) AS (
        version bigint, kind text, relation text, name text, arguments text[], removed text[]
    )) WITH ORDINALITY AS e (version, kind, relation, name, arguments, removed, position)
), tenant AS (
    SELECT oid AS schema, nspname FROM pg_namespace WHERE nspname::text = ANY ($1)
), target AS (
    SELECT t.schema, t.nspname, e.position, e.version, e.kind, e.relation, e.name, e.arguments, e.removed,
           r.oid AS relid
    FROM tenant t CROSS JOIN effect e
    LEFT JOIN pg_class r ON r.relnamespace = t.schema AND r.relname = e.relation
), altered AS (
    SELECT t.nspname, t.position, t.version, t.removed, t.name, a.attrelid, a.attnum, a.attinhcount, 0 AS depth
    FROM target t JOIN pg_attribute a ON a.attrelid = t.relid AND a.attname = t.name AND NOT a.attisdropped
    WHERE t.kind = 'type change'
  UNION ALL
    -- The statement changes partitions and other children too.
    SELECT p.nspname, p.position, p.version, p.removed, p.name, a.attrelid, a.attnum, a.attinhcount, p.depth + 1
    FROM altered p JOIN pg_inherits i ON i.inhparent = p.attrelid
    JOIN pg_attribute a ON a.attrelid = i.inhrelid AND a.attname = p.name AND NOT a.attisdropped
), dependent AS (
    SELECT a.nspname, a.position, a.version, a.removed, a.attrelid, a.name AS column_name,
           COALESCE(v.relname, w.rulename, g.tgname, p.polname, x.attname, b.pubname, f.proname)::text AS name,
           CASE d.classid
               WHEN 'pg_rewrite'::regclass THEN CASE w.rulename WHEN '_RETURN' THEN 'view' ELSE 'rule' END
               WHEN 'pg_trigger'::regclass THEN 'trigger'
               WHEN 'pg_policy'::regclass THEN 'policy'
               WHEN 'pg_attrdef'::regclass THEN 'generated column'
               WHEN 'pg_class'::regclass THEN 'generated column'
               WHEN 'pg_publication_rel'::regclass THEN 'publication'
               ELSE 'function' END AS kind
    FROM altered a
    JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum
    LEFT JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
    LEFT JOIN pg_class v ON v.oid = w.ev_class AND w.rulename = '_RETURN'
    LEFT JOIN pg_trigger g ON d.classid = 'pg_trigger'::regclass AND g.oid = d.objid
    LEFT JOIN pg_policy p ON d.classid = 'pg_policy'::regclass AND p.oid = d.objid
    LEFT JOIN pg_attrdef y ON d.classid = 'pg_attrdef'::regclass AND y.oid = d.objid AND y.adnum <> a.attnum
    -- Before version 15, the generated column itself depends on the column.
    LEFT JOIN pg_attribute x ON x.attrelid = y.adrelid AND x.attnum = y.adnum
         OR d.classid = 'pg_class'::regclass AND x.attrelid = d.objid AND x.attnum = d.objsubid AND x.attgenerated <> ''
    LEFT JOIN pg_publication_rel l ON d.classid = 'pg_publication_rel'::regclass AND l.oid = d.objid
    LEFT JOIN pg_publication b ON b.oid = l.prpubid
    LEFT JOIN pg_proc f ON d.classid = 'pg_proc'::regclass AND f.oid = d.objid
), reason AS (
    SELECT t.nspname, t.position, t.version,
           format('%s %s exists already', CASE r.relkind WHEN 'i' THEN 'index' WHEN 'I' THEN 'index' WHEN 'v' THEN 'view'
               WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence' WHEN 'c' THEN 'type' ELSE 'table' END,
               t.name) AS reason
    FROM target t JOIN pg_class r ON r.relnamespace = t.schema AND r.relname = t.name
    WHERE t.kind IN ('table', 'relation') AND t.name <> ALL (t.removed)
  UNION ALL
    SELECT t.nspname, t.position, t.version, format('type %s exists already', t.name)
    FROM target t JOIN pg_type y ON y.typnamespace = t.schema AND y.typname = t.name
    WHERE t.name <> ALL (t.removed) AND (t.kind = 'type' OR t.kind = 'table' AND y.typtype <> 'c')
      -- PostgreSQL renames the array types that it has created itself.
      AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = y.oid)
  UNION ALL
    SELECT t.nspname, t.position, t.version, format('%s %s.%s exists already', t.kind, t.relation, t.name)
    FROM target t
    WHERE t.name <> ALL (t.removed) AND CASE t.kind
        WHEN 'column' THEN EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = t.relid AND a.attname = t.name)
        WHEN 'constraint' THEN EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = t.relid AND k.conname = t.name)
        WHEN 'trigger' THEN EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = t.relid AND g.tgname = t.name)
        WHEN 'policy' THEN EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = t.relid AND p.polname = t.name)
        ELSE false END
  UNION ALL
    SELECT t.nspname, t.position, t.version,
           format('function %s(%s) exists already', t.name, oidvectortypes(f.proargtypes))
    FROM target t JOIN pg_proc f ON f.pronamespace = t.schema AND f.proname = t.name
    WHERE t.kind = 'function' AND t.name <> ALL (t.removed)
      -- No type is found by a name that the path of this query does not have: such a function is not predicted.
      AND ARRAY(SELECT unnest(f.proargtypes)) = ARRAY(SELECT to_regtype(a)::oid FROM unnest(t.arguments) AS a)
  UNION ALL
    SELECT t.nspname, t.position, t.version,
           format('the type of %s.%s cannot change with USING: the column is generated', t.relation, t.name)
    FROM target t JOIN pg_attribute a ON a.attrelid = t.relid AND a.attname = t.name AND a.attgenerated <> ''
    WHERE t.kind = 'conversion' AND t.name <> ALL (t.removed)
  UNION ALL
    SELECT DISTINCT d.nspname, d.position, d.version, format('the type of %s.%s cannot change: %s %s depends on it',
               c.relname, d.column_name, d.kind, d.name)
    FROM dependent d JOIN pg_class c ON c.oid = d.attrelid
    -- Indexes and constraints, which PostgreSQL adapts, have no name here.
    WHERE d.name IS NOT NULL AND d.name <> ALL (d.removed)
  UNION ALL
    SELECT a.nspname, a.position, a.version,
           format('the type of %s.%s cannot change: the column is %s', c.relname, a.name,
                  CASE WHEN a.attinhcount > 0 THEN 'inherited' ELSE 'in the partition key' END)
    FROM altered a JOIN pg_class c ON c.oid = a.attrelid
    LEFT JOIN pg_partitioned_table k ON k.partrelid = a.attrelid
    WHERE a.depth = 0 AND (a.attinhcount > 0 OR a.attnum = ANY (k.partattrs::int2[]))
)
SELECT nspname::text, version, reason FROM reason ORDER BY nspname, position, reason
