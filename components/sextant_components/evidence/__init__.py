"""What several phases measure and put on record: metrics with bounds, records of criteria, pictures."""
