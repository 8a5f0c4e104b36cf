"""Contracts and statistics that every other room builds on; imports none of them."""

__version__ = "0.1.0"
