"""What the `sextant` command promises whoever types it: quick help, sentences for errors, exit codes, JSON."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sextant_components.runs.context import create_run
from sextant_components.runs.outcome import ERROR_FILE
from sextant_pipelines.cli import COMMANDS, main
from sextant_pipelines.commands_page import commands_page
from sextant_pipelines.profile_page import profile_page
from sextant_pipelines.server_page import server_page
from sextant_plan import __version__

HEAVY = ("torch", "mlflow", "feast", "kfp", "polars", "pandas", "numpy", "sklearn", "onnxruntime", "pydantic", "yaml")
Sextant = Callable[..., Any]


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def _cpu_seconds(code: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    _python(code)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def test_help_loads_nothing_heavy() -> None:
    """`sextant --help` costs an interpreter and click, so that a shell's completion of it is instant."""
    loaded = _python(
        "import sys; from sextant_pipelines.cli import main; main(['--help']); print('\\n' + ' '.join(sys.modules))"
    ).splitlines()[-1]
    assert set(HEAVY) & set(loaded.split()) == set()


def test_help_costs_little_more_than_the_interpreter() -> None:
    """Help within five times the start of click alone; measured at 1.2 times, and 0.11 s of CPU."""
    base = min(_cpu_seconds("import click") for _ in range(3))
    full = min(_cpu_seconds("from sextant_pipelines.cli import main; main(['--help'])") for _ in range(3))
    assert full < 5 * base + 0.02


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_and_each_option(name: str, sextant: Sextant) -> None:
    """Each listed command exists, and no option is without help."""
    import click

    from sextant_pipelines.cli import sextant as group

    assert sextant(name, "--help").code == 0
    command = group.get_command(click.Context(group), name)
    assert command is not None
    assert command.help
    children = command.commands.values() if isinstance(command, click.Group) else [command]
    options = [option for child in children for option in child.params if isinstance(option, click.Option)]
    assert [option.name for option in options if not option.help] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_reference_says_when_to_use_each_command(name: str) -> None:
    """The hand-written page has a row for it, the generated one its options."""
    text = (Path(__file__).parents[2] / "docs" / "reference" / "cli.md").read_text("utf-8")
    assert f"`{name} " in text or f"`{name}`" in text
    assert f"\n## sextant {name}" in commands_page()


def test_the_generated_reference_is_up_to_date() -> None:
    """`make generate` would change nothing."""
    folder = Path(__file__).parents[2] / "docs" / "reference"
    assert (folder / "commands.md").read_text("utf-8") == commands_page()
    assert (folder / "server-options.md").read_text("utf-8") == server_page()
    assert (folder / "cluster-profile.md").read_text("utf-8") == profile_page()


def test_the_reference_names_every_variable_of_the_environment() -> None:
    """What the code reads of it under our own prefix has a row."""
    root = Path(__file__).parents[2]
    code = "".join(path.read_text("utf-8") for path in root.glob("*/sextant_*/**/*.py"))
    page = (root / "docs" / "reference" / "cli.md").read_text("utf-8")
    assert [name for name in set(re.findall(r'"(SEXTANT_[A-Z_]+)"', code)) if f"| `{name}` |" not in page] == []


def test_what_follows_two_dashes_reaches_the_server(tmp_path: Path) -> None:
    """An option that only the server has is refused by the server, in its own words."""
    (tmp_path / "active.json").write_text("{}")
    command = [sys.executable, "-m", "sextant_pipelines.cli", "serve", "--home", str(tmp_path), "--"]
    done = subprocess.run([*command, "--drain-seconds", "soon"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--drain-seconds" in done.stderr


def test_version_is_the_package_s(sextant: Sextant) -> None:
    """`--version` prints the one version there is."""
    assert sextant("--version").out == f"sextant, version {__version__}\n"


def test_an_unknown_command_is_a_usage_error(sextant: Sextant) -> None:
    """Exit 2, and nothing on standard output."""
    result = sextant("fly")
    assert (result.code, result.out) == (2, "")
    assert "No such command 'fly'" in result.err


def test_check_prints_the_hash(sextant: Sextant, plan_file: Path) -> None:
    """A sound plan exits 0; the first line is the hash that evidence is bound to."""
    result = sextant("check", plan_file)
    assert result.code == 0
    assert result.out.startswith("sha256:")
    assert all(line.startswith("warning: owner.team") for line in result.err.splitlines())


def test_check_names_the_line_of_an_unknown_key(sextant: Sextant, plan_file: Path) -> None:
    """A misspelt key exits 2 with path, line, column and the key that was meant."""
    text = plan_file.read_text(encoding="utf-8").replace("  seeds: 2", "  sedes: 2")
    plan_file.write_text(text, encoding="utf-8")
    line = text.splitlines().index("  sedes: 2") + 1
    result = sextant("check", plan_file)
    assert result.code == 2
    assert f"{plan_file}:{line}:3: model.sedes" in result.err
    assert "seeds" in result.err


def test_check_reports_every_fault_as_json(sextant: Sextant, plan_file: Path) -> None:
    """`--json` gives all findings at once, with their places, on standard output."""
    text = plan_file.read_text(encoding="utf-8").replace("  seeds: 2", "  sedes: 2").replace("epochs: 20", "epochs: 0")
    plan_file.write_text(text, encoding="utf-8")
    result = sextant("check", plan_file, "--json")
    findings = json.loads(result.out)["findings"]
    assert result.code == 2
    assert {finding["field"] for finding in findings} == {"model.sedes", "model.epochs"}
    assert all(finding["line"] > 1 for finding in findings)


def test_check_refuses_an_architecture_that_is_not_installed(sextant: Sextant, plan_file: Path) -> None:
    """The candidates are compared with what the server can build."""
    text = plan_file.read_text(encoding="utf-8").replace("architecture: linear", "architecture: transformer")
    plan_file.write_text(text, encoding="utf-8")
    result = sextant("check", plan_file)
    assert result.code == 2
    assert "transformer" in result.err


def test_check_warns_of_a_limit_that_its_rows_cannot_prove(sextant: Sextant, plan_file: Path) -> None:
    """A gate that even a faultless model could not pass is named before anybody trains."""
    lines = plan_file.read_text(encoding="utf-8").splitlines()
    lines = [
        "  - {id: accuracy, metric: accuracy, at_least: 0.99, min_n: 20}" if "id: accuracy" in x else x for x in lines
    ]
    plan_file.write_text("\n".join(lines), encoding="utf-8")
    result = sextant("check", plan_file)
    assert result.code == 0
    assert "299 are needed to prove 0.99" in result.err


def test_check_warns_of_a_column_that_the_table_lacks(sextant: Sextant, table: Path, tmp_path: Path) -> None:
    """A misspelt name is told before a run starts, with the closest one that is there."""
    plan = tmp_path / "plan.yaml"
    sextant("init", table, "-o", plan, "--confirm-licence", "CC0-1.0")
    plan.write_text(plan.read_text(encoding="utf-8").replace("label: quality", "label: qualty"), encoding="utf-8")
    result = sextant("check", plan)
    assert result.code == 0
    assert "there is no column qualty, which data.label names. Did you mean quality?" in result.err


@pytest.mark.parametrize("kind", ["picture_folder", "table"])
def test_check_warns_of_data_that_is_not_there(
    kind: str, sextant: Sextant, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The folder of pictures or the table is named, not only the folder above it."""
    data, plan = request.getfixturevalue(kind), tmp_path / "plan.yaml"
    sextant("init", data, "-o", plan, "--confirm-licence", "CC0-1.0")
    data.rename(data.with_name("moved"))
    assert f"{data} does not exist" in sextant("check", plan).err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "absent.yaml"], "does not exist"),
        (["report", "--home", "absent"], "no run here"),
        (["serve", "--home", "absent"], "no model is in service"),
        (["serve", "--feature-repo", "."], "--feature-repo goes with --bundle"),
        (["render", "pipeline", "--image", "train"], "EXTRA=IMAGE"),
        (["run", "absent.yaml"], "does not exist"),
    ],
    ids=["check", "report", "serve-home", "serve-repo", "render-image", "run"],
)
def test_a_usage_error_is_one_sentence(
    arguments: list[str], words: str, sextant: Sextant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 2, the reason on standard error, no traceback."""
    monkeypatch.chdir(tmp_path)
    result = sextant(*arguments)
    assert result.code == 2
    assert words in result.err
    assert "Traceback" not in result.err


def test_no_server_is_an_infrastructure_error(sextant: Sextant, picture_folder: Path) -> None:
    """Predicting without a server exits 4 and says how to start one."""
    result = sextant("predict", picture_folder / "apple" / "0.png", "--url", "http://127.0.0.1:9")
    assert result.code == 4
    assert "sextant serve" in result.err


def test_an_unforeseen_error_leaves_its_trace_in_a_file(sextant: Sextant, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged installation is nobody's sentence yet: exit 4, one line, and the trace where the line says."""
    monkeypatch.setitem(sys.modules, "sextant_pipelines.commands.doctor", None)
    result = sextant("doctor")
    assert result.code == 4
    assert len(result.err.splitlines()) == 1
    trace = Path(result.err.split("The trace is in ")[1].split(";")[0])
    assert "Traceback" in trace.read_text(encoding="utf-8")
    trace.unlink()


def test_a_damaged_run_is_named_with_its_file(sextant: Sextant, tmp_path: Path) -> None:
    """A run whose description was overwritten is told by its path and exit 4."""
    description = tmp_path / "home" / "runs" / "r" / "run.json"
    description.parent.mkdir(parents=True)
    description.write_text("{}", encoding="utf-8")
    result = sextant("report", "--home", tmp_path / "home")
    assert (result.code, str(description) in result.err) == (4, True)


def test_rules_are_rendered_from_the_plan(sextant: Sextant, tmp_path: Path) -> None:
    """The rules go to standard output, or to the file that is named."""
    plan = Path(__file__).parents[2] / "examples" / "digits" / "plan.yaml"
    shown = sextant("render", "rules", plan)
    assert shown.code == 0
    assert shown.out.startswith("# Generated from the plan digits")
    assert sextant("render", "rules", plan, "-o", tmp_path / "file").code == 0
    assert (tmp_path / "file").read_text(encoding="utf-8") == shown.out


def test_boards_are_written_into_the_folder_that_is_named(sextant: Sextant, tmp_path: Path) -> None:
    """Each board is a file of JSON, with Grafana's provisioning beside them."""
    plan = Path(__file__).parents[2] / "examples" / "digits" / "plan.yaml"
    assert sextant("render", "dashboards", plan, "-o", tmp_path / "boards").code == 0
    boards = list((tmp_path / "boards").rglob("*.json"))
    assert len(boards) > 3
    assert all(json.loads(board.read_bytes())["panels"] for board in boards)


def test_trace_variable_lets_errors_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SEXTANT_TRACE=1 shows whoever debugs Sextant the real exception."""
    from sextant_plan.errors import UsageError

    monkeypatch.setenv("SEXTANT_TRACE", "1")
    with pytest.raises(UsageError):
        main(["report", "--home", str(tmp_path)])


def test_doctor_reports_each_check_as_json(sextant: Sextant, tmp_path: Path) -> None:
    """Every check has a name, a state and what was found."""
    result = sextant("doctor", "--home", tmp_path, "--json")
    checks = {check["name"]: check for check in json.loads(result.out)["checks"]}
    assert checks["python"]["ok"]
    assert {"disk", "memory", "mlflow", "torch", "openmp", "in service"} <= checks.keys()


def test_doctor_finds_a_broken_registry(sextant: Sextant, tmp_path: Path) -> None:
    """A registry that is no database fails with a remedy, and so does the command."""
    (tmp_path / "mlflow.db").write_text("not a database at all, but long enough to be read as one", encoding="utf-8")
    result = sextant("doctor", "--home", tmp_path)
    assert result.code == 4
    assert "Restore the file" in result.out


def test_doctor_finds_that_openmp_is_missing(sextant: Sextant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the system's library, gradient-boosted trees fail in the middle of a run."""
    monkeypatch.setattr("sextant_pipelines.commands.doctor.OPENMP", "libgomp-of-no-machine.so.1")
    result = sextant("doctor")
    assert result.code == 4
    assert "libgomp-of-no-machine.so.1: cannot open shared object file" in result.out
    assert "apt-get install libgomp1" in result.out


def test_render_pins_images_by_digest(tmp_path: Path) -> None:
    """`--image` reaches every task of the pipeline."""
    image = "registry.example/sextant-train@sha256:" + "a" * 64
    out = tmp_path / "lifecycle.yaml"
    command = [sys.executable, "-m", "sextant_pipelines.cli", "render", "pipeline", "-o", str(out), "--image"]
    subprocess.run([*command, f"train={image}"], check=True, capture_output=True)
    images = {line.split("image: ")[1] for line in out.read_text(encoding="utf-8").splitlines() if " image: " in line}
    assert images == {image}


def test_a_home_that_cannot_be_written_is_named(sextant: Sextant, plan_file: Path, tmp_path: Path) -> None:
    """The path, the system's reason and what to do, without a trace."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    result = sextant("run", plan_file, "--home", tmp_path / "file" / "home")
    assert result.code == 4
    assert f"{tmp_path / 'file' / 'home'}" in result.err
    assert "not a directory. Free the path, or name a folder that you may write to." in result.err


def test_report_repeats_why_a_run_broke_down(sextant: Sextant, plan_file: Path, tmp_path: Path) -> None:
    """The cause that the run printed is still there for whoever looks later."""
    context = create_run(tmp_path / "runs" / "r", run_id="r", plan_path=plan_file, home=tmp_path)
    cause = {"step": "plan", "type": "DataError", "known": True, "message": "t.csv: no such file.", "exit_code": 2}
    (context.run / ERROR_FILE).write_text(json.dumps(cause), encoding="utf-8")
    result = sextant("report", context.run)
    assert (result.code, result.err) == (2, "step plan: t.csv: no such file.\n")
