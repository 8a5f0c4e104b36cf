"""`sextant predict` takes a table as it was collected and says what it did with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sextant_pipelines.predictions import PART_ROWS, Row, fit_table, predict, read_rows
from sextant_plan.errors import DataError
from sextant_serving.client import Client

Sextant = Callable[..., Any]
TABLE = Path("wine.csv")


class ReadsWeightAndColour(Client):
    """A client of a server whose model reads two columns; it never connects."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:9", "wine")

    def input_names(self) -> list[str]:
        """Return the model's columns."""
        return ["weight", "colour"]


@pytest.fixture
def client() -> Client:
    """The client above."""
    return ReadsWeightAndColour()


def test_the_columns_that_the_model_does_not_read_are_left_out_and_named(client: Client) -> None:
    """A table has its label, which the server would refuse."""
    rows, note = fit_table(client, TABLE, [Row(fields={"weight": 1, "colour": "red", "label": "a"})], {})
    assert rows == [Row(fields={"weight": 1, "colour": "red"})]
    assert note == "left out, the model does not read them: label"


def test_a_column_that_the_table_lacks_is_named(client: Client) -> None:
    """The server takes it as missing in each row, which a misspelt header should not bring about unseen."""
    _, note = fit_table(client, TABLE, [Row(fields={"weight": 1})], {})
    assert note == "not in the table, so missing in each row: colour"


def test_what_the_user_set_is_sent_whatever_it_is_called(client: Client) -> None:
    """A misspelt --set is for the server to refuse."""
    rows, _ = fit_table(client, TABLE, [Row(fields={"weight": 1, "color": "red"})], {"color": "red"})
    assert rows[0].fields == {"weight": 1, "color": "red"}


def test_a_table_of_something_else_is_refused(client: Client) -> None:
    """Answers from nothing but missing values would look like answers."""
    with pytest.raises(DataError, match=r"no column is one that the model reads\. It reads weight, colour"):
        fit_table(client, TABLE, [Row(fields={"height": 1})], {})


class CountsRows(Client):
    """A client of a server that answers each row with its number, and remembers the sizes of the requests."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:9", "wine")
        self.sizes: list[int] = []

    def predict_v1(self, instances: Sequence[Any], *, attachments: bool = False) -> list[dict[str, Any]]:
        """Answer without a server."""
        self.sizes.append(len(instances))
        return [
            {"label": str(row["n"]), "probabilities": {"a": 1.0}, "abstained": False, "prediction_id": None}
            for row in instances
        ]


def test_a_long_table_travels_in_parts() -> None:
    """A server refuses more rows than its queue holds; the user has a table, and the answers keep its order."""
    counting = CountsRows()
    answers = predict(counting, [Row(fields={"n": index}) for index in range(70)], "v1", attachments=False)
    assert counting.sizes == [PART_ROWS, PART_ROWS, 6]
    assert [answer.label for answer in answers] == [str(index) for index in range(70)]


def _texts(rows: Sequence[Row]) -> list[dict[str, str]]:
    return [{name: str(value) for name, value in row.fields.items()} for row in rows]


def test_a_parquet_table_gives_the_rows_of_its_csv(tmp_path: Path) -> None:
    """Both kinds of table that a plan may name can be predicted."""
    import polars as pl

    frame = pl.DataFrame({"weight": [1.5, None], "colour": ["red", "blue"]})
    frame.write_csv(tmp_path / "t.csv")
    frame.write_parquet(tmp_path / "t.parquet")
    assert _texts(read_rows(tmp_path / "t.parquet", {})) == _texts(read_rows(tmp_path / "t.csv", {}))


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://models.example", "http://host:port", ""])
def test_an_address_that_is_not_http_is_a_usage_error(url: str, sextant: Sextant, picture_folder: Path) -> None:
    """Without a scheme the host would be read as one, and the name looked up would be empty."""
    result = sextant("predict", picture_folder / "apple" / "0.png", "--url", url)
    assert (result.code, "Write http://HOST:PORT" in result.err) == (2, True)
