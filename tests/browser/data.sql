-- Users with unusual data, in addition to the demo.
INSERT INTO public.users (id, name, organization_id) VALUES
    ('script', '<img src=x onerror="document.title=''broken in''">', 'client1'),
    ('large', 'Large Amounts', 'client1'),
    ('many', 'Many Orders', 'client1'),
    ('empty', 'Nothing Yet', 'client1'),
    ('gaps', NULL, 'client1'),
    ('a/b ?&#%', 'Odd Id', 'client1'),
    ('homeless', 'No Tenant', 'no such tenant'),
    ('no-number', 'No Number', 'client1');

INSERT INTO client1.items (id, description, price) VALUES
    ('script', '<script>document.title = "broken in"</script>', 1.5),
    ('large', 'A planet', 12345678901234567890.1234),
    ('long', repeat('averylongwordwithoutanyspace', 12), 0.0000001),
    ('rtl', U&'\202E gnitirw \05E9\05DC\05D5\05DD', 3),
    ('nan', 'Priceless', 'NaN');

INSERT INTO client1.orders (id, user_id, item_id, quantity, creation_timestamp) VALUES
    ('script', 'script', 'script', 2, '2026-01-31T09:30:00'),
    ('large', 'large', 'large', 2, '2026-01-31T09:30:00.123456'),
    ('tiny', 'large', 'long', 2147483647, '0099-12-31T23:59:59'),
    ('rtl', 'large', 'rtl', 1, NULL),
    ('gaps', 'gaps', NULL, NULL, NULL),
    ('odd', 'a/b ?&#%', '1', 1, NULL),
    ('nan', 'no-number', 'nan', 1, NULL);

INSERT INTO client1.orders (id, user_id, item_id, quantity, creation_timestamp)
SELECT 'many-' || n, 'many', '2', n, timestamp '2026-01-01' + n * interval '1 hour' FROM generate_series(1, 250) AS n;
