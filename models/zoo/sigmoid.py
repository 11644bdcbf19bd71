"""A flow of one pixel at a time: u = F(x), a sum of sigmoids with positive weights, makes each pixel uniform.

The density of x under it is F'(x), its share of the line between x - 1/2 and x + 1/2 is F(x + 1/2) - F(x - 1/2), which
is what an entropy coder is given of a mixture of logistics. A pixel has a flow of its own, and none sees another: an
elementwise flow.
"""

from __future__ import annotations

from lgcodec.models.zoo import System
from lgcodec.models.zoo.nice import prior

SYSTEM = System("Flow of 5 sigmoids, each pixel by itself", prior, "grey", batch=50, rate=0.4, minutes=1)
