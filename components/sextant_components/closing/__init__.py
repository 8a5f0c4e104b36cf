"""The end of a run: its conclusion, its dossier, the verification of both, and what is proved later."""
