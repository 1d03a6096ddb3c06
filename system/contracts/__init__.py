"""The contracts of the system's HTTP interface, and the programs that check them.

Owns the OpenAPI documents in the folders below this one, one a domain, their released versions
(``<domain>/baselines/``) and the digests of these. The modules read, check and compare documents.
They know no running service; `conformance` compares a contract with the document that a service
generates. ADR 27 has the decisions.
"""
