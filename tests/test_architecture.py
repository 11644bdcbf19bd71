"""The shape of the code: which package may import which, what stays light, and what library code may not contain."""

from __future__ import annotations

import ast
import importlib.resources
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"codec": "lgcodec", "models": "lgcodec.models", "cli": "lgcodec.cli"}
# cli -> codec -> models: what each package may not know
BEYOND = {"models": ("codec", "cli"), "codec": ("cli",), "cli": ()}
LIGHT = ("import lgcodec", "import lgcodec.cli.main", "import lgcodec.models")
HEAVY = ("torch", "numba", "matplotlib", "imagecodecs")

FILES = sorted(path for folder in PACKAGES for path in (ROOT / folder).glob("*.py"))
named = pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that `tree` imports, as a dotted name; `from a import b` gives a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide which package they reach"
            yield from ([node.module] if node.module else [])
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def roots(tree: ast.AST) -> set[str]:
    """The top-level packages that `tree` imports."""
    return {module.split(".")[0] for module in imports(tree)}


def at_module_level(tree: ast.Module) -> ast.AST:
    """The statements that run on import: no function bodies, nothing under TYPE_CHECKING."""

    class Strip(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
            return None

        visit_AsyncFunctionDef = visit_FunctionDef  # type: ignore[assignment]  # noqa: N815

        def visit_If(self, node: ast.If) -> ast.AST | None:
            checking = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
            return None if checking else self.generic_visit(node)

    stripped: ast.AST = Strip().visit(tree)
    return stripped


def package_of(module: str) -> str | None:
    """The folder that `module` lives in: codec, models or cli; None for what is not ours."""
    parts = module.split(".")
    if parts[0] != "lgcodec":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in ("models", "cli") else "codec"


@named
def test_arrows_point_from_cli_to_codec_to_models(path: Path) -> None:
    known = {package_of(module) for module in imports(ast.parse(path.read_text()))}
    assert known.isdisjoint(BEYOND[path.parent.name])


@named
def test_bare_folder_names_are_never_imported(path: Path) -> None:
    assert roots(ast.parse(path.read_text())).isdisjoint(PACKAGES)


@named
def test_only_executors_and_training_load_torch(path: Path) -> None:
    if path.parent.name == "models" and any(w in path.name for w in ("executor", "gpu", "train", "adapt")):
        pytest.skip("computes with torch, behind the seam")
    assert "torch" not in roots(at_module_level(ast.parse(path.read_text())))


@named
def test_the_seam_and_coding_know_no_torch_at_all(path: Path) -> None:
    if path.parent.name == "models" and path.name != "interface.py":
        pytest.skip("below the seam")
    assert "torch" not in roots(ast.parse(path.read_text()))


@named
def test_library_code_reports_by_exceptions(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, ast.Assert), f"line {node.lineno}: an assert vanishes under -O"
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), f"line {node.lineno}: bare except"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"line {node.lineno}: the library is silent, the cli uses click.echo"


def test_folders_are_flat() -> None:
    for folder in PACKAGES:
        assert not list((ROOT / folder).glob("*/**/*.py"))


def loaded(code: str) -> set[str]:
    """The heavy packages that a fresh interpreter holds after `code`."""
    ask = f"import sys; {code}; sys.stdout.write(' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    run = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


@pytest.mark.parametrize("statement", LIGHT)
def test_imports_stay_light(statement: str) -> None:
    assert loaded(statement) == set()


def test_help_stays_light() -> None:
    help_text = "from lgcodec.cli.main import program; program(['--help'], standalone_mode=False)"
    quiet = f"import io, contextlib\nwith contextlib.redirect_stdout(io.StringIO()): {help_text}"
    assert loaded(f"exec({quiet!r})") == set()


@pytest.mark.parametrize("code", LIGHT)
def test_imports_are_quick(code: str) -> None:
    def seconds() -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - start

    assert min(seconds() for _ in range(3)) < 1.0  # 0.3 s is the aim; a busy machine gets some slack


def test_package_data_is_found_through_the_models_package() -> None:
    files = importlib.resources.files("lgcodec.models")
    assert (files / "py.typed").is_file()
    assert (files / "weights").is_dir()
