"""`inferencehub key`: a key that it makes opens the gateway's door, and what it prints is what the file says."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from inferencehub.cli.keys import key
from inferencehub.core.auth.api_keys import ApiKeys
from inferencehub.core.auth.caller import Action
from inferencehub.core.auth.limits import Limits
from inferencehub.core.values.errors import HubError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def run(file: Path, *arguments: str, given: str = "") -> Result:
    """A subcommand of `key` with this file."""
    return CliRunner().invoke(key, [*arguments, "--file", str(file)], input=given)


def test_a_new_key_is_printed_once_and_means_what_was_asked_for(file: Path) -> None:
    run(file, "new", "first")
    made = run(
        file, "new", "ci", "--tenant", "search", "--model", "v1-*", "--model", "digits", "--action", "control",
        "--not-after", "2999-01-31", "--rate", "0.5", "--burst", "3", "--concurrency", "7",
        "--weight", "2.5",
    )  # fmt: skip
    assert made.exit_code == 0
    text = made.stdout.strip()
    assert text.startswith("hub_ci_")
    assert len(text) == len("hub_ci_") + 43, "256 random bits"
    assert text not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    caller = ApiKeys(str(file), "HUB_API_KEYS").caller(text.encode())
    assert (caller.id, caller.tenant, caller.actions) == ("ci", "search", frozenset([Action.CONTROL]))
    assert [caller.sees(name) for name in ("v1-mock", "digits", "digits2", "v2")] == [
        True,
        True,
        False,
        False,
    ]
    assert run(file, "check", given=text + "\n").stdout == "ci\n"
    assert caller.limits == Limits(0.5, 3, 7)
    assert caller.flow == ("tenant search", 2.5)
    assert [line.split() for line in run(file, "list").stdout.splitlines()] == [
        ["ID", "CERTIFICATE", "TENANT", "MODELS", "ACTIONS", "LIMITS", "NOT", "AFTER"],
        ["first", "*", "infer,describe"],
        [
            "ci",
            "search",
            "v1-*,digits",
            "control",
            "rate=0.5,burst=3,concurrency=7,weight=2.5",
            "2999-01-31T00:00:00+00:00",
        ],
    ]


def test_the_name_in_a_certificate_needs_no_key(file: Path) -> None:
    made = run(file, "new", "robot", "--certificate", "robot.example", "--model", "digits")
    assert (made.exit_code, made.stdout) == (0, "")
    assert made.stderr == f"added 'robot' to {file}, who shows a certificate of 'robot.example'\n"
    caller = ApiKeys(str(file), "HUB_API_KEYS").holder(["other.example", "robot.example"])
    assert caller is not None
    assert (caller.id, caller.sees("digits"), caller.sees("v1-mock")) == ("robot", True, False)
    assert run(file, "list").stdout.splitlines()[1].split() == [
        "robot",
        "robot.example",
        "digits",
        "infer,describe",
    ]


def test_a_file_keeps_its_mode_and_a_link_stays_a_link(file: Path) -> None:
    target = file.with_name("shared.json")
    run(target, "new", "first")
    target.chmod(0o644)
    file.symlink_to(target.name)
    assert run(file, "new", "second").exit_code == 0
    assert file.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    assert [line.split()[0] for line in run(target, "list").stdout.splitlines()] == ["ID", "first", "second"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("new", "ci"), "two keys have the id 'ci'"),
        (("new", "a_b"), "the id 'a_b' must have 1 to 63 letters, digits, dots or dashes"),
        (("new", "b", "--action", "fly"), "'fly' is not one of 'infer', 'describe', 'control'"),
    ],
)
def test_what_cannot_be_added_changes_nothing(file: Path, arguments: tuple[str, ...], said: str) -> None:
    run(file, "new", "ci")
    before = file.read_bytes()
    done = run(file, *arguments)
    assert done.exit_code > 0
    assert said in done.stderr
    assert file.read_bytes() == before
    assert [child.name for child in file.parent.iterdir()] == [file.name]


def test_a_key_that_would_be_refused_is_told_why(file: Path) -> None:
    old = run(file, "new", "old", "--not-after", "2020-01-31").stdout
    for given, said in (
        (old, "key 'old' has expired at 2020-01-31T00:00:00+00:00"),
        ("hub_x\n", "the key is unknown"),
    ):
        done = run(file, "check", given=given)
        assert (done.exit_code, done.stderr) == (1, f"Error: {said}\n")
        with pytest.raises(HubError, match=r"expired|unknown"):
            ApiKeys(str(file), "HUB_API_KEYS").caller(given.strip().encode())


@pytest.mark.parametrize("subcommand", ["list", "check"])
def test_a_file_that_is_not_there_or_broken_is_named(file: Path, subcommand: str) -> None:
    assert "No such file" in run(file, subcommand).stderr
    file.write_text("{")
    done = run(file, subcommand)
    assert done.exit_code == 1
    assert str(file) in done.stderr
