"""A line without its hardware: simulated instruments on simulated batteries, behind the real wire protocols."""

from simulators.clock_page import ClockPage
from simulators.servers import ListenError
from simulators.station import SimulatedStation

__all__ = ["ClockPage", "ListenError", "SimulatedStation"]
