-- Functions, triggers, sequences, policies, grants and owners in the schemas $1, without the tables $2: rows of (schema,
-- kind as in `--only`, object, definition).
WITH tenant AS MATERIALIZED (
    SELECT oid, nspname, nspowner, nspacl FROM pg_namespace WHERE nspname::text = ANY ($1)
), relation AS MATERIALIZED (
    SELECT t.nspname, t.nspowner, c.oid, c.relname, c.relkind, c.relowner, c.relacl, c.relrowsecurity, c.relforcerowsecurity
    FROM tenant t
    JOIN pg_depend s ON s.refclassid = 'pg_namespace'::regclass AND s.refobjid = t.oid AND s.classid = 'pg_class'::regclass
    JOIN pg_class c ON c.oid = s.objid
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relname <> ALL ($2)
), routine AS MATERIALIZED (
    SELECT t.nspname, t.nspowner, p.oid, p.proowner, p.proacl, p.prokind,
           format('%I(%s)', p.proname, pg_get_function_identity_arguments(p.oid)) AS name
    FROM tenant t
    JOIN pg_depend s ON s.refclassid = 'pg_namespace'::regclass AND s.refobjid = t.oid AND s.classid = 'pg_proc'::regclass
    JOIN pg_proc p ON p.oid = s.objid
    WHERE NOT EXISTS (SELECT FROM pg_depend d
                      WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
), acl AS (
    SELECT nspname, nspowner AS owner, 'the schema' AS object, COALESCE(nspacl, acldefault('n', nspowner)) AS acl,
           '{USAGE}'::text[] AS of_tenant
    FROM tenant
  UNION ALL
    SELECT nspname, relowner, quote_ident(relname),
           COALESCE(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner)),
           CASE WHEN relname IN ('items', 'orders') THEN '{SELECT}'::text[] ELSE '{}' END
    FROM relation
  UNION ALL
    SELECT r.nspname, r.relowner, format('%I.%I', r.relname, a.attname), a.attacl, '{}'
    FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid
    WHERE a.attacl IS NOT NULL AND NOT a.attisdropped
  UNION ALL
    SELECT nspname, proowner, name, COALESCE(proacl, acldefault('f', proowner)), '{}' FROM routine
), owned AS (
    SELECT nspname, nspowner, relowner AS owner, quote_ident(relname) AS object FROM relation
  UNION ALL
    SELECT nspname, nspowner, proowner, name FROM routine
)
SELECT nspname::text, 'function', name,
       CASE prokind WHEN 'a' THEN 'aggregate' ELSE pg_get_functiondef(oid) END
FROM routine
UNION ALL
SELECT r.nspname, 'trigger', format('%I.%I', r.relname, g.tgname), pg_get_triggerdef(g.oid)
       || CASE g.tgenabled WHEN 'D' THEN ' DISABLED' WHEN 'A' THEN ' ALWAYS' WHEN 'R' THEN ' REPLICA' ELSE '' END
FROM relation r JOIN pg_trigger g ON g.tgrelid = r.oid
WHERE NOT g.tgisinternal
UNION ALL
SELECT r.nspname, 'sequence', quote_ident(r.relname),
       format('%s START %s INCREMENT %s MINVALUE %s MAXVALUE %s CACHE %s', format_type(q.seqtypid, NULL), q.seqstart,
              q.seqincrement, q.seqmin, q.seqmax, q.seqcache)
       || CASE WHEN q.seqcycle THEN ' CYCLE' ELSE '' END
       || COALESCE((SELECT format(' OWNED BY %I.%I', c.relname, a.attname)
                    FROM pg_depend d JOIN pg_class c ON c.oid = d.refobjid
                    JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = r.oid
                      AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')), '')
FROM relation r JOIN pg_sequence q ON q.seqrelid = r.oid
UNION ALL
SELECT nspname, 'policy', quote_ident(relname),
       CASE WHEN relforcerowsecurity THEN 'row level security, forced' ELSE 'row level security' END
FROM relation WHERE relrowsecurity
UNION ALL
SELECT r.nspname, 'policy', format('%I.%I', r.relname, p.polname),
       concat(CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END, ' FOR ',
              CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE'
                            ELSE 'ALL' END,
              ' TO ', (SELECT string_agg(CASE o WHEN 0 THEN 'PUBLIC' ELSE o::regrole::text END, ', ' ORDER BY o::regrole::text)
                       FROM unnest(p.polroles) o),
              ' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')',
              ' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')
FROM relation r JOIN pg_policy p ON p.polrelid = r.oid
UNION ALL
-- The privileges of the owner, and those that a tenant's role needs, are not included.
SELECT a.nspname, 'grant', format('%s to %s', a.object, g.grantee),
       string_agg(g.privilege || CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END, ', ' ORDER BY g.privilege)
FROM acl a, LATERAL (
    SELECT CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE x.grantee::regrole::text END AS grantee,
           x.privilege_type AS privilege, x.is_grantable
    FROM aclexplode(a.acl) x
    WHERE x.grantee <> a.owner
      AND NOT (x.grantee = COALESCE((SELECT oid FROM pg_roles WHERE rolname = a.nspname), 0) AND x.grantee <> 0
               AND x.privilege_type = ANY (a.of_tenant) AND NOT x.is_grantable)
) g
GROUP BY a.nspname, a.object, g.grantee
UNION ALL
SELECT nspname, 'owner', object, owner::regrole::text FROM owned WHERE owner <> nspowner
