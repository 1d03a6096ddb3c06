"""Commands for those who write a description: `init` drafts one, `doctor` says what it can judge.

A draft is found in the files, the app and the database of a system.
"""
