"""The modules that can be compiled hold nothing that would then be something else; see `setup.py`.

All of it is looked up in the sources, and nothing has to be compiled for that.
"""

import ast
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest

import syncstructs

ROOT = Path(__file__).parents[2]
SETUP = ROOT / "setup.py"
PACKAGE = Path(syncstructs.__file__).parent


def _listed():
    for statement in ast.parse(SETUP.read_text()).body:
        match statement:
            case ast.Assign(targets=[ast.Name("COMPILED")], value=names):
                return ast.literal_eval(names)
    raise AssertionError("setup.py has no COMPILED")


MODULES = _listed()

# What a class may inherit from besides others in the list: what mypyc knows, and what takes part
# in the making of a class no more than `object` does.
BASES = {
    "Enum", "Generic[C]", "Generic[R]", "NamedTuple", "Protocol", "asyncio.BufferedProtocol",
    "dict[type, _Packer]",
}  # fmt: skip
DECORATORS = {"classmethod", "contextmanager", "property", "staticmethod"}


def findings(source):
    """Yield what the source of a module must not hold."""
    tree = ast.parse(source)
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    compiled = own | {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and _is_listed(node)
        for alias in node.names
    }
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef():
                for keyword in node.keywords:
                    yield f"class {node.name} has the keyword {keyword.arg}, which is dropped"
                for base in map(ast.unparse, node.bases):
                    if base not in BASES and base.partition("[")[0] not in compiled:
                        yield f"class {node.name} inherits from {base}"
                for decorator in node.decorator_list:
                    yield f"class {node.name} is decorated by {ast.unparse(decorator)}"
                for inner in node.body:
                    if isinstance(inner, ast.ClassDef):
                        yield f"class {inner.name} is inside another one"
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                for decorator in map(ast.unparse, node.decorator_list):
                    if decorator not in DECORATORS and not decorator.endswith(".setter"):
                        yield f"{node.name}() is decorated by {decorator}"
            case ast.Import(names=[ast.alias(name)]) | ast.ImportFrom(module=name, level=0):
                if name in ("copy", "inspect", "pickle", "weakref"):
                    yield f"{name} sees through classes, or holds on to their instances"
    for number, line in enumerate(source.splitlines(), 1):
        # That a value is of no known type is true; other excuses are annotations that are not.
        if "# type: ignore" in line and "ignore[no-any-return]" not in line:
            yield f"line {number} is not of the type that it claims to be"


def _is_listed(node):
    """Whether a module in the list is imported from; all of them are two floors deep at most."""
    name = (node.module or "").replace(".", "/")
    return any(module == name or module.endswith(f"/{name}") for module in MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_that_can_be_compiled_holds_nothing_that_mypyc_drops(module):
    assert not [*findings((PACKAGE / f"{module}.py").read_text())]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("class A(msgspec.Struct, frozen=True): ...", "has the keyword frozen"),
        ("class A(msgspec.Struct): ...", "inherits from msgspec.Struct"),
        ("class A(NodeFailed): ...", "inherits from NodeFailed"),
        ("class A(Context): ...", "inherits from Context"),
        ("from ..objects.context import Context\nclass A(Context): ...", "inherits from Context"),
        ("class A(TypedDict): ...", "inherits from TypedDict"),
        ("@dataclass(slots=True)\nclass A: ...", "is decorated by dataclass"),
        ("@runtime_checkable\nclass A(Protocol): ...", "is decorated by runtime_checkable"),
        ("class A:\n    class B: ...", "is inside another one"),
        ("@cache\ndef f(): ...", "is decorated by cache"),
        ("from weakref import WeakSet", "holds on to their instances"),
        ("import weakref", "holds on to their instances"),
        ("x = f(y)  # type: ignore[arg-type]", "not of the type"),
        ("from .port import Port\nclass A(Port): ...", "inherits from Port"),
    ],
)
def test_what_must_not_stand_there_is_found(source, told):
    assert told in " ".join(findings(source))


def test_nobody_else_inherits_from_what_can_be_compiled():
    for found in walk_packages(syncstructs.__path__, "syncstructs."):
        if found.name != "syncstructs.__main__":
            import_module(found.name)
    listed = {f"syncstructs.{name.replace('/', '.')}" for name in MODULES}
    wrong = [
        heir
        for name in listed
        for kind in vars(sys.modules[name]).values()
        if isinstance(kind, type) and kind.__module__ == name
        for heir in kind.__subclasses__()
        if heir.__module__ not in listed
    ]
    assert not wrong, wrong


# What mypy believes of an attribute, from a comparison with None on, whatever is called meanwhile

_BELIEFS = """
import sys
from mypy.build import build
from mypy.modulefinder import BuildSource
from mypy.nodes import ComparisonExpr, MemberExpr, NameExpr, Node
from mypy.options import Options
from mypy.types import NoneType, UnionType, get_proper_type

def nodes(root, seen):
    "All below in the source, whatever way they hang there; what names stand for is not."
    left = [root]
    while left:
        node = left.pop()
        if isinstance(node, (list, tuple)):
            left += node
        elif isinstance(node, Node) and id(node) not in seen:
            seen[id(node)] = node
            for name in dir(type(node)):
                if name not in ("info", "node", "type", "names", "func", "original_def"):
                    below = getattr(node, name, None)
                    if isinstance(below, (Node, list, tuple)):
                        left.append(below)
    return seen.values()

def declared(expression, types):
    owner = get_proper_type(types.get(expression.expr))
    found = owner.type.get(expression.name) if hasattr(owner, "type") else None
    return get_proper_type(getattr(found and found.node, "type", None))

options = Options()
options.export_types = options.preserve_asts = True
options.incremental = False
options.ignore_missing_imports = True
sources = [BuildSource(path, name) for name, path in zip(sys.argv[1::2], sys.argv[2::2])]
result = build(sources, options)
assert not result.errors, result.errors
count = 0
for source in sources:
    for node in nodes(result.graph[source.module].tree.defs, {}):
        if isinstance(node, ComparisonExpr):
            members = [one for one in node.operands if isinstance(one, MemberExpr)]
            if any(isinstance(one, NameExpr) and one.name == "None" for one in node.operands):
                for member in members:
                    kind, known = declared(member, result.types), result.types.get(member)
                    count += 1
                    if isinstance(kind, UnionType) and known is not None and (
                        not isinstance(get_proper_type(known), UnionType)
                    ):
                        print(f"{source.path}:{member.line}: {member.name} is {known} for mypy")
print(count, "comparisons", file=sys.stderr)
"""


_BELIEVER = """
class A:
    def __init__(self) -> None:
        self.error: str | None = None
    def run(self) -> None:
        if self.error is not None:
            raise ValueError
        self.work()
        if self.error is not None:
            raise ValueError
    def work(self) -> None: ...
"""


@pytest.mark.pure("mypy does not look at what is installed")
def test_nothing_is_compared_with_none_that_mypy_believes_to_know(tmp_path):
    """A call in between may have changed it; what is compiled would raise instead of comparing."""
    believer = tmp_path / "believer.py"
    believer.write_text(_BELIEVER)
    sources = ["believer", f"{believer}"]
    for name in MODULES:
        sources += [f"syncstructs.{name.replace('/', '.')}", f"{PACKAGE / name}.py"]
    done = subprocess.run(
        [sys.executable, "-c", _BELIEFS, *sources],
        capture_output=True, text=True, timeout=110, check=True, cwd=PACKAGE.parent,
    )  # fmt: skip
    assert int(done.stderr.split()[-2]) > 100
    assert done.stdout.splitlines() == [f"{believer}:9: error is None for mypy"]


def test_mypy_tells_of_a_test_that_it_believes_to_know_the_outcome_of(tmp_path):
    """What a call may have made true is left out of compiled code without a word."""
    (tmp_path / "believer.py").write_text(
        "class Link:\n"
        "    is_closed = False\n"
        "    def work(self) -> int:\n"
        "        if not self.is_closed:\n"
        "            self.answer()\n"
        "            if self.is_closed:\n"
        "                return 1\n"
        "        return 2\n"
        "    def answer(self) -> None: ...\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", ROOT / "setup.cfg", "--cache-dir",
         tmp_path / "cache", "believer.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.stdout.startswith("believer.py:7: error: Statement is unreachable"), done


# The build


def test_without_a_compiler_the_build_says_what_is_missing(tmp_path):
    (tmp_path / "mypyc.py").write_text("raise ImportError")
    done = subprocess.run(
        [sys.executable, SETUP, "bdist_wheel"],
        env={**os.environ, "SYNCSTRUCTS_COMPILE": "1", "PYTHONPATH": f"{tmp_path}"},
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "SYNCSTRUCTS_COMPILE is set, but mypy, which compiles, is not installed here:"
        " pip install 'mypy==2.4.*' 'msgspec>=0.19', or unset it for the pure Python code"
    ]


def test_the_pure_code_runs_where_the_environment_asks_for_it():
    code = "import syncstructs as s; print(s.compiled.IS_COMPILED, s.node.node.Engine.__init__)"
    for wish, compiled in (("1", False), ("0", syncstructs.compiled.IS_COMPILED)):
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "SYNCSTRUCTS_PURE": wish},
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        kind = "slot wrapper" if compiled else "function"
        assert done.stdout.startswith(f"{compiled} <{kind} ")
