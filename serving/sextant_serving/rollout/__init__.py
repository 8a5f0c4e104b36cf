"""A canary's way to all traffic, or back: admission, weights by evidence, promotion and withdrawal in two steps."""
