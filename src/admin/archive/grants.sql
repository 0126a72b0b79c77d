-- Privileges on the schema $1, its tables and its sequences, except the owner's. A grant to PUBLIC has no grantee.
WITH grants AS (
    SELECT 'SCHEMA' AS kind, NULL AS name, n.nspowner AS owner, a.*
    FROM pg_namespace n, aclexplode(n.nspacl) a
    WHERE n.nspname = $1
  UNION ALL
    SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.relname, c.relowner, a.*
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) a
    WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'S')
)
SELECT g.kind, g.name::text, r.rolname::text AS grantee,
       string_agg(g.privilege_type, ', ' ORDER BY g.privilege_type) AS privileges, g.is_grantable AS grantable
FROM grants g LEFT JOIN pg_roles r ON r.oid = g.grantee
WHERE g.grantee <> g.owner AND (g.grantee = 0 OR r.oid IS NOT NULL)
GROUP BY g.kind, g.name, r.rolname, g.is_grantable
ORDER BY g.kind, g.name, r.rolname, g.is_grantable
