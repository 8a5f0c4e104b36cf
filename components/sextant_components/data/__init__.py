"""Data: from the plan's source to a verified snapshot and its splits."""
