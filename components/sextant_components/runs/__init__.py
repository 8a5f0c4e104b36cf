"""What every step stands on: its run and plan, how runs went, and where the source lies."""
