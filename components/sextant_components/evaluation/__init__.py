"""Evaluation: the sealed rows, all that is measured on them, and the decision."""
