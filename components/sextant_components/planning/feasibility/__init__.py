"""The feasibility study of the planning phase, one module a heading (CRISP-ML(Q), Studer et al. 2021, 3.1)."""
