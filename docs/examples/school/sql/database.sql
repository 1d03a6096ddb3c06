-- The schema and the privileges of one database, as superuser.
DO $$ BEGIN EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO school_owner, school_app',
        current_database()); END $$;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
CREATE SCHEMA IF NOT EXISTS school AUTHORIZATION school_owner;
GRANT USAGE ON SCHEMA school TO school_app;
ALTER DEFAULT PRIVILEGES FOR ROLE school_owner IN SCHEMA school
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO school_app;
ALTER DEFAULT PRIVILEGES FOR ROLE school_owner IN SCHEMA school
    GRANT USAGE ON SEQUENCES TO school_app;
