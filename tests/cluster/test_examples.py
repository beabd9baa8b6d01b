"""The examples run by themselves, on free ports, and end with status 0."""

import subprocess
import sys
from pathlib import Path

import pytest

from syncstructs.cli.processes import free_addresses

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_ends_well(example):
    done = subprocess.run(
        [sys.executable, str(example), *free_addresses(3)],
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout
    assert "Traceback" not in done.stderr, done.stderr


def test_there_are_examples():
    assert len(EXAMPLES) >= 5
