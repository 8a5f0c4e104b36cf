"""The exports that the plan asks for, made of the sealed bundle: each proved and recorded with its files' digests."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from sextant_components.modelling.exports.edge import export_edge
from sextant_components.modelling.exports.package import export_package
from sextant_components.modelling.exports.parity import PARITY_FILE, ExportDiffers, Parity
from sextant_plan.bundle import BundleSpec
from sextant_plan.errors import SextantError
from sextant_plan.ledger import LedgerWriter
from sextant_plan.verdicts import Verdict

if TYPE_CHECKING:
    from sextant_plan.schema import ExportName

EXPORTERS = {"edge": export_edge, "package": export_package}
FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # zip's: the same files give the same archive


def record_exports(ledger: LedgerWriter, wanted: list[ExportName], bundle: Path, spec: BundleSpec) -> None:
    """Record each export with its proof and its files as one archive; one that cannot be made is unknown."""
    for target in wanted:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / target
            verdict, problem = Verdict.PASS, None
            try:
                EXPORTERS[target](bundle, spec, folder)
            except SextantError as error:
                verdict = Verdict.FAIL if isinstance(error, ExportDiffers) else Verdict.UNKNOWN
                problem = str(error).replace(f"{folder}: ", "")
            record_export(ledger, target, folder, verdict, problem or "within the bundle's tolerance", keep=True)


def record_export(ledger: LedgerWriter, target: str, folder: Path, verdict: Verdict, found: str, *, keep: bool) -> None:
    """Record the export in `folder` with its proof and its files' digests; with `keep` a good one's files as well."""
    artifacts: dict[str, str] = {}
    proof = folder / PARITY_FILE
    if proof.exists():
        parity = Parity.model_validate_json(proof.read_bytes())
        lines = [{"file": name, "sha256": digest} for name, digest in parity.files.items()]
        artifacts[f"export-{target}.json"] = ledger.artifacts.put_json(lines)
        artifacts[f"export-{target}-parity.json"] = ledger.artifacts.put_bytes(proof.read_bytes())
    if keep and verdict is Verdict.PASS:
        artifacts[f"export-{target}.zip"] = ledger.artifacts.put_bytes(_archive(folder))
    ledger.record(
        f"export: {target}",
        requirement=f"the {target} export of the bundle answers the golden requests as sealed",
        risk="what runs elsewhere is not what was evaluated",
        qa_method="golden requests answered by the exported files alone, against the bundle's tolerance",
        verdict=verdict,
        value=found,
        artifacts=artifacts,
    )


def _archive(folder: Path) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(str(path.relative_to(folder)), FIRST_DAY)
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return packed.getvalue()
