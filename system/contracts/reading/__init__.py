"""Reading contracts: files, references, bundled documents, operations and schemas."""
