-- The roles of the helpdesk, once a server: the owner migrates, the worker and the web application use.
CREATE ROLE helpdesk_owner LOGIN;
CREATE ROLE helpdesk_app LOGIN;
