"""What a Sparkplug host sees: the metrics of the node and of a station, and how they are read off the line.

What a station has follows from its instruments, so that its birth can name everything that will ever be sent. Deadbands
are what one sees on a display rather than what an instrument resolves: results have the exact numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version

from config import StationConfig
from controller.line import Line
from controller.sparkplug.device import MetricSpec
from controller.sparkplug.payload import DataType, MetricValue
from controller.station import Station
from sequences import Quality

COMMANDS = ("Hold", "Resume", "Suspend", "Abort", "Stop", "Reset", "Clear", "Acknowledge")
"""`Command/<name>` = true is the MES's command of this name."""
MESSAGE = "Command/Message"
"""A command of the MES as its JSON."""

_SOFTWARE = version("evaline")

NODE_SPECS = (
    MetricSpec("Properties/Software", DataType.STRING),
    MetricSpec("Properties/Line", DataType.STRING),
    MetricSpec("Store/Dropped Values", DataType.INT64),
)

_STATION_SPECS = (
    MetricSpec("State/Name", DataType.STRING),
    MetricSpec("State/Number", DataType.INT32),
    MetricSpec("Run/Id", DataType.STRING),
    MetricSpec("Run/DUT", DataType.STRING),
    MetricSpec("Run/Recipe", DataType.STRING),
    MetricSpec("Run/Step", DataType.STRING),
    MetricSpec("Run/Question", DataType.BOOLEAN),
    MetricSpec("Run/Charged", DataType.DOUBLE, "Ah"),
    MetricSpec("Run/Discharged", DataType.DOUBLE, "Ah"),
    MetricSpec("Alarm/Count", DataType.INT32),
    MetricSpec("Alarm/Newest", DataType.STRING),
    *(MetricSpec(f"Command/{name}", DataType.BOOLEAN, writable=True) for name in COMMANDS),
    MetricSpec(MESSAGE, DataType.STRING, writable=True),
)


@dataclass(frozen=True, slots=True)
class _Signal:
    """A signal of a sample as a metric. The deadband is absolute, or a share of one of the station's ratings."""

    instrument: str
    signal: str
    name: str
    unit: str = ""
    deadband: float = 0.0
    of_rating: str = ""


_SIGNALS = (
    _Signal("cycler", "voltage", "Live/Voltage", "V", 0.001, "max_voltage_v"),
    _Signal("cycler", "current", "Live/Current", "A", 0.001, "max_charge_current_a"),
    _Signal("cycler", "power", "Live/Power", "W", 0.001, "max_power_w"),
    _Signal("cycler", "output_on", "Live/Output On"),
    _Signal("interlock", "ready", "Interlock/Ready"),
    _Signal("interlock", "contactor", "Interlock/Contactor Closed"),
    _Signal("battery_monitor", "soc", "Battery/State of Charge", "1", 0.002),
    _Signal("battery_monitor", "battery_voltage", "Battery/Voltage", "V", 0.001, "max_voltage_v"),
    _Signal("battery_monitor", "cell_min", "Battery/Cell Voltage Min", "V", 0.002),
    _Signal("battery_monitor", "cell_max", "Battery/Cell Voltage Max", "V", 0.002),
    _Signal("battery_monitor", "insulation", "Battery/Insulation", "ohm", 10_000.0),
    _Signal("temperature_scanner", "temperature_min", "Battery/Temperature Min", "degC", 0.2),
    _Signal("temperature_scanner", "temperature_max", "Battery/Temperature Max", "degC", 0.2),
    _Signal("chamber", "chamber_temperature", "Chamber/Temperature", "degC", 0.2),
)
_COUNTER_DEADBAND = 0.001  # h of the greatest current: a counter is reported every few seconds at most


def _signals(config: StationConfig) -> tuple[_Signal, ...]:
    return tuple(signal for signal in _SIGNALS if signal.instrument in config.instruments)


class StationMetrics:
    """The metrics of one station."""

    def __init__(self, station: Station) -> None:
        self._station, self._signals = station, _signals(station.config)
        self.specs = station_specs(station.config)

    def is_there(self) -> bool:
        """Whether its cycler answers: without it nothing of what the station shows is of today."""
        sample = self._station.latest
        voltage = sample.values.get("voltage") if sample is not None else None
        return voltage is not None and voltage.quality is not Quality.BAD

    def read(self) -> tuple[MetricValue, ...]:
        """The values now, in the order of `specs`; None for what is not good or does not apply."""
        station = self._station
        run, progress, sample = station.run_now, station.progress, station.latest
        counters = sample.counters if sample is not None and run is not None else None
        values: list[MetricValue] = [
            station.state.name,
            int(station.state),
            run.id if run else None,
            run.code if run else None,
            run.recipe.id if run else None,
            progress.step if run and progress else None,
            station.question is not None,
            counters.charged_ah if counters else None,
            counters.discharged_ah if counters else None,
            len(station.alarms),
            station.alarms[-1]["code"] if station.alarms else None,
            *(False for _ in COMMANDS),
            "",
        ]
        for signal in self._signals:
            value = sample.good(signal.signal) if sample is not None else None
            values.append(value if signal.unit or value is None else value != 0)
        return tuple(values)


def station_specs(config: StationConfig) -> tuple[MetricSpec, ...]:
    """What a station of this configuration has."""
    charge = _COUNTER_DEADBAND * config.ratings.max_charge_current_a
    fixed = tuple(
        MetricSpec(spec.name, spec.datatype, spec.unit, charge) if spec.unit == "Ah" else spec
        for spec in _STATION_SPECS
    )
    return (*fixed, *(_spec(signal, config) for signal in _signals(config)))


def _spec(signal: _Signal, config: StationConfig) -> MetricSpec:
    datatype = DataType.DOUBLE if signal.unit else DataType.BOOLEAN
    scale = getattr(config.ratings, signal.of_rating) if signal.of_rating else 1.0
    return MetricSpec(signal.name, datatype, signal.unit, signal.deadband * scale, measured=True)


def node_values(line: Line, dropped: int) -> tuple[MetricValue, ...]:
    """The node's own values, in the order of NODE_SPECS."""
    return _SOFTWARE, line.topics.root, dropped
