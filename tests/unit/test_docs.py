"""The README's Python blocks and the docstrings' examples do what they say."""

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from certificates import Authority

import syncstructs
from syncstructs.cli.processes import free_addresses

README = Path(__file__).parents[2] / "README.md"
TEXT = README.read_text(encoding="utf-8")
ADDRESS = re.compile(r'(?<=")127\.0\.0\.1:\d+(?=")')
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(syncstructs.__path__, "syncstructs.")
    if not module.name.endswith("__main__")
)


def blocks():
    """Return the Python blocks, each preceded by empty lines so that line numbers are right."""
    found = []
    for match in re.finditer(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL):
        line = TEXT.count("\n", 0, match.start(1))
        found.append("\n" * line + match[1])
    return found


def with_free_ports(source):
    """Return the source with every address replaced by one that is free now."""
    written = sorted(set(ADDRESS.findall(source)))
    chosen = dict(zip(written, free_addresses(len(written)), strict=True))
    return ADDRESS.sub(lambda match: chosen[match[0]], source), list(chosen.values())


def is_program(block):
    return "sys.argv" in block


def test_the_readme_shows_use_before_its_thirtieth_line():
    assert TEXT.count("\n", 0, TEXT.index("```python")) < 30
    assert sum(is_program(block) for block in blocks()) == 1


def test_the_program_of_the_readme_runs_on_three_members(tmp_path):
    source, addresses = with_free_ports(next(filter(is_program, blocks())))
    program = tmp_path / "app.py"
    program.write_text(source, encoding="utf-8")
    members = [
        subprocess.Popen(
            [sys.executable, str(program), address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for address in addresses
    ]
    guard = threading.Timer(60, lambda: [member.kill() for member in members])
    guard.start()
    try:
        lines = [member.stdout.readline() for member in members]
        ends = [member.communicate("\n", timeout=30) for member in members]
    finally:
        guard.cancel()
        for member in members:
            member.kill()
    assert [member.returncode for member in members] == [0, 0, 0], ends
    assert all("leads" in line and "ann" in line for line in lines), lines


def test_the_other_blocks_of_the_readme_run_one_after_the_other(tmp_path):
    source, _ = with_free_ports("\0".join(b for b in blocks() if not is_program(b)))
    runner = tmp_path / "blocks.py"
    runner.write_text(
        f"names = {{'__name__': '__main__'}}\n"
        f"for block in {source.split(chr(0))!r}:\n"
        f"    exec(compile(block, {str(README)!r}, 'exec'), names)\n"
        f"names['node'].close()\n",
        encoding="utf-8",
    )
    # The files that the README speaks of.
    authority = Authority(tmp_path)
    authority.issue("node1", "127.0.0.1")
    authority.ca.rename(tmp_path / "authority.pem")
    done = subprocess.run(
        [sys.executable, str(runner)], capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_are_right(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def test_the_readme_names_only_what_exists():
    """Names in the tables of types and errors are public names of the package."""
    for name in re.findall(r"`(Repl[A-Za-z]+|[A-Z][A-Za-z]+(?:Lost|Unknown|Applied))`", TEXT):
        assert hasattr(syncstructs, name), name


def test_the_commands_of_the_readme_install_extras_that_exist():
    setup = (README.parent / "setup.cfg").read_text(encoding="utf-8")
    extras = re.findall(r"-e '\.\[(\w+)\]'", TEXT)
    assert extras == ["cli", "test"]
    for extra in extras:
        assert re.search(rf"^{extra} =$", setup, re.MULTILINE)


def test_type_parameters_are_no_part_of_the_state():
    """Typing leaves an attribute on what `ReplDict[str, int]()` makes; it could not be encoded."""
    made = syncstructs.ReplDict[str, int]({"ann": 7})
    assert made.snapshot_state() == syncstructs.ReplDict({"ann": 7}).snapshot_state()
