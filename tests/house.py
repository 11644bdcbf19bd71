"""What README draws of the code: the map of the house and the machines. `python tests/house.py` draws both anew."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from lgcodec.models.machines import choose

ROOT = Path(__file__).parents[1]
PACKAGES = {"codec": "lgcodec", "models": "lgcodec.models", "cli": "lgcodec.cli"}


def module_of(path: Path) -> str:
    """The name under which a file is imported."""
    folder, *rest = path.relative_to(ROOT).with_suffix("").parts
    return ".".join([PACKAGES[folder], *(part for part in rest if part != "__init__")])


def imported(node: ast.AST) -> Iterator[str]:
    """Modules and their members that a tree imports, by dotted names."""
    for child in ast.walk(node):
        if isinstance(child, ast.ImportFrom) and child.module:
            yield from (f"{child.module}.{alias.name}" for alias in child.names)


def room(name: str) -> str:
    """The folder that a dotted name lives in, as the map shows it."""
    parts = name.split(".")[1:]
    if parts[:1] == ["models"]:
        inner = parts[1] if len(parts) > 1 and (ROOT / "models" / parts[1] / "__init__.py").exists() else ""
        return f"models/{inner}"
    if parts[:1] == ["cli"]:
        return "cli/"
    return f"codec/{parts[0]}" if parts and (ROOT / "codec" / parts[0] / "__init__.py").exists() else "codec/"


def rooms() -> str:
    """Two lines for each folder: its name and what it says of itself, and whom it imports."""
    arrows: dict[str, set[str]] = {}
    for folder in PACKAGES:
        for path in (ROOT / folder).rglob("*.py"):
            if path.name == "__main__.py":
                continue
            here = room(module_of(path))
            there = {room(name) for name in imported(ast.parse(path.read_text())) if name.startswith("lgcodec.")}
            arrows.setdefault(here, set()).update(there - {here})
    order = sorted(arrows, key=lambda name: (list(PACKAGES).index(name.split("/")[0]), name))
    width = max(map(len, order))
    lines = []
    for name in order:
        says = ast.get_docstring(ast.parse((ROOT / name / "__init__.py").read_text())) or ""
        lines += [f"{name:{width}}  {says.splitlines()[0]}", f"{'':{width}}  -> {', '.join(sorted(arrows[name]))}"]
    return "\n".join(["```text", *lines, "```"])


def machines() -> str:
    """A row for each machine: its name, the device that asks for it, and what it is."""
    rows = [f"| `{name}` | {row.device} | {row.title} |" for name, row in choose.MACHINES.items()]
    return "\n".join(["| machine | `--device` | |", "| --- | --- | --- |", *rows])


def drawn(text: str) -> str:
    """A text with what stands between its marks drawn anew."""
    for name, draw in (("house", rooms), ("machines", machines)):
        begin, end = f"<!-- {name}:start -->\n", f"\n<!-- {name}:end -->"
        text = text[: text.index(begin) + len(begin)] + draw() + text[text.index(end) :]
    return text


def main() -> None:
    readme = ROOT / "README.md"
    readme.write_text(drawn(readme.read_text()))


if __name__ == "__main__":
    main()
