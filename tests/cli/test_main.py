"""The command line as a whole: exit codes, one line for bad input, nothing imported that was not asked for."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from shortlist import __version__
from shortlist.cli import doctor, main
from shortlist.core.errors import ConfigError


def one_line(captured: pytest.CaptureFixture[str]) -> str:
    """What stderr holds, which must be exactly one line that names the program."""
    out, err = captured.readouterr()
    assert out == ""
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert err.startswith("shortlist: ")
    return err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["doctr"], "doctr"),
        (["doctor", "--nope"], "--nope"),
        (["--nope"], "--nope"),
        (["check"], "DATA"),
        (["check", "nobody:/tmp"], "unknown data set 'nobody'"),
        (["check", "/no/such/folder"], "/no/such/folder"),
        (["data"], "Missing command"),
    ],
)
def test_bad_input_is_one_line_and_two(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(arguments) == 2
    assert said in one_line(capsys)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigError("recipe.toml: source[0]:\n  unknown option"), 2, "recipe.toml: source[0]: unknown option"),
        (OSError(errno.ENOSPC, "No space left on device", "runs/x"), 2, "runs/x: No space left on device"),
        (OSError("the disk went away"), 2, "the disk went away"),
    ],
)
def test_errors_of_a_command(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise error

    monkeypatch.setattr(doctor, "examine", broken)
    assert main.run(["doctor"]) == code
    assert one_line(capsys) == f"shortlist: {said}\n"


def test_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "examine", interrupted)
    assert main.run(["doctor"]) == 130


def test_a_bug_is_not_dressed_up_as_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(doctor, "examine", broken)
    with pytest.raises(ZeroDivisionError):
        main.run(["doctor"])


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"
    assert main.run([]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in main.COMMANDS)


def test_every_command_has_a_file_and_a_help_line() -> None:
    for name in main.COMMANDS:
        assert Path(main.__file__).with_name(f"{name}.py").is_file()
        assert main.summary(name).count("\n\n") == 0
        assert main.summary(name).endswith(".")


def test_only_the_asked_command_is_imported() -> None:
    code = (
        "import sys; from shortlist.cli.main import app; app([]); "
        "sys.exit(any(name in sys.modules for name in ('numba', 'catboost', 'scipy', 'polars')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_reader_that_has_seen_enough_hears_nothing() -> None:
    code = "import sys; from shortlist.cli.main import run; sys.exit(run(['doctor', '--json']))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1


def test_main_leaves_with_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main.main(["doctr"])
    assert stop.value.code == 2
    assert "doctr" in one_line(capsys)


def test_doctor_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["doctor", "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert err == ""
    assert found["numba"] == "ok"
    assert found["problems"] == []
    assert set(found["extras"]) == {"serve", "neural", "ray", "text", "ann", "dev"}


def test_doctor_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert __version__ in shown
    assert "compiler: ok" in shown


def test_doctor_names_what_is_missing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor.version
    monkeypatch.setattr(doctor, "version", lambda name: None if name in ("scipy", "torch") else real(name))
    assert main.run(["doctor"]) == 2
    shown = capsys.readouterr().out
    assert "PROBLEM: scipy is not installed" in shown
    assert "pip install 'shortlist[neural]'" in shown


def test_self_test_says_why_a_compiler_is_broken() -> None:
    def broken() -> int:
        raise RuntimeError("no\n LLVM")

    assert doctor.self_test(lambda: 45) == "ok"
    assert doctor.self_test(lambda: 44) == "a compiled sum is 44 instead of 45"
    assert doctor.self_test(broken) == "RuntimeError: no LLVM"


def test_app_is_typer() -> None:
    assert isinstance(main.app([]), typer.Typer)
