-- The privileges of one database, as superuser.
DO $$ BEGIN EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO helpdesk_owner, helpdesk_app',
        current_database()); END $$;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO helpdesk_owner;
GRANT USAGE ON SCHEMA public TO helpdesk_app;
