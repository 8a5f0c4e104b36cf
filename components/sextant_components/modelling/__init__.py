"""Model engineering: from the splits to a sealed bundle and its exports."""
