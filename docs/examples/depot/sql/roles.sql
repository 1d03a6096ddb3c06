-- The roles of the depots, once a server.
CREATE ROLE depot_owner LOGIN;
CREATE ROLE depot_worker LOGIN;
