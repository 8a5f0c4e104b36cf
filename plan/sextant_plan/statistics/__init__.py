"""Fixed-sample statistics of the gates, one subject a module; `sextant_plan.sequential` has the anytime-valid ones.

Every bound is one-sided at its confidence, and every function is pure. scipy is imported where it is used.
"""
