"""What objects show of themselves in notebooks: one card, one template."""
