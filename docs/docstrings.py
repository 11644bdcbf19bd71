"""A hook of mkdocs: lines such as `::: lgcodec.api` become the docstrings of a module's or a class's public names."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from pkgutil import resolve_name
from typing import Any

LINE = re.compile(r"^::: (\S+)$", re.M)


def on_page_markdown(markdown: str, **_: Any) -> str:
    return LINE.sub(lambda found: "\n\n".join(described(resolve_name(found[1]))), markdown)


def described(thing: Any) -> Iterator[str]:
    """The paragraphs of a module, a class or a function, its public names in the order of their definition."""
    if not inspect.ismodule(thing):
        name = thing.__qualname__
        yield f"{'###' if '.' in name else '##'} {name}"
        if not isinstance(thing, type) or dataclasses.is_dataclass(thing):
            yield f"```python\n{name}{signature(thing)}\n```"
        yield inspect.cleandoc(thing.__doc__)
    home = thing.__name__ if inspect.ismodule(thing) else thing.__module__
    for name, part in vars(thing).items():
        is_known = inspect.isroutine(part) or (isinstance(part, type) and not issubclass(part, dict))
        if is_known and not name.startswith("_") and part.__module__ == home and part.__doc__:
            yield from described(part)


class Bare(str):
    """An annotation that is shown as it is written, without quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def signature(thing: Any) -> str:
    known = inspect.signature(thing)
    parts = [part.replace(annotation=shown(part.annotation)) for part in known.parameters.values()]
    return str(known.replace(parameters=parts, return_annotation=shown(known.return_annotation)))


def shown(annotation: Any) -> Any:
    return Bare(annotation) if isinstance(annotation, str) else inspect.Signature.empty
