"""The label queue: what is asked first, out to Label Studio's form and back as corrections."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest

from sextant_components.data.corrections import read_corrections
from sextant_components.data.ingest import run_ingest
from sextant_components.data.label_answers import Imported, import_export, read_people
from sextant_components.data.label_studio import labelling_page, write_tasks
from sextant_components.data.suspects.labels import Judged
from sextant_components.data.suspects.queue import label_queue
from sextant_components.data.suspects.suspect import LABEL, Suspect
from sextant_components.data.tables import read_rows
from sextant_components.data.verify import run_verify
from sextant_components.runs.context import RunContext
from sextant_plan.errors import DataError, UsageError

# Exported by Label Studio 1.23.2 after two people had worked in its page on the three rows of this queue; the pictures
# are taken out.
EXPORT = Path(__file__).with_name("exports") / "label-studio-1.23.2.json"
VARIABLE = (
    r"\$[\w\[\].{}]+"  # what Label Studio's page takes for a variable of the task, a full stop behind it included
)


def _verified(workshop: Any) -> RunContext:
    context: RunContext = workshop.open()
    run_ingest(context, snapshot=context.run / "s")
    run_verify(context, snapshot=context.run / "s", verified=context.run / "v")
    return context


def _tasks(workshop: Any, **options: Any) -> list[dict[str, Any]]:
    """Return the tasks of a run in which row 3, a dim picture, is called pale."""
    workshop.replace("kind", 3, "pale")
    out = workshop.root / "tasks.json"
    write_tasks(_verified(workshop), out, **{"limit": None, "pictures_at": None, **options})
    tasks: list[dict[str, Any]] = json.loads(out.read_text())
    return tasks


def _asked(workshop: Any) -> dict[str, Any]:
    """Return the task of row 3, a dim picture that is called pale, as a Label Studio gave it back."""
    workshop.replace("kind", 3, "pale")
    task: dict[str, Any] = json.loads(EXPORT.read_text())[0]
    return task


def _annotation(person: object, *answers: tuple[str, object], **fields: object) -> dict[str, Any]:
    """Return an annotation as Label Studio's JSON export has it; an answer is a control's name and its value."""
    return {
        "id": 1001,
        "completed_by": person,
        "result": [
            {"from_name": name, "id": "Dx_aB91ISN", "to_name": "item", "type": "choices", "value": value}
            for name, value in answers
        ],
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": "2026-11-22T22:16:08.728353Z",
        "updated_at": "2026-11-23T22:16:08.728378Z",
        "lead_time": 4.288,
        **fields,
    }


def _choice(label: str) -> tuple[str, object]:
    return "label", {"choices": [label]}


def _import(workshop: Any, task: dict[str, Any], *annotations: dict[str, Any]) -> Imported:
    export = workshop.root / "export.json"
    export.write_text(json.dumps([{"id": 1, "project": 83, **task, "annotations": list(annotations)}]))
    context = workshop.open()
    return import_export(
        export, context.plan, context.data_root, workshop.data / "corrections.jsonl", context.home, people={}
    )


def test_the_suspect_label_is_asked_first_with_its_picture_and_a_suggestion(workshop: Any) -> None:
    """The task holds all that a person needs, and the key by which the answer finds its row."""
    (task,) = _tasks(workshop, limit=1)
    assert task["data"]["given"] == "pale"
    assert task["data"]["sextant"]["entity"] == "I-003"
    assert "suspect label" in task["data"]["asked"]
    assert task["data"]["columns"] == "site: south\nweight: 4.5"
    kind, _, content = task["data"]["image"].partition(";base64,")
    assert kind == "data:image/png"
    assert base64.b64decode(content) == (workshop.data / "images" / "003.png").read_bytes()
    assert task["predictions"][0]["result"][0]["value"] == {"choices": ["dim"]}


def test_the_labelling_page_offers_what_the_tasks_ask(workshop: Any) -> None:
    """Every variable of the page is in the data, and every suggestion is one of its choices, unless none is wanted."""
    (workshop.data / "images" / "003.png").rename(workshop.data / "images" / "dim #3.png")
    workshop.replace("image", 3, "dim #3.png")
    workshop.replace("kind", 3, "pale")
    context, out = _verified(workshop), workshop.root / "tasks.json"
    write_tasks(context, out, limit=None, pictures_at="https://pictures.example/shades/")
    tasks, page = json.loads(out.read_text()), ElementTree.parse(out.with_suffix(".xml")).getroot()
    used = {name for each in page.iter() for name in re.findall(VARIABLE, each.get("value", ""))}
    offered = {each.get("value") for each in page.findall("Choices[@name='label']/Choice")}
    for task in tasks:
        assert used <= {f"${name}" for name in task["data"]}
        assert {name for each in task["predictions"] for name in each["result"][0]["value"]["choices"]} <= offered
    assert tasks[0]["data"]["image"] == "https://pictures.example/shades/dim%20%233.png"
    write_tasks(context, out, limit=None, pictures_at=None, blind=True)
    assert not any("predictions" in task for task in json.loads(out.read_text()))


def test_the_page_has_the_controls_that_a_label_studio_answered_to() -> None:
    """The answers of its own page name a control, its kind and what it is about."""
    page = ElementTree.fromstring(labelling_page(["dim"], pictures=True))
    controls = {each.get("name"): (each.tag.lower(), each.get("toName")) for each in page if each.get("toName")}
    said = [annotation for task in json.loads(EXPORT.read_text()) for annotation in task["annotations"]]
    answers = [answer for annotation in said for answer in annotation["result"]]
    assert {answer["from_name"] for answer in answers} == set(controls)
    assert all(controls[answer["from_name"]] == (answer["type"], answer["to_name"]) for answer in answers)


def test_a_class_s_name_cannot_break_the_page() -> None:
    """A label is text, whatever stands in it."""
    page = ElementTree.fromstring(labelling_page(['a"<b', "c&d"], pictures=False))
    assert [each.get("value") for each in page.findall("Choices[@name='label']/Choice")] == ['a"<b', "c&d"]


def test_a_decision_comes_back_as_a_correction_and_is_not_asked_again(workshop: Any) -> None:
    """Out, judged, in, and replayed by the next run: the circle is closed."""
    (task,) = _tasks(workshop, limit=1)
    answers = (_choice("dim"), ("reason", {"text": ["clearly dark"]}))
    assert _import(workshop, task, _annotation({"id": 3, "email": "ada@example.org"}, *answers)).added == 1
    ((_, correction),) = read_corrections(workshop.data / "corrections.jsonl")
    assert (correction.author, correction.reason) == ("ada@example.org", "clearly dark")
    assert correction.date.isoformat() == "2026-11-23"
    workshop.plan["data"]["corrections"] = "corrections.jsonl"
    context = _verified(workshop)
    row = read_rows(context.run / "s").filter(pl.col("item") == "I-003").row(0, named=True)
    assert (row["label"], row["original_label"]) == ("dim", "pale")
    write_tasks(context, workshop.root / "again.json", limit=None, pictures_at=None)
    again = json.loads((workshop.root / "again.json").read_text())
    assert "I-003" not in {each["data"]["sextant"]["entity"] for each in again}


@pytest.mark.parametrize(
    ("answers", "action"),
    [([_choice("pale")], "keep"), ([_choice("dim")], "relabel"), ([("usable", {"choices": ["leave out"]})], "drop")],
    ids=["as it was", "another label", "unusable"],
)
def test_what_a_person_chose_says_what_is_done(workshop: Any, answers: list[tuple[str, object]], action: str) -> None:
    """The given label confirmed is a decision too."""
    task = _asked(workshop)
    _import(workshop, task, _annotation(10, *answers))
    ((_, correction),) = read_corrections(workshop.data / "corrections.jsonl")
    assert (correction.action, correction.author) == (action, "label-studio user 10")


def test_an_import_only_appends_and_knows_what_is_there(workshop: Any) -> None:
    """The same export twice adds nothing; another person's later word goes below."""
    task = _asked(workshop)
    assert _import(workshop, task, _annotation(10, _choice("dim"))) == Imported(added=1, known=0, disputed=[])
    before = (workshop.data / "corrections.jsonl").read_bytes()
    assert _import(workshop, task, _annotation(10, _choice("dim"))) == Imported(added=0, known=1, disputed=[])
    assert _import(workshop, task, _annotation(11, _choice("grey"))).added == 1
    assert (workshop.data / "corrections.jsonl").read_bytes().startswith(before)


def test_a_disputed_or_skipped_task_corrects_nothing(workshop: Any) -> None:
    """Two people who differ are named; a cancelled annotation is no voice."""
    task = _asked(workshop)
    found = _import(workshop, task, _annotation(10, _choice("dim")), _annotation(11, _choice("grey")))
    assert (found.added, found.disputed) == (0, ["I-003"])
    assert _import(workshop, task, _annotation(10, _choice("dim"), was_cancelled=True)).added == 0


def test_a_person_s_last_word_counts_and_another_s_change_is_another_s_word(workshop: Any) -> None:
    """Label Studio lets a person annotate a row again, and lets others change what one annotated."""
    task = _asked(workshop)
    later = _annotation(10, _choice("grey"), updated_at="2026-11-24T08:00:00.000000Z")
    assert _import(workshop, task, later, _annotation(10, _choice("dim"))) == Imported(added=1, known=0, disputed=[])
    changed = _annotation({"id": 10, "email": "ada@example.org"}, _choice("dim"), updated_by=11)
    assert _import(workshop, task, changed).added == 1
    said = [(item.label, item.author) for _, item in read_corrections(workshop.data / "corrections.jsonl")]
    assert said == [("grey", "label-studio user 10"), ("dim", "label-studio user 11")]


def test_what_a_label_studio_exported_comes_back_as_what_its_people_did(workshop: Any) -> None:
    """Two people worked in version 1.23.2 on the three rows that this queue had: agreed, differed, left out."""
    workshop.table.write_csv(workshop.data / "table.csv")
    context, corrections = workshop.open(), workshop.data / "corrections.jsonl"
    people = read_people(EXPORT.with_stem("label-studio-1.23.2-users"))
    found = import_export(EXPORT, context.plan, context.data_root, corrections, context.home, people=people)
    assert found == Imported(added=2, known=0, disputed=["I-010"])
    relabelled, left_out = (item for _, item in read_corrections(corrections))
    assert (relabelled.key, relabelled.action, relabelled.label) == ("I-003", "relabel", "dim")
    assert relabelled.author == "ada@example.org"  # the first of the two who agree
    assert (left_out.key, left_out.action, left_out.reason) == ("I-004", "drop", "two things in it")
    assert left_out.author == "ada@example.org"


def test_a_file_that_lists_no_people_is_refused(tmp_path: Path) -> None:
    """Such as the export itself."""
    (tmp_path / "people.json").write_text('[{"id": 1}]')
    with pytest.raises(DataError, match=r"people\.json: not a list of Label Studio's users"):
        read_people(tmp_path / "people.json")


def test_an_export_that_does_not_fit_the_data_changes_nothing(workshop: Any) -> None:
    """A row that has gone, or a label of another project: all or nothing."""
    task = _asked(workshop)
    _import(workshop, task, _annotation(10, _choice("dim")))
    before = (workshop.data / "corrections.jsonl").read_bytes()
    with pytest.raises(DataError, match=r"export\.json: gray is no class of the data\. Did you mean grey\?"):
        _import(workshop, task, _annotation(11, _choice("gray")))
    assert (workshop.data / "corrections.jsonl").read_bytes() == before
    with pytest.raises(DataError, match=r"export\.json: task 1 lacks what a task has"):
        _import(workshop, {"data": {"image": "x"}}, _annotation(11, _choice("grey")))
    assert sorted(path.name for path in workshop.data.iterdir()) == ["corrections.jsonl", "images", "table.csv"]


def test_a_run_without_a_queue_says_so(workshop: Any) -> None:
    """The queue is verify's."""
    with pytest.raises(UsageError, match="no label queue"):
        write_tasks(workshop.open(), workshop.root / "t.json", limit=None, pictures_at=None)


def test_suspects_come_before_disputes_and_disputes_before_doubts(workshop: Any) -> None:
    """Each row once, with all the reasons for it, and not one that a person has judged: row 11 is as doubtful."""
    kept = {"entity": "I-011", "action": "keep", "author": "ada", "reason": "seen", "date": "2026-11-23"}
    (workshop.data / "corrections.jsonl").write_text(json.dumps(kept) + "\n")
    workshop.plan["data"]["corrections"] = "corrections.jsonl"
    workshop.table = workshop.table.with_columns(
        pl.Series("r1", workshop.table["kind"]),
        pl.Series("r2", ["grey" if row in {0, 2} else kind for row, kind in enumerate(workshop.table["kind"])]),
    )
    workshop.plan["data"]["labelling"] = {"raters": ["r1", "r2"]}
    context = workshop.open()
    run_ingest(context, snapshot=context.run / "s")
    rows = read_rows(context.run / "s")
    probabilities = np.tile([0.9, 0.1, 0.0], (rows.height, 1))
    probabilities[[2, 8, 9, 11]] = [[0.6, 0.4, 0.0], [0.5, 0.45, 0.05], [0.6, 0.3, 0.1], [0.5, 0.5, 0.0]]
    suspect = Suspect(5, LABEL, "", 0.1, "dim")
    queue = label_queue(
        context.plan, rows, Judged(probabilities, ["dim", "grey", "pale"]), [suspect], rows["row_id"].to_list()
    )
    assert [(row.row_id, row.reasons) for row in queue] == [
        (5, ["suspect label"]),
        (0, ["raters disagree"]),
        (2, ["raters disagree", "unsure"]),
        (8, ["unsure"]),
        (9, ["unsure"]),
    ]
    assert Path(str(queue[0].image)).name == "005.png"
