"""Gate mocks: mock servers answer as the released contracts say, and as the service does."""
