"""Deployment: a version registered, signed for and rolled out, its way back, backups and drills."""
