"""What needs a GPU, in one place: exactness and throughput, tuning, longer training. Nothing here was run on one yet.

    python -m benchmarks.gpu measure FOLDER --out OUT        files equal the CPU's, then MB/s both ways
    python -m benchmarks.gpu tune --out OUT                  blocks and kinds of products, lanes, batches
    python -m benchmarks.gpu train --data PACK --held-out FOLDER --minutes-each 60 --out OUT [--resume OUT]
    python -m benchmarks.gpu pack FOLDER --out PACKS         images as shards of lossless WebP, for --data
    python -m benchmarks.gpu compile                         all kernels for a GPU that is not there

Each takes --device cpu, which tries the script itself: kernels then run under Triton's interpreter where
TRITON_INTERPRET=1 is set, else the CPU's machines stand in. `train` may be called again and again with --resume, for
--call-minutes each: every run goes on where it stopped.
"""

from __future__ import annotations

import click

from benchmarks.gpu.kernels import compile_kernels
from benchmarks.gpu.measure import measure
from benchmarks.gpu.training import pack, train_families
from benchmarks.gpu.tune import tune


@click.group()
def main() -> None:
    """Measure, tune and train on a GPU."""


for command in (measure, tune, train_families, pack, compile_kernels):
    main.add_command(command)

if __name__ == "__main__":
    main()
