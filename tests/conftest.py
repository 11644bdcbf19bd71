"""Fixtures. Tests import `strategies` by name, which importlib mode alone does not allow."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = None

sys.path.insert(0, str(Path(__file__).parent))
if shutil.which("nvidia-smi") is None:
    os.environ["TRITON_INTERPRET"] = "1"  # Triton reads it when kernels are defined

from click.testing import CliRunner, Result
from hypothesis import HealthCheck, settings
from strategies import Cli, FakeModel

from lgcodec import Codec
from lgcodec.cli.main import program
from lgcodec.models.machines.native import build, library

# A busy machine is no reason to fail, and a change is tried on the same examples wherever it is: LGCODEC_EXPLORE=1
# draws others, night by night.
settings.register_profile(
    "same",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=not os.environ.get("LGCODEC_EXPLORE"),
)
settings.load_profile("same")


@pytest.fixture(autouse=True)
def every_test_hears_warnings() -> None:
    """A command that a test ran in this process with -q silences none after it."""
    logging.getLogger("lgcodec").setLevel(logging.NOTSET)


@pytest.fixture(params=build.SETS)
def instructions(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each instruction set that the native library is compiled for and this processor has."""
    name: str = request.param
    if name not in library.available():
        pytest.skip(f"this processor has no {name}")
    monkeypatch.setenv("LGCODEC_INSTRUCTIONS", name)
    return name


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs lgcodec in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, stdin: bytes | None = None) -> Result:
        return CliRunner(catch_exceptions=False).invoke(program, list(arguments), input=stdin)

    return run


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def codec(model: FakeModel) -> Codec:
    """Small tiles, so that small images have several."""
    return Codec(model, tile=(8, 8))


@pytest.fixture
def model_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No plain method is worth trying."""
    monkeypatch.setattr("lgcodec.plain.is_promising", lambda tile: False)
    monkeypatch.setattr("lgcodec.encode.may_be_smaller", lambda picture, size, is_part=False: False)
    monkeypatch.setattr("lgcodec.plain.encode", lambda tile, effort: (1, bytes(1 << 20)))


@pytest.fixture
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a fresh process that finds this package, with the entry points of pyproject.toml."""
    if tomllib is None:
        pytest.skip("Python 3.10 has no reader of pyproject.toml")
    with (Path(__file__).parents[1] / "pyproject.toml").open("rb") as file:
        groups = tomllib.load(file)["project"]["entry-points"]
    folder = tmp_path_factory.mktemp("installed")
    info = folder / "lgcodec-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lgcodec\nVersion: 0.1.0\n")
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in names.items()) for group, names in groups.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]), "OMP_NUM_THREADS": "1"}
