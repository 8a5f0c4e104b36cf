"""The rows of a source in pieces: each column in the type that the plan or its values give it, corrections applied."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sextant_components.data.staged_tables import StagedTable
from sextant_components.data.table_files import as_booleans, as_numbers, as_text, readable_instants
from sextant_plan.schema import Plan

if TYPE_CHECKING:
    import polars as pl

Cast = Callable[["pl.Series"], "pl.Series"]


class Rows(Protocol):
    """Rows that can be gone through as often as wanted, in the order of the source."""

    @property
    def columns(self) -> list[str]:
        """The columns' names in their order."""
        ...

    def batches(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield these columns of all rows, some thousand rows at a time."""
        ...


@dataclass(frozen=True)
class HeldRows:
    """Rows in memory, such as the names and classes of the pictures of a folder."""

    frame: pl.DataFrame

    @property
    def columns(self) -> list[str]:
        """The columns' names in their order."""
        return self.frame.columns

    def batches(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield these columns at once."""
        yield self.frame.select(columns)


@dataclass(frozen=True)
class TypedRows:
    """The rows of a staged table; `stored` has each column's name there, `casts` what makes its type."""

    table: StagedTable
    stored: dict[str, str]
    casts: dict[str, Cast]

    @property
    def columns(self) -> list[str]:
        """The columns' names in their order."""
        return list(self.stored)

    def batches(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield these columns of all rows, typed; a time that cannot be read is null."""
        import polars as pl

        for batch in self.table.batches([self.stored[name] for name in columns]):
            yield pl.DataFrame([self.casts[name](batch[self.stored[name]]).alias(name) for name in columns])


def typed_rows(plan: Plan, table: StagedTable, renamed: dict[str, str]) -> TypedRows:
    """Return the table's rows with each column in the type that its role, its rule or all its values give it.

    `renamed` has the new name of each column that gets one.
    """
    stored = {renamed.get(name, name): name for name in table.schema}
    return TypedRows(table, stored, {new: _cast(plan, table, old, new) for new, old in stored.items()})


def _cast(plan: Plan, table: StagedTable, stored: str, name: str) -> Cast:
    import polars as pl

    data, texts, dtype = plan.data, table.texts(stored), table.schema[stored]
    column = data.label if name == "label" else name
    as_words = {data.image, data.entity, data.group} | ({data.label} if plan.model.answers == "class" else set())
    if data.labelling is not None:
        as_words |= {*data.labelling.raters, data.labelling.gold}
    rule = data.columns.get(column)
    kind = rule.type if rule else None
    if column == data.timestamp:
        return readable_instants
    if column in as_words or kind in {"category", "text"}:
        return as_text
    if kind == "boolean" and texts.truths:
        return as_booleans
    if not (kind in {"boolean", "timestamp"} or isinstance(dtype, pl.Datetime | pl.Boolean)) and texts.numbers:
        return as_numbers
    if dtype == pl.String:
        return as_text  # the files may hold it in several types
    return lambda values: values.cast(dtype)
