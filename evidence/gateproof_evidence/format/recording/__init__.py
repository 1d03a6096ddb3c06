"""What a run writes while it runs: the journal, and the transcripts that it refers to."""
