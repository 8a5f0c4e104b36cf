"""The work of the six phases, plain functions over paths and tables: a package for each phase."""
