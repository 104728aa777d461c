"""A station's instruments: from the line file to the wire, called by the station, and by people."""

from controller.instruments.calls import Instruments, LinkFactory, capabilities_of

__all__ = ["Instruments", "LinkFactory", "capabilities_of"]
