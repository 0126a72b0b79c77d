CREATE TYPE payment_status AS ENUM ('open', 'paid');

CREATE TABLE payments (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id varchar NOT NULL,
    status payment_status NOT NULL DEFAULT 'open',
    paid_at timestamp
);
