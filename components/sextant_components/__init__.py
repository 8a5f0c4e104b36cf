"""The work of the six phases: one module for each step, plain functions over paths and tables."""
