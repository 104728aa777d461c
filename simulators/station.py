"""One simulated station: the battery, the instruments on it, their faults, and the present they share."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

from config.documents import DocumentError
from config.dut import DutModel
from config.line import InstrumentConfig, LineConfig, LinkConfig
from config.simulation import DrawnFaults, Fault, FaultEvent, SimulatedBattery
from simulators.bms_gateway import BmsGateway
from simulators.bt3562 import Bt3562Instrument
from simulators.bt4560 import Bt4560Instrument
from simulators.daq6510_scpi import DaqInstrument
from simulators.equipment import Acting, Equipment, TextInstrument, check_kind, draw_of, hold_cells, kinds_of
from simulators.faults import FaultBoard, Faulty, Powered, Texts
from simulators.leads import Leads
from simulators.line import Wiring, serving_line
from simulators.neware_bts import NewareBts
from simulators.pack import Pack
from simulators.population import Populations
from simulators.ports import Port, RegisterPort, TextPort
from simulators.timeline import Timed, Timeline
from simulators.tm_th8 import Th8Bus
from simulators.world import World

# a current below this is none, in A
_FLOWS = 0.05


class SimulatedStation:
    """A station of a line file without its hardware.

    `devices` are the ports that links talk to, by instrument; `now` is the line's time in seconds, `populations` those
    of its batteries that are drawn, of which two stations must not get the same. Raises DocumentError (E-SIMULATION)
    for a station that cannot be simulated as it is described.
    """

    def __init__(
        self,
        line: LineConfig,
        station: str,
        models: Mapping[str, DutModel],
        now: Callable[[], float],
        populations: Populations | None = None,
    ) -> None:
        where = f"station {station}"
        if line.simulation is None or station not in line.simulation.stations:
            raise DocumentError("E-SIMULATION", where, "the line file has no simulation of it")
        setup = line.simulation.stations[station]
        model = models.get(setup.battery.model)
        if model is None:
            known = ", ".join(sorted(models))
            raise DocumentError("E-SIMULATION", where, f"no battery model {setup.battery.model!r}; known are {known}")
        self.name = station
        self._config = line.stations[station]
        self._state_dir = Path(line.state_dir)
        self._models = models
        self._seed = f"{line.simulation.seed}/{station}"
        self._timeline = Timeline(now)
        self._populations = populations or Populations()
        try:
            self.battery = self._populations.battery(setup.battery, model)
            pack = Pack.used(model, self.battery, self._seed_of("battery"), setup.ambient_degc)
        except ValueError as error:
            raise DocumentError("E-SIMULATION", where, str(error)) from None
        self._populations.take(setup.battery)
        self.world = World(pack, self._timeline.now, setup.ambient_degc)
        self._equipment = Equipment(station, self._config, model, self._timeline.now, self._seed_of)
        self.devices: dict[str, Port] = {}
        self._leads: dict[str, list[Leads]] = {}
        drawn = setup.drawn_faults
        named = {fault.instrument for fault in setup.faults} | set(drawn.instruments if drawn else ())
        for unknown in sorted(named - self._config.instruments.keys()):
            known = ", ".join(self._config.instruments)
            raise DocumentError("E-SIMULATION", where, f"a fault of {unknown!r}; its instruments are {known}")
        for key, instrument in self._config.instruments.items():
            faults = [fault for fault in setup.faults if fault.instrument == key]
            self.devices[key] = self._port(key, instrument, faults, drawn)
        boards = [port.board for port in self.devices.values()]
        acting: list[Timed] = [_Acting(port) for port in self.devices.values() if isinstance(port.device, Acting)]
        # faults first: what they break must be seen by the devices at the same moment
        self._timeline.attach(self.world.advance, [*boards, *acting])
        self._happening: set[FaultEvent] = set()
        self._watch_events()

    def _seed_of(self, what: str) -> int:
        return zlib.crc32(f"{self._seed}/{what}".encode())

    def _port(self, key: str, instrument: InstrumentConfig, faults: list[Fault], drawn: DrawnFaults | None) -> Port:
        where = f"{self.name}/{key}"
        device = self._equipment.device(key, self.world, partial(self._through_leads, key))
        for fault in faults:
            check_kind(where, instrument, fault.kind)
        seed = self._seed_of(f"{key}/faults")
        draw = draw_of(drawn, instrument) if drawn and (key in drawn.instruments or not drawn.instruments) else None
        board = FaultBoard(device, faults, self._timeline.now, seed, draw, partial(self._restarted, key))
        self._connect(key, board)
        if isinstance(device, TextInstrument):
            return TextPort(device, board, self._timeline)
        return RegisterPort(device, board, self._timeline)

    def _through_leads(self, key: str, world: World) -> World:
        """What an instrument sees of a world."""
        leads = Leads(world)
        self._leads.setdefault(key, []).append(leads)
        return cast(World, leads)

    def _connect(self, key: str, board: FaultBoard) -> None:
        for leads in self._leads[key]:
            leads.board = board

    def _restarted(self, key: str) -> Faulty:
        """The device after its power was off: nothing that it was set to is left."""
        port = self.devices[key]
        if isinstance(port.device, NewareBts):
            # others may have their channels on the same server
            port.device.restart()
            return port.device
        if isinstance(port.device, Powered):
            port.device.power_off()
        self._leads[key].clear()
        device = self._equipment.device(key, self.world, partial(self._through_leads, key))
        self._connect(key, port.board)
        return device

    # --- faults by hand ----------------------------------------------------------------------------------------

    def set_fault(
        self,
        instrument: str,
        kind: str,
        active: bool = True,
        value: float | None = None,
        duration_s: float | None = None,
    ) -> None:
        """Switch a fault on or off now, besides those of the line file; raises DocumentError (E-SIMULATION)."""
        port = self._known(instrument)
        checked = check_kind(f"{self.name}/{instrument}", self._config.instruments[instrument], kind)
        self._timeline.catch_up()
        port.board.set(checked, active, value, duration_s)
        self._timeline.settle()

    def check_fault(self, instrument: str, kind: str) -> None:
        """Raises DocumentError (E-SIMULATION) for a fault that this instrument cannot have."""
        self._known(instrument)
        check_kind(f"{self.name}/{instrument}", self._config.instruments[instrument], kind)

    def add_fault(self, fault: Fault) -> None:
        """One more, counted from now on; raises DocumentError (E-SIMULATION)."""
        port = self._known(fault.instrument)
        check_kind(f"{self.name}/{fault.instrument}", self._config.instruments[fault.instrument], fault.kind)
        self._timeline.catch_up()
        port.board.add(fault)
        self._watch_events()
        self._timeline.settle()

    def clear_faults(self, instrument: str | None = None) -> None:
        """End the faults of one instrument, or of all, and forget those to come."""
        ports = [self._known(instrument)] if instrument else list(self.devices.values())
        self._timeline.catch_up()
        for port in ports:
            port.board.clear()
        self._watch_events()
        self._timeline.settle()

    @property
    def interlocks(self) -> list[str]:
        """The instruments that watch E-stop and door."""
        return [key for key in self.devices if "estop" in self.kinds(key)]

    def catch_up(self) -> None:
        """Let the station's present be the line's."""
        self._timeline.catch_up()

    def settle(self) -> None:
        """Let everything act at this moment, after something was changed by hand."""
        self._timeline.settle()

    def _known(self, instrument: str) -> Port:
        if instrument not in self.devices:
            where = f"{self.name}/{instrument}"
            raise DocumentError("E-SIMULATION", where, f"no such instrument; there are {', '.join(self.devices)}")
        return self.devices[instrument]

    def kinds(self, instrument: str) -> Texts:
        """The faults that an instrument can have, and what they are."""
        return kinds_of(self._config.instruments[instrument])

    def _watch_events(self) -> None:
        waited: set[FaultEvent] = {event for port in self.devices.values() for event in port.board.events()}
        self._happening = self._events()
        self._timeline.watch(self._look if waited - {"query"} else None)

    def _events(self) -> set[FaultEvent]:
        """What is going on at the station now."""
        world = self.world
        current = world.current
        closed = all(world.feedback) and world.plugged
        happening: set[FaultEvent] = {
            "output_on" if world.output_on else "output_off",
            "contactor_closed" if closed else "contactor_open",
        }
        if abs(current) > _FLOWS:
            happening.add("charge" if current > 0 else "discharge")
        return happening

    def _look(self) -> None:
        """Tell the faults what has begun since somebody looked last."""
        before, self._happening = self._happening, self._events()
        for event in sorted(self._happening - before):
            for port in self.devices.values():
                port.board.happened(event)

    # --- the battery and the truth -----------------------------------------------------------------------------

    def replace_battery(self, battery: SimulatedBattery) -> None:
        """Put another battery on the station, plugged in; raises DocumentError (E-SIMULATION).

        The contactors must be open. Sensors are glued to it, and its BMS is connected.
        """
        where = f"station {self.name}"
        model = self._models.get(battery.model)
        if model is None:
            known = ", ".join(sorted(self._models))
            raise DocumentError("E-SIMULATION", where, f"no battery model {battery.model!r}; known are {known}")
        devices = [port.device for port in self.devices.values()]
        before = self._equipment.model
        if model.series_cells != before.series_cells and any(
            isinstance(device, NewareBts | Bt3562Instrument | Bt4560Instrument) for device in devices
        ):
            text = f"probes and channels are set up for {before.series_cells} cells, not {model.series_cells}"
            raise DocumentError("E-SIMULATION", where, text)
        self._timeline.catch_up()
        try:
            found = self._populations.battery(battery, model)
            pack = Pack.used(model, found, self._seed_of("battery"), self.world.ambient_degc)
            self.world.replace(pack)
        except ValueError as error:
            raise DocumentError("E-SIMULATION", where, str(error)) from None
        self._populations.take(battery)
        self._equipment.model, self.battery = model, found
        for device in devices:
            if isinstance(device, BmsGateway):
                device.connect(model)
            elif isinstance(device, Th8Bus):
                device.connect()
            elif isinstance(device, DaqInstrument):
                device.device.connect()
            elif isinstance(device, NewareBts) and model.series_cells > 1:
                hold_cells(device, self.world, self._timeline.now)
        self._timeline.settle()

    def truth(self) -> dict[str, Any]:
        """What is really the case: the battery, its counters and its switches, at the line's present."""
        self._timeline.catch_up()
        world = self.world
        return {
            **world.truth(),
            "time": self._timeline.now(),
            "charged_ah": world.charged_ah,
            "discharged_ah": world.discharged_ah,
            "charged_wh": world.charged_wh,
            "discharged_wh": world.discharged_wh,
            "current": world.current,
            "extremes": dataclasses.asdict(world.extremes),
            "hot_openings": world.hot_openings,
            "contactor_closed": world.contactor_closed,
            "welded": world.welded,
            "plugged": world.plugged,
            "ambient_degc": world.ambient_degc,
            "output_on": world.output_on,
        }

    @property
    def wiring(self) -> Wiring:
        """What the servers of a line need of this station."""
        return Wiring(self.name, self._config.instruments, self.devices, self._timeline, self._state_dir)

    @asynccontextmanager
    async def serve(self, free_ports: bool = False) -> AsyncIterator[dict[str, LinkConfig]]:
        """Start the servers of this station alone; yields the links that lead to them. Raises as serving_line does."""
        async with serving_line([self.wiring], free_ports) as links:
            yield links[self.name]


class _Acting:
    """The device that is behind a port at each moment."""

    def __init__(self, port: Port) -> None:
        self._port = port

    def deadline(self) -> float:
        return cast(Timed, self._port.device).deadline()

    def elapse(self) -> None:
        cast(Timed, self._port.device).elapse()
