"""Monitoring: what the server in service shows, and what the logs say of a window."""
