"""The dossier: one self-contained page in which every sentence cites the evidence that it rests on."""

from sextant_components.closing.dossier.claims import Claim, UncitedClaim
from sextant_components.closing.dossier.page import DOSSIER_FILE, run_dossier

__all__ = ["DOSSIER_FILE", "Claim", "UncitedClaim", "run_dossier"]
