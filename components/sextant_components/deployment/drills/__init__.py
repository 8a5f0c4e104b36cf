"""Rehearsed failures: each drill breaks one thing for real, and measures until it is noticed and until it is over."""
