"""Open-circuit curves of electrodes, and the new cells that degradation is measured against.

Chen2020: graphite-SiOx | NMC811, LG M50 21700. C.-H. Chen et al., J. Electrochem. Soc. 167 (2020) 080534.
Prada2013: graphite | LFP, A123 26650. E. Prada et al., J. Electrochem. Soc. 160 (2013) A616; the LFP curve is that of
Afshar et al. (2017), the graphite curve Chen's, since Prada gives none.
Stoichiometry is the lithium fraction of an electrode, 0..1; potentials in V against lithium.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sequences.analysis.series import Array


def graphite(x: Array) -> Array:
    """Graphite with some SiOx (Chen2020)."""
    return (
        1.9793 * np.exp(-39.3631 * x)
        + 0.2482
        - 0.0909 * np.tanh(29.8538 * (x - 0.1234))
        - 0.04478 * np.tanh(14.9159 * (x - 0.2769))
        - 0.0205 * np.tanh(30.4444 * (x - 0.6103))
    )


def nmc811(y: Array) -> Array:
    """NMC811 (Chen2020)."""
    return (
        -0.8090 * y
        + 4.4875
        - 0.0428 * np.tanh(18.5138 * (y - 0.5542))
        - 17.7326 * np.tanh(15.7890 * (y - 0.3117))
        + 17.5842 * np.tanh(15.9308 * (y - 0.3120))
    )


def lfp(y: Array) -> Array:
    """LFP (Afshar 2017)."""
    return 3.4077 - 0.020269 * y + 0.5 * np.exp(-150 * y) - 0.9 * np.exp(-30 * (1 - y))


@dataclass(frozen=True, slots=True)
class NewCell:
    """Half-cell curves and the stoichiometries of a new cell when empty and when full."""

    name: str
    negative: Callable[[Array], Array]
    positive: Callable[[Array], Array]
    x_empty: float
    x_full: float
    y_empty: float
    y_full: float

    def voltage(self, x: Array, y: Array) -> Array:
        """Open-circuit voltage in V of negative stoichiometry `x` and positive stoichiometry `y`."""
        return self.positive(y) - self.negative(x)


CHEN2020 = NewCell("Chen2020", graphite, nmc811, 0.02634579, 0.91061805, 0.85397467, 0.26384522)
PRADA2013 = NewCell("Prada2013", graphite, lfp, 0.01761793, 0.81004350, 0.70350202, 0.00376159)

# what fits a chemistry in shape; other mixes of NMC have other curves, which the fit's residual shows
NEW_CELL_OF = {"NMC811": CHEN2020, "NMC": CHEN2020, "NCA": CHEN2020, "LFP": PRADA2013}
