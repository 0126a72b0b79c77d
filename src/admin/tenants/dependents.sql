-- Objects that DROP SCHEMA ... CASCADE would remove although they are not part of the schema $1, at most 10 of them.
-- A subscription that replicates one of its tables is listed too: it fails without the table.
WITH RECURSIVE target AS (
    SELECT oid, pg_catalog.quote_ident(nspname) AS name FROM pg_catalog.pg_namespace WHERE nspname = $1
), dropped AS (
    -- As PostgreSQL does (src/backend/catalog/dependency.c): from each object to its dependents, and from a part
    -- (deptype i) or a member of an extension (e) to its owner.
    SELECT 'pg_catalog.pg_namespace'::regclass::oid AS classid, oid AS objid, 0 AS objsubid FROM target
  UNION
    SELECT next.* FROM dropped o, LATERAL (
        SELECT d.classid, d.objid, d.objsubid FROM pg_catalog.pg_depend d
        WHERE d.refclassid = o.classid AND d.refobjid = o.objid AND (o.objsubid = 0 OR d.refobjsubid = o.objsubid)
      UNION ALL
        SELECT d.refclassid, d.refobjid, d.refobjsubid FROM pg_catalog.pg_depend d
        WHERE d.classid = o.classid AND d.objid = o.objid AND (o.objsubid = 0 OR d.objsubid = o.objsubid)
          AND d.deptype IN ('i', 'e')
    ) AS next
), located AS (
    SELECT o.*, CASE o.classid
        WHEN 'pg_catalog.pg_namespace'::regclass THEN (
            SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_namespace n WHERE n.oid = o.objid)
        WHEN 'pg_catalog.pg_extension'::regclass THEN (
            SELECT pg_catalog.quote_ident(n.nspname)
            FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
            WHERE e.oid = o.objid)
        ELSE (pg_catalog.pg_identify_object(o.classid, o.objid, o.objsubid)).schema END AS schema
    FROM dropped o
), outside AS (
    SELECT l.* FROM located l
    WHERE l.schema IS DISTINCT FROM (SELECT name FROM target)
      -- The owner of a part is listed instead. TOAST tables and their indexes are parts as well.
      AND l.schema IS DISTINCT FROM 'pg_toast'
      AND NOT EXISTS (
          SELECT FROM pg_catalog.pg_depend d
          WHERE (d.classid, d.objid, d.objsubid) = (l.classid, l.objid, l.objsubid) AND d.deptype = 'i')
      -- An object without a schema, such as a trigger, a policy or a default, belongs to its table.
      AND (l.schema IS NOT NULL OR NOT EXISTS (
          SELECT FROM pg_catalog.pg_depend d JOIN located i ON i.classid = d.refclassid AND i.objid = d.refobjid
          WHERE (d.classid, d.objid, d.objsubid) = (l.classid, l.objid, l.objsubid) AND d.deptype IN ('a', 'e')
            AND i.schema = (SELECT name FROM target)))
)
SELECT pg_catalog.pg_describe_object(o.classid, o.objid, o.objsubid)
FROM outside o
-- The columns and indexes of a table that is listed are not listed again.
WHERE NOT EXISTS (
    SELECT FROM outside w WHERE (w.classid, w.objid, w.objsubid) = (o.classid, o.objid, 0) AND o.objsubid <> 0)
  AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_depend d JOIN outside w ON w.classid = d.refclassid AND w.objid = d.refobjid
    WHERE (d.classid, d.objid, d.objsubid) = (o.classid, o.objid, o.objsubid) AND d.deptype IN ('a', 'e')
      AND w.objsubid IN (0, d.refobjsubid))
UNION
SELECT pg_catalog.format('%s of table %s', pg_catalog.pg_describe_object(
           'pg_catalog.pg_subscription'::regclass, r.srsubid, 0), c.oid::regclass)
FROM pg_catalog.pg_subscription_rel r JOIN pg_catalog.pg_class c ON c.oid = r.srrelid
JOIN target t ON t.oid = c.relnamespace
ORDER BY 1 LIMIT 10
