"""The files that a run writes while it runs: the journal, and the transcripts it refers to."""
