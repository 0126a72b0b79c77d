-- A tenant's tables as they stand in databases that are older than these migrations.
CREATE TABLE items (
    id varchar PRIMARY KEY,
    creation_timestamp timestamp,
    description varchar,
    price double precision
);

CREATE TABLE orders (
    id varchar PRIMARY KEY,
    creation_timestamp timestamp,
    quantity integer,
    user_id varchar REFERENCES public.users (id),
    item_id varchar REFERENCES items (id)
);
