"""Rate and speed of lgcodec's models and of other codecs, side by side over one folder of images.

Every codec gets the bare pixels (no metadata), and nothing is reported that did not decode to the same pixels. Speeds
are those of a warm process, on one thread and on several.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lgcodec
from lgcodec import readers
from lgcodec.cli import files
from lgcodec.cli.bench.contenders import Contender, Learned
from lgcodec.cli.bench.jpegs import FileRow
from lgcodec.errors import InputError, IntegrityError, LgcodecError
from lgcodec.models.parallel import cores
from lgcodec.readers.whole import decoding

if TYPE_CHECKING:
    from lgcodec.cli.bench.contenders import Pixels

Complain = Callable[[Exception, str], None]  # told why a file cannot be read, and which
DEEP = ("L", "RGB", "I;16", "RGB;16")


@dataclass(frozen=True)
class Preview:
    """What a preview of an image is worth. share: of the file's bytes; psnr: in dB, over all samples."""

    share: float
    psnr: float
    seconds: float


@dataclass(frozen=True)
class Row:
    """One image under one codec. Size in bytes; ideal_bits, the code length of the model's tables, for ours only.

    encode_seconds, decode_seconds: on one thread; those that begin with `threads_`: on all that were given, None where
    that was one. preview: of the models that make one. origin: what a file of ours says that the image was rendered
    from. bits: a sample.
    """

    image: str
    codec: str
    library: str
    width: int
    height: int
    channels: int
    size: int
    encode_seconds: float
    decode_seconds: float
    threads_encode_seconds: float | None = None
    threads_decode_seconds: float | None = None
    ideal_bits: int | None = None
    preview: Preview | None = None
    origin: str = ""
    bits: int = 8

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def samples(self) -> int:
        return self.pixels * self.channels

    @property
    def bpsp(self) -> float:
        return 8 * self.size / self.samples

    @property
    def ideal_bpsp(self) -> float | None:
        return None if self.ideal_bits is None else self.ideal_bits / self.samples


@dataclass(frozen=True)
class Summary:
    """One codec over all images of as many bits a sample. `bpsp` is the mean over images, as the field reports it;
    speeds in megapixels/s, on one thread, and on all that were given.
    """

    codec: str
    library: str
    images: int
    bpsp: float
    total_bpsp: float
    encode_mps: float
    decode_mps: float
    threads_encode_mps: float | None = None
    threads_decode_mps: float | None = None
    ideal_bpsp: float | None = None
    gap_percent: float | None = None  # file bits over ideal bits
    float_bpd: float | None = None  # of the float network on the record's held-out images, not on these
    integer_bpd: float | None = None
    preview: Preview | None = None  # means over images
    origins: float = 0.0  # share of the images coded by what they were rendered from
    bits: int = 8

    @property
    def quantisation_percent(self) -> float | None:
        """What the integer network costs over the float one it was exported from."""
        if self.float_bpd is None or self.integer_bpd is None:
            return None
        return 100 * (self.integer_bpd / self.float_bpd - 1)


@dataclass(frozen=True)
class Environment:
    """What a figure depends on besides the code that is measured."""

    lgcodec: str
    commit: str
    python: str
    numpy: str
    cpu: str
    cores: int
    threads: int
    device: str
    date: str


@dataclass(frozen=True)
class Results:
    environment: Environment
    rows: list[Row]
    summaries: list[Summary]
    files: list[FileRow] = dataclasses.field(default_factory=list)  # JPEG files


def environment(threads: int | None, device: str) -> Environment:
    return Environment(
        lgcodec=lgcodec.__version__,
        commit=_commit(),
        python=platform.python_version(),
        numpy=version("numpy"),
        cpu=_cpu(),
        cores=cores(),
        threads=threads or cores(),
        device=device,
        date=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%MZ"),
    )


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> str:
    """The commit of the checkout that lgcodec runs from, -dirty where it has changed; empty outside a checkout."""
    folder = Path(lgcodec.__file__).parent
    try:
        _git(folder, "ls-files", "--error-unmatch", "__init__.py")  # another project's checkout may surround us
        return _git(folder, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    run = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603  fixed words, own folder
    return run.stdout.strip()


def run(
    folder: Path,
    contenders: Sequence[Contender],
    threads: int | None,
    device: str,
    tell: Callable[[Row], None],
    complain: Complain | None = None,
) -> Results:
    """Measures every contender on every image of `folder` that it can hold; `tell` is given each row as it is there.
    threads: None for all cores; every codec is also measured on one. complain: as for `images`.

    Raises IntegrityError where an image does not come back.
    """
    cards = {contender.name: contender.card() for contender in contenders if isinstance(contender, Learned)}
    rows: list[Row] = []
    where = environment(threads, device)
    warm = set[int]()  # bits
    for name, pixels in images(folder, complain, modes=DEEP):
        bits = 8 * pixels.itemsize
        able = [contender for contender in contenders if contender.bits >= bits]
        if unable := [contender.name for contender in able if max(pixels.shape[:2]) > contender.side]:
            error = InputError(f"is too large for {', '.join(unable)}, and left out (--codecs names others)")
            if complain is None:
                raise error
            complain(error, name)
            continue
        if bits not in warm:
            warm_up(able, pixels, where.threads)
            warm.add(bits)
        for contender in able:
            rows.append(measure(name, pixels, contender, where.threads))
            tell(rows[-1])
    return Results(where, rows, summarise(rows, cards))


def warm_up(contenders: Sequence[Contender], pixels: Pixels, threads: int) -> None:
    """Loads libraries and models."""
    for contender in contenders:
        for count in {1, threads}:
            contender.decode(contender.encode(pixels[:64, :64].copy(), count), count)


def measure(name: str, pixels: Pixels, contender: Contender, threads: int) -> Row:
    """Encodes, decodes, compares, on one thread and on `threads`. Raises IntegrityError where the pixels do not come
    back.
    """
    data, alone = _timed(name, pixels, contender, 1)
    together = alone if threads > 1 else (None, None)
    if threads > 1 and contender.is_parallel:
        data, together = _timed(name, pixels, contender, threads)
    height, width = pixels.shape[:2]
    return Row(
        image=name,
        codec=contender.name,
        library=contender.library,
        width=width,
        height=height,
        channels=pixels[0, 0].size,
        size=len(data),
        encode_seconds=alone[0],
        decode_seconds=alone[1],
        threads_encode_seconds=together[0],
        threads_decode_seconds=together[1],
        ideal_bits=_ideal_bits(data) if isinstance(contender, Learned) else None,
        preview=_preview(data, pixels, contender, threads) if isinstance(contender, Learned) else None,
        origin=(lgcodec.inspect(data).origin or "") if isinstance(contender, Learned) else "",
        bits=8 * pixels.itemsize,
    )


def _timed(name: str, pixels: Pixels, contender: Contender, threads: int) -> tuple[bytes, tuple[float, float]]:
    """The file, and the seconds that it took to write and to read."""
    import numpy as np

    start = time.perf_counter()
    data = contender.encode(pixels, threads)
    middle = time.perf_counter()
    decoded = contender.decode(data, threads)
    end = time.perf_counter()
    if decoded.ndim > pixels.ndim:  # a format without grey
        decoded = decoded[..., 0]
    if not np.array_equal(decoded, pixels):
        raise IntegrityError(f"{contender.name} did not return the pixels of {name}")
    return data, (middle - start, end - middle)


def _preview(data: bytes, pixels: Pixels, contender: Learned, threads: int) -> Preview | None:
    import numpy as np

    info = lgcodec.inspect(data)
    used = info.preview_bytes
    if not used or used == info.file_bytes or pixels.itemsize > 1:  # an eighth of images with an origin; of 8 bits
        return None
    start = time.perf_counter()
    shown = contender.preview(data[:used], threads)
    seconds = time.perf_counter() - start
    # Grey in colour is shown as grey.
    parts = (a.reshape(*a.shape[:2], -1).astype(np.float64) for a in (shown, pixels))
    error = float(np.mean(np.square(np.subtract(*parts))))
    return Preview(used / len(data), 10 * math.log10(255**2 / max(error, 1e-9)), seconds)


def _ideal_bits(data: bytes) -> int:
    """What the file would take without its header, side information and coder: plain streams count as they are."""
    info = lgcodec.inspect(data)
    return info.ideal_bits + 8 * info.plain_bytes


def summarise(rows: Sequence[Row], cards: Mapping[str, Mapping[str, Any]]) -> list[Summary]:
    """One summary per codec and bits, in the order of their first rows, fewest bits first. `cards` gives the model's
    own rates by codec name.
    """
    kinds = sorted(dict.fromkeys((row.bits, row.codec) for row in rows), key=lambda kind: kind[0])
    return [
        _summary([row for row in rows if (row.bits, row.codec) == (bits, name)], cards.get(name, {}))
        for bits, name in kinds
    ]


def by_bits(summaries: Sequence[Summary]) -> list[list[Summary]]:
    """Those that can be compared: of 8 bits a sample, and of 16."""
    return [[s for s in summaries if s.bits == bits] for bits in dict.fromkeys(s.bits for s in summaries)]


def _summary(rows: Sequence[Row], card: Mapping[str, Any]) -> Summary:
    pixels, samples = sum(row.pixels for row in rows), sum(row.samples for row in rows)
    bits = 8 * sum(row.size for row in rows)
    ideals = [row.ideal_bits for row in rows if row.ideal_bits is not None]
    known = bool(ideals) and len(ideals) == len(rows)
    previews = [row.preview for row in rows if row.preview is not None]
    return Summary(
        codec=rows[0].codec,
        library=rows[0].library,
        images=len(rows),
        bpsp=sum(row.bpsp for row in rows) / len(rows),
        total_bpsp=bits / samples,
        encode_mps=_speed(pixels, [row.encode_seconds for row in rows]),
        decode_mps=_speed(pixels, [row.decode_seconds for row in rows]),
        threads_encode_mps=_speed(pixels, [row.threads_encode_seconds for row in rows]),
        threads_decode_mps=_speed(pixels, [row.threads_decode_seconds for row in rows]),
        ideal_bpsp=sum(row.ideal_bpsp or 0 for row in rows) / len(rows) if known else None,
        gap_percent=100 * (bits / sum(ideals) - 1) if known else None,
        float_bpd=card.get("float_bpd"),
        integer_bpd=card.get("integer_bpd"),
        preview=Preview(*(statistics.mean(part) for part in zip(*map(dataclasses.astuple, previews), strict=True)))
        if previews
        else None,
        origins=sum(bool(row.origin) for row in rows) / len(rows),
        bits=rows[0].bits,
    )


def _speed(pixels: int, seconds: Sequence[float | None]) -> Any:
    """Megapixels a second; None where any time is."""
    known = [time for time in seconds if time is not None]
    return pixels / 1e6 / sum(known) if len(known) == len(seconds) else None


def images(
    folder: Path, complain: Complain | None = None, *, modes: Container[str] = ("L", "RGB")
) -> Iterator[tuple[str, Pixels]]:
    """The grey and RGB images below `folder`, by name. Others are left out: not every codec takes them.

    complain: told of those that cannot be read, which otherwise raise InputError. modes: `DEEP` for 16 bits as well.
    """
    from PIL import Image

    suffixes = files.IMAGES - set(files.JPEG)  # those are measured as files
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in suffixes and p.is_file()):
        try:
            with decoding(), Image.open(path) as image:
                is_wanted = image.mode in ("L", "RGB") or image.mode.startswith("I")
            picture = readers.read(path) if is_wanted else None
        except (OSError, LgcodecError) as error:
            if complain is None:
                raise InputError(f"{files.shown(path)}: {error}") from error
            complain(error, files.shown(path))
            continue
        if picture is not None and picture.mode.pillow in modes:
            yield str(path.relative_to(folder)), picture.array()
