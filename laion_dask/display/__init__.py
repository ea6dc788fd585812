"""What objects show of themselves in notebooks: one overview, one template."""
