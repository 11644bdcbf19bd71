"""Gated PixelCNN that is told the class (van den Oord et al. 2016, "Conditional image generation ...", section 2.3).

p(x | class): a layer of the class alone says two numbers for each place, which all gates see. A tenth of the training's
pictures have no class, so that the net does without, too. Classes give samples of one kind, and p(class | x) by Bayes.
"""

from __future__ import annotations

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System, gated
from lgcodec.models.zoo.build import DIGIT


def graph(number: int = 0, shape: tuple[int, int] = DIGIT, width: int = 20, depth: int = 3, classes: int = 10) -> Graph:
    return gated.graph(number, shape, width, depth, classes)


SYSTEM = System("Gated PixelCNN, class known", graph, "bits", batch=16, rate=0.4, minutes=5)
