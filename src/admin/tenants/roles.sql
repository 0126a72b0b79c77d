-- Problems of the roles of the tenants $1: rows of (tenant, flaw, statement, step). A flaw has to be resolved by the
-- operator; a statement creates a missing role or grants a missing right, and is run in the order of the steps.
--
-- All tenants' roles read public.users through one role, $2, of which they are members. A grant for each of them would
-- outgrow the catalog row that holds the privileges of a column, after about 2,400 tenants.
-- $3 is the role that the service logs in as, or NULL.
WITH tenant AS (
    SELECT name, n.oid AS schema, r.oid AS role
    FROM unnest($1::text[]) AS name
    LEFT JOIN pg_namespace n ON n.nspname = name
    LEFT JOIN pg_roles r ON r.rolname = name
), readers AS (
    SELECT (SELECT oid FROM pg_roles WHERE rolname = $2) AS role
), service AS (
    SELECT $3::text AS name, (SELECT oid FROM pg_roles WHERE rolname = $3) AS role
), attribute_flaw AS (
    SELECT r.oid AS role, flaw
    FROM pg_roles r, LATERAL (VALUES
        (r.rolcanlogin, 'can log in'),
        (r.rolsuper, 'is a superuser'),
        (r.rolcreaterole, 'can create roles'),
        (r.rolcreatedb, 'can create databases'),
        (r.rolreplication, 'can replicate'),
        (r.rolbypassrls, 'bypasses row-level security'),
        (NOT r.rolinherit, 'does not inherit')) AS f (has_it, flaw)
    WHERE has_it
), depends AS (
    -- Objects that each role owns (o) or has privileges on (a), and their schemas.
    SELECT d.refobjid AS role, d.deptype, d.dbid, d.classid, d.objid, d.objsubid,
           COALESCE(c.relnamespace, p.pronamespace, n.oid) AS schema,
           c.relkind = 'v' OR p.oid IS NOT NULL AS is_view_or_function
    FROM pg_shdepend d
    LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
    LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
    LEFT JOIN pg_namespace n ON d.classid = 'pg_namespace'::regclass AND n.oid = d.objid
    WHERE d.refclassid = 'pg_authid'::regclass AND d.deptype IN ('o', 'a')
      AND d.refobjid IN (SELECT role FROM tenant)
), here AS (
    SELECT oid AS database FROM pg_database WHERE datname = current_database()
), flaw AS (
    SELECT name, format('the role name %I is reserved', name) AS flaw FROM tenant WHERE name IN ('none', $2)
  UNION ALL
    SELECT name, 'Citus logs in at the tenant''s node as this role, which cannot log in' FROM tenant
    WHERE EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')
  UNION ALL
    SELECT t.name, format('role %I %s', t.name, f.flaw)
    FROM tenant t JOIN attribute_flaw f USING (role)
  UNION ALL
    SELECT t.name, format('role %I is a member of role %I', t.name, r.rolname)
    FROM tenant t JOIN pg_auth_members m ON m.member = t.role JOIN pg_roles r ON r.oid = m.roleid
    WHERE m.roleid IS DISTINCT FROM (SELECT role FROM readers)
  UNION ALL
    SELECT t.name, format('role %I owns %s', t.name,
                          CASE WHEN d.dbid IN (0, h.database)
                               THEN pg_describe_object(d.classid, d.objid, d.objsubid)
                               ELSE 'an object in another database' END)
    FROM tenant t JOIN depends d USING (role), here h
    WHERE d.deptype = 'o'
      AND NOT COALESCE(d.dbid = h.database AND d.schema = t.schema AND d.is_view_or_function, false)
  UNION ALL
    SELECT t.name, format('role %I has privileges on %s', t.name, pg_describe_object(d.classid, d.objid, d.objsubid))
    FROM tenant t JOIN depends d USING (role), here h
    WHERE d.deptype = 'a' AND d.dbid = h.database AND d.schema IS DISTINCT FROM t.schema
      AND d.schema <> 'public'::regnamespace
  UNION ALL
    SELECT t.name, format('role %I %s', $2, f.flaw)
    FROM tenant t, readers r JOIN attribute_flaw f USING (role)
  UNION ALL
    SELECT t.name, CASE WHEN s.role IS NULL THEN format('the service''s role %I does not exist', s.name)
                        ELSE format('the service''s role %I inherits privileges; run ALTER ROLE %1$I NOINHERIT', s.name) END
    FROM tenant t, service s LEFT JOIN pg_roles r ON r.oid = s.role
    WHERE s.name IS NOT NULL AND r.rolinherit IS NOT FALSE
), step AS (
    SELECT t.name, 1 AS step,
           format('CREATE ROLE %I NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT', role_name)
               AS statement
    FROM tenant t, readers r, LATERAL (VALUES (t.role, t.name), (r.role, $2)) AS missing (role, role_name)
    WHERE missing.role IS NULL
  UNION ALL
    SELECT t.name, 2, format('GRANT SELECT (id, name, organization_id) ON public.users TO %I', $2)
    FROM tenant t, readers r
    WHERE r.role IS NULL OR EXISTS (
        SELECT FROM unnest(ARRAY['id', 'name', 'organization_id']) AS needed
        WHERE NOT has_column_privilege(r.role, to_regclass('public.users'), needed, 'SELECT'))
  UNION ALL
    SELECT t.name, 3, format('GRANT %I TO %I', $2, t.name)
    FROM tenant t, readers r
    WHERE NOT EXISTS (SELECT FROM pg_auth_members m WHERE m.member = t.role AND m.roleid = r.role)
  UNION ALL
    SELECT t.name, 4, format('GRANT USAGE ON SCHEMA %I TO %1$I', t.name)
    FROM tenant t
    WHERE t.role IS NULL OR NOT has_schema_privilege(t.role, t.schema, 'USAGE')
  UNION ALL
    SELECT t.name, 5, format('GRANT SELECT ON %I.%I TO %1$I', t.name, c.relname)
    FROM tenant t JOIN pg_class c ON c.relnamespace = t.schema
    WHERE c.relname IN ('items', 'orders') AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND (t.role IS NULL OR NOT has_table_privilege(t.role, c.oid, 'SELECT'))
  UNION ALL
    SELECT t.name, 6, format('GRANT %I TO %I', t.name, s.name)
    FROM tenant t, service s
    WHERE s.name IS NOT NULL
      AND NOT EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = t.role AND m.member = s.role)
)
SELECT name, flaw, NULL AS statement, 0 AS step FROM flaw
UNION ALL
SELECT s.name, NULL, s.statement, s.step FROM step s JOIN tenant t USING (name) WHERE t.schema IS NOT NULL
ORDER BY name, step, flaw
