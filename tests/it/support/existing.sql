-- A typical existing database: no migration history, prices as floats, no index on
-- orders.user_id, timestamps and quantities that may be NULL, and a tenant that has drifted.
CREATE TABLE public.users (
    id varchar PRIMARY KEY,
    creation_timestamp timestamp,
    name varchar,
    password varchar,
    mail varchar,
    organization_id varchar NOT NULL
);
INSERT INTO public.users VALUES
    ('1', NULL, 'rich_dude', 'secret', 'rich@example.com', 'client1'),
    ('2', '2020-01-01', 'poor_dude', 'secret', 'poor@example.com', 'client2');

CREATE SCHEMA client1;
CREATE TABLE client1.items (
    id varchar PRIMARY KEY, creation_timestamp timestamp, description varchar, price double precision
);
CREATE TABLE client1.orders (
    id varchar PRIMARY KEY, creation_timestamp timestamp, quantity integer,
    user_id varchar REFERENCES public.users (id), item_id varchar REFERENCES client1.items (id)
);
INSERT INTO client1.items VALUES ('1', NULL, 'Tesla', 5000), ('2', NULL, 'Huawei', 2000);
INSERT INTO client1.orders VALUES ('1', NULL, 10, '1', '1'), ('2', NULL, 5, '1', '2');

CREATE SCHEMA client2;
CREATE TABLE client2.items (
    discount integer, id varchar PRIMARY KEY, creation_timestamp timestamp, description varchar,
    price double precision
);
CREATE TABLE client2.orders (
    id varchar PRIMARY KEY, creation_timestamp timestamp, quantity integer,
    user_id varchar REFERENCES public.users (id), item_id varchar REFERENCES client2.items (id), note text
);
INSERT INTO client2.items VALUES (5, '1', NULL, 'Tesla', 1000), (NULL, '2', NULL, 'Huawei', 100);
INSERT INTO client2.orders VALUES ('1', NULL, 10, '2', '1', 'fragile'), ('2', NULL, 5, '2', '2', NULL);
