"""The shape of the code: which part may import which, what stays light, and what library code may not contain."""

from __future__ import annotations

import ast
import importlib.resources
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import house
import pytest
from house import PACKAGES, ROOT, module_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no reader of pyproject.toml")

from lgcodec.models.families import FAMILIES

LIGHT = ("import lgcodec", "import lgcodec.cli.main", "import lgcodec.models")
HEAVY = ("numpy", "torch", "matplotlib", "imagecodecs")

# Parts from the lowest up: a module may import its own part and those before it. The first prefix that fits counts.
PARTS = (
    ("models: seam", ("errors", "interface", "parallel", "ycocg", "optional", "weights")),
    ("models: layers and entropy", ("layers", "entropy")),
    ("models: deltas", ("adaptation.deltas",)),
    ("models: machines", ("machines",)),
    ("models: registry", ("families", "registry", "adaptation.adapter")),  # the package families itself: its table
    ("models: families", ("families.*.network", "families.*.online", "families.*.program", "families.*.on_*",
                          "families.*.*_kernels", "families.*.latent", "families.*.flow", "families.*.companion",
                          "families.*.earlier",
                          "families.*.model")),
    ("models: zoo", ("zoo",)),
    ("models: training", ("training", "adaptation.fit", "families.*.floats", "families.*.episodes",
                          "families.*.features", "families.*.training")),
    ("codec", ()),
    ("cli", ()),
)  # fmt: skip
# What reaches up, and only inside a function: an encoder that fits a network, and the command that trains.
LAZY = {("adaptation.adapter", "adaptation.fit")}
KIN = {("vqvae", "causal")}  # the one family that stands on another
TORCH = ("machines.torch", "machines.triton", "adaptation.fit", "training", "families.*.floats",
         "families.*.episodes", "families.*.features", "families.*.training", "families.*.on_triton",
         "families.*.triton_kernels")  # fmt: skip


class Import(NamedTuple):
    """One module imports another. lazy: inside a function."""

    importer: str
    imported: str
    lazy: bool = False


FILES = sorted(path for folder in PACKAGES for path in (ROOT / folder).rglob("*.py"))
MODULES = {module_of(path): path for path in FILES}
named = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))


def imports(path: Path) -> Iterator[Import]:
    """Every import of a module, none under TYPE_CHECKING; of our own modules the module that is meant."""

    def walk(node: ast.AST, lazy: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.Import):
                yield from (Import(module_of(path), alias.name, lazy) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, "relative imports hide which package they reach"
                for alias in child.names:
                    full = f"{child.module}.{alias.name}"
                    yield Import(module_of(path), full if full in MODULES else str(child.module), lazy)
            yield from walk(child, lazy or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)))

    return walk(ast.parse(path.read_text()), False)


ALL = [item for path in FILES for item in imports(path)]


def fits(module: str, pattern: str) -> bool:
    """Whether a dotted name begins with a pattern, part by part; a part may have a * in it."""
    parts, wanted = module.split("."), pattern.split(".")
    return len(parts) >= len(wanted) and all(Path(a).match(b) for a, b in zip(parts, wanted, strict=False))


def within(module: str) -> str:
    """The name below lgcodec.models."""
    return module.removeprefix("lgcodec.models").removeprefix(".")


def level(module: str) -> int:
    if module.startswith("lgcodec.cli") or module == "lgcodec.__main__":
        return len(PARTS) - 1
    if not module.startswith("lgcodec.models"):
        return len(PARTS) - 2
    name = within(module)
    if name in ("", "machines", "training", "adaptation", *(f"families.{family}" for family in FAMILIES)):
        return 0  # packages whose __init__ holds no more than a docstring and constants
    if name == "families":
        return 4
    found = [
        i
        for i, (_, patterns) in enumerate(PARTS)
        for pattern in patterns
        if fits(name, pattern) and pattern != "families"
    ]
    assert found, f"{module} belongs to no part of the house"
    return found[0]


def wrong(item: Import) -> str | None:
    """What rule an import breaks, or None."""
    a, b = within(item.importer), within(item.imported)
    if not item.imported.startswith("lgcodec"):
        return None
    if item.importer.startswith("lgcodec.models") and not item.imported.startswith("lgcodec.models"):
        return "models know neither codec nor cli"
    family, other = (name.split(".")[1] if name.startswith("families.") else "" for name in (a, b))
    if family and other and family != other and (family, other) not in KIN:
        return "families import no other family"
    if a.startswith("machines") and other:
        return "machines import no family"
    if level(item.imported) <= level(item.importer):
        return None
    if item.lazy and any(fits(a, x) and fits(b, y) for x, y in LAZY):
        return None
    return f"{PARTS[level(item.importer)][0]} is below {PARTS[level(item.imported)][0]}"


def circle(items: list[Import]) -> list[str]:
    """The modules of a circle of imports, none where there is none."""
    graph: dict[str, set[str]] = {}
    for item in items:
        if item.imported in MODULES and item.imported != item.importer:
            graph.setdefault(item.importer, set()).add(item.imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as e:
        found: list[str] = e.args[1]
        return found
    return []


def test_imports_point_down() -> None:
    assert [(item, reason) for item in ALL if (reason := wrong(item))] == []


def test_there_is_no_circle_of_imports() -> None:
    assert circle(ALL) == []


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("models.interface", "codec"),
        ("models.layers.integer", "models.machines.numpy.executor"),
        ("models.entropy.mixture", "models.machines.choose"),
        ("models.machines.numpy.stack", "models.families.causal.network"),
        ("models.families.flow.network", "models.families.causal.network"),
        ("models.families.causal.program", "models.families.causal.floats"),
        ("models.families.causal.network", "models.training.images"),
        ("models.adaptation.deltas", "models.adaptation.fit"),
        ("models.registry", "models.families.vae.model"),
        ("encode", "cli.main"),
    ],
)
def test_one_import_too_many_is_noticed(importer: str, imported: str) -> None:
    assert wrong(Import(f"lgcodec.{importer}", f"lgcodec.{imported}")) is not None


def test_one_circle_is_noticed() -> None:
    back = Import("lgcodec.models.layers.integer", "lgcodec.models.layers.convolution")
    assert back.importer in circle([*ALL, back])


@named
def test_bare_folder_names_are_never_imported(path: Path) -> None:
    assert {item.imported.split(".")[0] for item in imports(path)}.isdisjoint(PACKAGES)


@named
def test_only_executors_and_training_load_torch(path: Path) -> None:
    module = module_of(path)
    if module.startswith("lgcodec.models") and any(fits(within(module), pattern) for pattern in TORCH):
        pytest.skip("computes with torch, behind the seam")
    assert not [item for item in imports(path) if item.imported.split(".")[0] == "torch" and not item.lazy]


@named
def test_library_code_reports_by_exceptions(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, ast.Assert), f"line {node.lineno}: an assert vanishes under -O"
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), f"line {node.lineno}: bare except"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"line {node.lineno}: the library is silent, the cli uses click.echo"
        assert not (isinstance(node, ast.Name) and node.id == "NotImplementedError"), f"line {node.lineno}: a stub"


def test_what_readme_draws_is_true() -> None:
    text = (ROOT / "README.md").read_text()
    assert text == house.drawn(text), "python tests/house.py draws it anew"


def test_the_walk_in_readme_names_what_there_is() -> None:
    text = (ROOT / "README.md").read_text()
    walk = text[text.index("One image through `compress`") : text.index("<!-- house:start -->")]
    files, names = re.findall(r"`([\w/*]+\.py)`", walk), re.findall(r"`([a-z]+)\.(\w+)`", walk)
    assert len(files) > 3
    assert len(names) > 12
    assert all(list(ROOT.glob(file)) for file in files)
    for module, name in names:
        found = importlib.import_module(f"lgcodec.coding.{module}" if module == "coder" else f"lgcodec.{module}")
        assert hasattr(found, name), f"{module}.{name}"


def test_every_package_is_installed() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        listed = tomllib.load(file)["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(module_of(path) for path in FILES if path.name == "__init__.py")


def test_every_family_has_its_parts() -> None:
    folders = {path.parent.name for path in (ROOT / "models" / "families").glob("*/__init__.py")}
    assert folders == set(FAMILIES)
    for family in FAMILIES:
        for part in ("network", "program", "training", "model"):
            assert f"lgcodec.models.families.{family}.{part}" in MODULES


def loaded(code: str) -> set[str]:
    """The heavy packages that a fresh interpreter holds after `code`."""
    ask = f"import sys; {code}; sys.stdout.write(' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    run = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


@pytest.mark.parametrize("statement", LIGHT)
def test_imports_stay_light(statement: str) -> None:
    assert loaded(statement) == set()


def test_help_stays_light() -> None:
    """Not even numpy is loaded, whose import takes as long as all else."""
    help_text = "from lgcodec.cli.main import program; program(['--help'], standalone_mode=False)"
    quiet = f"import io, contextlib\nwith contextlib.redirect_stdout(io.StringIO()): {help_text}"
    assert loaded(f"exec({quiet!r})") == set()


def test_package_data_is_found_through_the_models_package() -> None:
    files = importlib.resources.files("lgcodec.models")
    assert (files / "py.typed").is_file()
    assert (files / "weights").is_dir()
