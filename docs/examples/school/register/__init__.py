"""The register: pupils, and the days on which they are absent."""
