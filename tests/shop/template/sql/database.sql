GRANT USAGE, CREATE ON SCHEMA public TO shop_owner;
