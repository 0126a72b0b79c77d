-- The table that all tenants share. A database that has it already keeps its own.
CREATE TABLE IF NOT EXISTS public.users (
    id varchar PRIMARY KEY,
    creation_timestamp timestamp,
    name varchar,
    password varchar,
    mail varchar,
    organization_id varchar NOT NULL
);
