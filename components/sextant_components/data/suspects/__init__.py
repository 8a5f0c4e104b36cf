"""Rows that break no rule and still look wrong: found, listed and counted, and left for a person to judge."""
