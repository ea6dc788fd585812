"""What a job reads, how long it takes and what memory it needs, before anything runs."""
