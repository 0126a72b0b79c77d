-- Two tenants with the same items at different prices. Existing rows are not changed.
INSERT INTO public.users (id, name, mail, organization_id) VALUES
    ('1', 'rich_dude', 'rich_dude@example.com', 'client1'),
    ('2', 'poor_dude', 'poor_dude@example.com', 'client2')
ON CONFLICT (id) DO NOTHING;

INSERT INTO client1.items (id, description, price) VALUES
    ('1', 'Tesla', 5000),
    ('2', 'Huawei', 2000)
ON CONFLICT (id) DO NOTHING;

INSERT INTO client1.orders (id, quantity, user_id, item_id) VALUES
    ('1', 10, '1', '1'),
    ('2', 5, '1', '2')
ON CONFLICT (id) DO NOTHING;

INSERT INTO client2.items (id, description, price) VALUES
    ('1', 'Tesla', 1000),
    ('2', 'Huawei', 100)
ON CONFLICT (id) DO NOTHING;

INSERT INTO client2.orders (id, quantity, user_id, item_id) VALUES
    ('1', 10, '2', '1'),
    ('2', 5, '2', '2')
ON CONFLICT (id) DO NOTHING;
