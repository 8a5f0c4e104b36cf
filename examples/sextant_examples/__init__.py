"""The example plans' own code: data generators, heuristics, printable labels."""
