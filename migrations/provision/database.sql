-- Set the privileges of one database and its schema, as superuser, in every new database and every
-- clone (a clone loses the template's database-level privileges). Idempotent.

DO $$
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format(
        'GRANT CONNECT ON DATABASE %I TO migrator, app_user, app_ingest, app_rw, app_ro',
        current_database()
    );
    EXECUTE format('GRANT CREATE ON DATABASE %I TO migrator', current_database());
END
$$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO app_user, app_ingest, app_rw, app_ro, app_aggregator;

-- With the grant option: the new owner of an object needs CREATE on its schema at that moment, so a
-- migration grants it to app_aggregator and revokes it in the same transaction.
GRANT USAGE, CREATE ON SCHEMA public TO migrator WITH GRANT OPTION;
