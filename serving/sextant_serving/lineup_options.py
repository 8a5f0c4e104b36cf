"""Challengers on the command line: `NAME=DIR:PERCENT`."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from sextant_plan.challengers import Challenger, Challengers

Role = Literal["ab", "shadow"]


@dataclass(frozen=True)
class BundleChallenger:
    """A challenger as a bundle in `bundle`; version and digest are the bundle's own."""

    variant: str
    bundle: Path
    percent: float
    role: Role

    def described(self, version: str = "", digest: str = "") -> Challenger:
        """Return it as active.json would have it; raises ValidationError."""
        return Challenger(
            variant=self.variant,
            version=version,
            digest=digest,
            bundle=str(self.bundle),
            role=self.role,
            percent=self.percent,
        )


def add_challenger_options(parser: argparse.ArgumentParser) -> None:
    """Add --challenger, --shadow and --experiment."""
    for option, role, text in (
        ("--challenger", "ab", "a bundle that answers PERCENT of the units under this variant; repeatable"),
        ("--shadow", "shadow", "a bundle that gets copies of PERCENT of the requests and answers nobody; repeatable"),
    ):
        parser.add_argument(
            option, action="append", dest=role, default=[], metavar="NAME=DIR:PERCENT", type=_split, help=text
        )
    parser.add_argument(
        "--experiment", metavar="NAME", help="another name assigns every unit anew (default: from the challengers)"
    )


def gather_challengers(parser: argparse.ArgumentParser, values: dict[str, Any]) -> dict[str, Any]:
    """Replace the two options' values by `challengers`; ends with a usage error if they cannot run together."""
    roles: tuple[Role, ...] = ("ab", "shadow")
    given = tuple(
        BundleChallenger(variant, bundle, percent, role)
        for role in roles
        for variant, bundle, percent in values.pop(role)
    )
    try:
        TypeAdapter(Challengers).validate_python(tuple(one.described() for one in given))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        parser.error(
            f"--challenger or --shadow: {'.'.join(map(str, first['loc']))} {first['msg']}".replace(":  ", ": ")
        )
    return {**values, "challengers": given}


def _split(text: str) -> tuple[str, Path, float]:
    name, equals, rest = text.partition("=")
    bundle, colon, percent = rest.rpartition(":")
    if not (name and equals and bundle and colon):
        raise argparse.ArgumentTypeError("write NAME=DIR:PERCENT, such as b=bundles/digits-2:20")
    try:
        return name, Path(bundle), float(percent)
    except ValueError:
        raise argparse.ArgumentTypeError("PERCENT is a number from 0 to 100") from None
