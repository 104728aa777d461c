"""What an EA supply watches besides its protections: thresholds with an action (OVD, UVD, OCD, UCD, OPD).

Source: EA programming guide, SYSTem:CONFig and SYSTem:SINK:CONFig. Choice where it is silent: thresholds are compared
while the output is on, and current and power only in their own direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from simulators.ea_quantities import PROTECTION_SPAN, Quantity
from simulators.world import Terminal


class Action(StrEnum):
    """SIGNAL and WARNING only show in the questionable condition; ALARM also switches the output off, and latches."""

    NONE = "NONE"
    SIGNAL = "SIGNAL"
    WARNING = "WARNING"
    ALARM = "ALARM"


class Event(StrEnum):
    """A watched threshold, named by its SCPI header under SYSTem."""

    OVD = "CONFig:OVD"
    UVD = "CONFig:UVD"
    OCD = "CONFig:OCD"
    UCD = "CONFig:UCD"
    OPD = "CONFig:OPD"
    SINK_OCD = "SINK:CONFig:OCD"
    SINK_UCD = "SINK:CONFig:UCD"
    SINK_OPD = "SINK:CONFig:OPD"

    @property
    def below(self) -> bool:
        return self in (Event.UVD, Event.UCD, Event.SINK_UCD)

    @property
    def quantity(self) -> Quantity:
        sink = self.value.startswith("SINK")
        if self.value.endswith("VD"):
            return Quantity.VOLTAGE
        if self.value.endswith("CD"):
            return Quantity.SINK_CURRENT if sink else Quantity.CURRENT
        return Quantity.SINK_POWER if sink else Quantity.POWER

    @property
    def bit(self) -> int:
        """Of the questionable condition register."""
        return {"OVD": 4, "UVD": 5, "OCD": 6, "UCD": 7, "OPD": 8}[self.value[-3:]]


@dataclass
class Watch:
    """One event's setting; by default the farthest threshold and no action."""

    threshold: float
    action: Action = Action.NONE


def default_watches() -> dict[Event, Watch]:
    return {e: Watch(0.0 if e.below else e.quantity.nominal * PROTECTION_SPAN) for e in Event}


def present(watches: dict[Event, Watch], at: Terminal) -> set[Event]:
    """The events with an action whose threshold is passed at these terminals."""
    sinking = at.current < 0
    found = set()
    for event, watch in watches.items():
        quantity = event.quantity
        watched = quantity is Quantity.VOLTAGE or quantity.is_sink == sinking
        if watch.action is Action.NONE or not watched:
            continue
        value = {"V": at.voltage, "A": abs(at.current), "W": abs(at.power)}[quantity.unit]
        if value < watch.threshold if event.below else value > watch.threshold:
            found.add(event)
    return found
