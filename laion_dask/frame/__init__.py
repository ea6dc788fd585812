"""What a frame is made of: its provenance, its filters, and the account of its rows."""
