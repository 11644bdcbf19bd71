"""The integers of the masked family's trained graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lgcodec.models.entropy.cells import Cells
from lgcodec.models.families.masked import flow
from lgcodec.models.families.masked.floats.graph import FloatGraph, Masks, Means
from lgcodec.models.families.masked.floats.objectives import Flow, Latents
from lgcodec.models.families.masked.latent import joined
from lgcodec.models.families.masked.network import CELLS, FIRST, GIVEN, LAYERS, ONE, Graph, Tables
from lgcodec.models.layers.integer import quantise
from lgcodec.models.weights import Weights


def export_latents(model: Latents, card: dict[str, Any]) -> Weights:
    """The integers of trained graphs."""
    model.finish()
    nets = {"prior": model.prior, "posterior": model.posterior, "likelihood": model.likelihood}
    parts = {name: export(net, {}, of_latents=name != "likelihood") for name, net in nets.items() if net is not None}
    work = sum(part.card["multiply_adds"] for part in parts.values())
    return joined(parts, {**card, "multiply_adds": work})


def export_flow(model: Flow, card: dict[str, Any], x: Tensor | None = None) -> Weights:
    """The same of a flow. x: pictures int64 [B, units] such as it codes, for `means`."""
    given: list[Means | None] = [None] * (1 + len(model.steps)) if x is None else [*model.means(x)]
    *steps, prior = (export(net, {}, means=of) for net, of in zip([*model.steps, model.prior], given, strict=True))
    work = sum(part.card["multiply_adds"] for part in (*steps, prior))
    return flow.joined(steps, prior, {**card, "multiply_adds": work})


def export(
    net: FloatGraph, card: dict[str, Any], graph: Graph | None = None, means: Means | None = None, *,
    of_latents: bool = False,
) -> Weights:  # fmt: skip
    """The integers of a trained net. graph: in another order than its own. means: of its nodes, as `FloatGraph.means`
    gives them: dense layers, whose rounded weights are so many that they move what all pictures have in common, are
    exact there. of_latents: what normal samples are, if not pixels.
    """
    graph = graph or net.graph
    masks = Masks(graph, torch.device("cpu"))
    tensors: dict[str, NDArray[Any]] = {f"degrees.{name}": a for name, a in graph.degrees.items()}
    tensors |= Tables.make().tensors()
    if graph.head == "normal":
        cells = Cells.make(graph.levels.bit_length() - 1) if of_latents else Cells.even(graph.levels, ONE)
        tensors |= {f"table.{name}": getattr(cells, name) for name in CELLS}
    for i, node in enumerate(graph.nodes, FIRST):
        is_last = node is graph.nodes[-1]
        low, high = graph.ends(i)
        row = net.row if is_last else np.full(node.channels, float(ONE))
        offset = net.offset if is_last else np.zeros(node.channels)
        if node.kind == "table":
            table = np.rint(net.weights[str(i)].detach().double().cpu().numpy() * row + offset)
            tensors[f"{i}.table"] = np.clip(table, low, high).astype(np.int16)
        if node.kind not in LAYERS:
            continue
        row, offset = (np.resize(a, len(low)) for a in (row, offset))  # of a cell's gates, of each unit
        weight, bias = (p[str(i)].detach().double().cpu().numpy() for p in (net.weights, net.biases))
        if net.origin:
            reads = [np.full(graph.units(j) * graph.channels(j), float(j == GIVEN)) for j in node.inputs]
            bias = bias - net.origin * weight @ np.concatenate(reads)
        if (mask := masks.dense.get(i)) is not None:
            weight = weight * mask.numpy()
        if node.kind in ("window", "tied"):
            used = [masks.of[i, j].numpy().any(axis=0).repeat(graph.channels(j)) for j in node.inputs]
            weight = weight * np.concatenate(used)
        if node.kind == "local":
            each = [masks.of[i, j].numpy().repeat(graph.channels(j), axis=1) for j in node.inputs]
            weight = weight * np.concatenate(each, axis=1).repeat(node.channels, axis=0)
        typical = None
        if means is not None and node.kind == "dense":
            typical = ONE * np.concatenate([means[j].ravel() for j in node.inputs])
        scaled = weight * row[:, None] / ONE
        layer = quantise(scaled, bias * row + offset, graph.inputs_limit(i), low, high, typical=typical)
        tensors |= {f"{i}.weight": layer.weight, f"{i}.bias": layer.bias, f"{i}.shift": layer.shift}
    work = sum(graph.work(i) for i in range(FIRST, len(graph.nodes) + FIRST))
    return Weights("masked", graph.written(), tensors, {**card, "multiply_adds": work})
