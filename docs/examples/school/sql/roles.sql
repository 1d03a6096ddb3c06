-- The roles of the schools, once a server: the owner migrates; workers and the web application use.
CREATE ROLE school_owner LOGIN;
CREATE ROLE school_app LOGIN;
ALTER ROLE school_owner SET search_path = school;
ALTER ROLE school_app SET search_path = school;
