"""Watching a served model: drift, rules, reports. Reads servers over HTTP only."""
