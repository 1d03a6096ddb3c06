-- The privileges of one database, as superuser.
DO $$ BEGIN EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO depot_owner, depot_worker',
        current_database()); END $$;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO depot_owner;
GRANT USAGE ON SCHEMA public TO depot_worker;
