-- Problems of the roles of the tenants $1: rows of (tenant, flaw, statement, step). A flaw has to be resolved by the
-- operator; a statement creates a missing role, grants a missing right or revokes an unneeded one, and is run in the
-- order of the steps.
--
-- A tenant's role needs no privilege in public. Earlier versions granted it the columns of public.users through a
-- shared role, $2.
-- $3 is the role that the service logs in as, or NULL. $4 is the comment of the roles that this program has created.
WITH server AS (
    SELECT r.rolname AS owner, r.rolsuper AS is_superuser, r.rolsuper OR r.rolcreaterole AS can_create_roles,
           -- Since PostgreSQL 16, each grant of a role has its own options, and CREATEROLE is limited to roles with
           -- the admin option.
           current_setting('server_version_num')::integer >= 160000 AS has_grant_options
    FROM pg_roles r WHERE r.rolname = current_user
), tenant AS (
    SELECT name, n.oid AS schema, r.oid AS role,
           r.oid IS NULL OR CASE WHEN has_grant_options THEN pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION')
                                 ELSE can_create_roles END AS can_administer
    FROM server, unnest($1::text[]) AS name
    LEFT JOIN pg_namespace n ON n.nspname = name
    LEFT JOIN pg_roles r ON r.rolname = name
), service AS (
    SELECT $3::text AS name, (SELECT oid FROM pg_roles WHERE rolname = $3) AS role
), membership AS (
    -- The options are columns that older servers lack: there, the attribute INHERIT of the member decides.
    SELECT m.roleid AS role, m.member, g.rolname AS role_name, m.grantor,
           COALESCE((to_jsonb(m) ->> 'inherit_option')::boolean, false) AS inherits,
           COALESCE((to_jsonb(m) ->> 'set_option')::boolean, true) AS can_set
    FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
    WHERE m.member IN (SELECT role FROM tenant UNION ALL SELECT role FROM service)
), attribute_flaw AS (
    SELECT r.oid AS role, flaw
    FROM pg_roles r, LATERAL (VALUES
        (r.rolcanlogin, 'can log in'),
        (r.rolsuper, 'is a superuser'),
        (r.rolcreaterole, 'can create roles'),
        (r.rolcreatedb, 'can create databases'),
        (r.rolreplication, 'can replicate'),
        (r.rolbypassrls, 'bypasses row-level security')) AS f (has_it, flaw)
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
), step AS (
    SELECT name, 1 AS step,
           format('CREATE ROLE %I NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS; '
                  'COMMENT ON ROLE %1$I IS %L', name, $4) AS statement
    FROM tenant WHERE role IS NULL
  UNION ALL
    -- Only the grantor, or a role with the grantor's rights, can revoke the membership. A role that remains a member
    -- works as before.
    SELECT t.name, 2, concat(format('COMMENT ON ROLE %I IS %L; REVOKE %I FROM %1$I', t.name, $4, $2),
                             CASE WHEN has_grant_options THEN format(' GRANTED BY %s', m.grantor::regrole) END)
    FROM server, tenant t JOIN membership m ON m.member = t.role AND m.role_name = $2
    WHERE t.can_administer AND (is_superuser OR NOT has_grant_options OR pg_has_role(m.grantor, 'USAGE'))
  UNION ALL
    SELECT t.name, 3, format('REVOKE SELECT (id, name, organization_id) ON public.users FROM %I', t.name)
    FROM tenant t JOIN pg_class c ON c.oid = to_regclass('public.users') AND pg_has_role(c.relowner, 'USAGE')
    WHERE t.role IN (SELECT a.grantee FROM pg_attribute, aclexplode(attacl) a WHERE attrelid = c.oid)
      AND has_column_privilege(t.role, c.oid, 'organization_id', 'SELECT')
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
    SELECT t.name, 6, concat(format('GRANT %I TO %I', t.name, s.name),
                             CASE WHEN has_grant_options THEN ' WITH INHERIT FALSE, SET TRUE' END)
    FROM server, tenant t, service s
    WHERE s.name IS NOT NULL
      AND NOT EXISTS (SELECT FROM membership m WHERE m.role = t.role AND m.member = s.role AND m.can_set)
  UNION ALL
    SELECT t.name, 7, format('GRANT %I TO %I WITH INHERIT FALSE GRANTED BY %s', t.name, s.name, m.grantor::regrole)
    FROM tenant t JOIN membership m USING (role) JOIN service s ON s.role = m.member
    WHERE m.inherits
), flaw AS (
    SELECT name, format('the role name %I is reserved', name) AS flaw FROM tenant WHERE name IN ('none', $2)
  UNION ALL
    SELECT name, 'Citus logs in at the tenant''s node as this role, which cannot log in' FROM tenant
    WHERE EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')
  UNION ALL
    SELECT t.name, format('role %I %s', t.name, f.flaw)
    FROM tenant t JOIN attribute_flaw f USING (role)
  UNION ALL
    SELECT t.name, format('role %I is a member of role %I', t.name, m.role_name)
    FROM tenant t JOIN membership m ON m.member = t.role
    WHERE m.role_name <> $2
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
    SELECT t.name, CASE WHEN s.role IS NULL THEN format('the service''s role %I does not exist', s.name)
                        ELSE format('the service''s role %I inherits privileges; run ALTER ROLE %1$I NOINHERIT', s.name) END
    FROM tenant t, service s LEFT JOIN pg_roles r ON r.oid = s.role
    WHERE s.name IS NOT NULL AND r.rolinherit IS NOT FALSE
  UNION ALL
    SELECT t.name, format('the service''s role %I inherits the privileges of role %I through another role', s.name, t.name)
    FROM server, tenant t, service s JOIN pg_roles r ON r.oid = s.role AND NOT r.rolinherit AND NOT r.rolsuper
    WHERE has_grant_options AND t.role IS NOT NULL AND pg_has_role(s.role, t.role, 'USAGE')
      AND NOT EXISTS (SELECT FROM membership m WHERE m.role = t.role AND m.member = s.role AND m.inherits)
  UNION ALL
    SELECT t.name, format('role %I cannot create roles; run ALTER ROLE %1$I CREATEROLE', v.owner)
    FROM server v, tenant t
    WHERE t.role IS NULL AND NOT v.can_create_roles
  UNION ALL
    SELECT t.name, format('role %I cannot grant role %I; run GRANT %2$I TO %1$I WITH ADMIN OPTION', v.owner, t.name)
    FROM server v, tenant t
    WHERE NOT t.can_administer AND t.name IN (SELECT name FROM step WHERE step IN (6, 7))
)
SELECT name, flaw, NULL AS statement, 0 AS step FROM flaw
UNION ALL
SELECT s.name, NULL, s.statement, s.step FROM step s JOIN tenant t USING (name) WHERE t.schema IS NOT NULL
ORDER BY name, step, flaw
