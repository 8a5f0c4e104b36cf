"""Diabetes patients as scikit-learn ships them: ten measurements at the outset, and the disease's progress in a year.

Source: Efron, Hastie, Johnstone and Tibshirani, Least Angle Regression, Annals of Statistics 32 (2004); 442 patients
whose names are not part of the data.
"""

from __future__ import annotations

from pathlib import Path

from sextant_examples.output import arguments, write_table

MEASURED = ("age", "sex", "bmi", "pressure", "s1", "s2", "s3", "s4", "s5", "s6")
SEXES = {1.0: "one", 2.0: "two"}  # the source does not say which is which


def write_diabetes(out: Path, *, limit: int | None = None) -> int:
    """Write `table.csv`, one row a patient; return the number of rows, of which `limit` keeps the first."""
    from sklearn.datasets import load_diabetes

    out.mkdir(parents=True, exist_ok=True)
    data = load_diabetes(scaled=False)
    rows = []
    for number, (measured, progress) in enumerate(zip(data.data[:limit], data.target[:limit], strict=True)):
        values: dict[str, object] = dict(zip(MEASURED, (float(value) for value in measured), strict=True))
        rows.append(
            {
                "patient_id": f"P-{number:03d}",
                **values,
                "sex": SEXES[float(measured[1])],
                "progress": float(progress),
            }
        )
    write_table(out / "table.csv", ["patient_id", *MEASURED, "progress"], rows)
    return len(rows)


def main() -> None:
    """Write the patients into the folder named on the command line."""
    out = arguments("sextant_examples.diabetes", "Write the diabetes data of Efron et al. (2004) as a table.")
    folder = out.parse_args().out
    print(f"{write_diabetes(folder)} patients in {folder}")


if __name__ == "__main__":
    main()
