"""Define the tasks, one module for each queue, and `tenant_task`.

The names of tasks (`app.tasks.<queue>.…`) are part of the contract.
"""
