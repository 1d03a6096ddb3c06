"""The tasks, one module a queue; their names (`app.tasks.<queue>.…`) are part of the contract."""
