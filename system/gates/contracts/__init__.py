"""Gate contracts: the OpenAPI documents are valid, follow the house rules and break no client."""
