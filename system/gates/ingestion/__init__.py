"""Gate ingestion: signed events of vendors are stored once, in their tenant, and others never."""
