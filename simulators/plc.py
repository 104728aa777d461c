"""The station's PLC: interlock chain, contactors and signal tower, from `docs/registers.md`."""

from __future__ import annotations

import math
from typing import ClassVar, TypeVar

from simulators.faults import Faults, Texts
from simulators.modbus import IllegalAddressError, IllegalValueError, Registers, answer
from simulators.world import World

Word = TypeVar("Word", int, bool)

UNIT = 1
MAP_VERSION, OTHER_MAP_VERSION = 0x0101, 0x0201
BEAT_PERIOD_S = 0.5
# from a request to the contactors' feedback; the map promises 100 ms
SWITCHING_TIME_S = 0.08
DEFAULT_TIMEOUT_DS = 30
TIMEOUT_RANGE_DS = (5, 600)

REQUEST_COIL, RESET_COIL = 0, 5
TOWER_COILS = {1: "red", 2: "yellow", 3: "green", 4: "buzzer"}

NO_TRIP, TRIP_ESTOP, TRIP_DOOR, TRIP_HEARTBEAT, TRIP_GAS, TRIP_CLAMP = range(6)


class PlcInterlock(Registers):
    """Closes the contactors of the world while its chain is complete and the host is alive."""

    FAULTS: ClassVar[Texts] = {
        "estop": "The E-stop chain is open.",
        "door": "The door is open.",
        "watchdog_trip": "It takes the host for lost, however its heartbeat counts.",
        "contactor_welded": "The contactor of the positive pole stays closed; its feedback says so.",
        "wrong_identity": "Another map version.",
    }

    idle_timeout_s = 0.0

    def __init__(self, world: World) -> None:
        self.world = world
        self._faults: Faults = frozenset()
        self.gas_clear = True
        self.tower = dict.fromkeys(TOWER_COILS.values(), False)
        self.request = False
        self.trip = NO_TRIP
        self.operations = 0
        self._power_up = world.now()
        self._heartbeat = 0
        self._last_beat = -math.inf
        self._timeout_ds = DEFAULT_TIMEOUT_DS
        self._switch_at = math.inf

    @property
    def faults(self) -> Faults:
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        before, self._faults = self._faults, faults
        if "contactor_welded" in faults ^ before:
            self.world.weld(int("contactor_welded" in faults))

    def power_off(self) -> None:
        """Its relays fall, and the contactors with them."""
        self.world.set_contactor(False)

    def respond(self, unit: int, pdu: bytes) -> bytes | None:
        return answer(self, pdu) if unit == UNIT else None

    # --- the chain ---------------------------------------------------------------------------------------------

    def _broken(self) -> set[int]:
        """What keeps the chain open, as trip causes."""
        present = {
            TRIP_ESTOP: "estop" in self.faults,
            TRIP_DOOR: "door" in self.faults,
            TRIP_HEARTBEAT: not self._host_alive(),
            TRIP_GAS: not self.gas_clear,
            TRIP_CLAMP: not self.world.plugged,
        }
        return {cause for cause, broken in present.items() if broken}

    def _host_due(self) -> float:
        """Line time at which the host counts as lost."""
        return self._last_beat + self._timeout_ds / 10

    def _host_alive(self) -> bool:
        return self.world.now() < self._host_due() and "watchdog_trip" not in self._faults

    @property
    def ready(self) -> bool:
        return self.trip == NO_TRIP and not self._broken()

    def deadline(self) -> float:
        supervised = self.world.contactor_closed and self.trip == NO_TRIP
        return min(self._switch_at, self._host_due() if supervised else math.inf)

    def elapse(self) -> None:
        closed = self.world.contactor_closed
        broken = self._broken()
        if closed and broken:
            self.trip = min(broken)
            self.request = False
            self._switch_at = math.inf
            self.world.set_contactor(False)
            return
        wanted = self.request and (closed or self.ready)
        if wanted == closed:
            self._switch_at = math.inf
        elif self._switch_at == math.inf:
            self._switch_at = self.world.now() + SWITCHING_TIME_S
        elif self.world.now() >= self._switch_at:
            self._switch_at = math.inf
            self.operations += wanted
            self.world.set_contactor(wanted)

    def _reset(self) -> None:
        if self.trip not in self._broken():
            self.trip = NO_TRIP

    # --- registers ---------------------------------------------------------------------------------------------

    def discrete_inputs(self, address: int, count: int) -> list[bool]:
        broken = self._broken()
        chain = [cause not in broken for cause in (TRIP_ESTOP, TRIP_DOOR, TRIP_GAS, TRIP_CLAMP, TRIP_HEARTBEAT)]
        bits = [*chain[:2], *self.world.feedback, *chain[2:4], self.ready, chain[4]]
        return _window(bits, address, count)

    def coils(self, address: int, count: int) -> list[bool]:
        return _window([self.request, *self.tower.values(), False], address, count)

    def holding(self, address: int, count: int) -> list[int]:
        return _window([self._heartbeat, self._timeout_ds], address, count)

    def inputs(self, address: int, count: int) -> list[int]:
        beats = int((self.world.now() - self._power_up) / BEAT_PERIOD_S)
        version = OTHER_MAP_VERSION if "wrong_identity" in self.faults else MAP_VERSION
        return _window([beats & 0xFFFF, version, self.trip, self.operations & 0xFFFF], address, count)

    def write_coil(self, address: int, value: bool) -> None:
        if address == REQUEST_COIL:
            self.request = value
        elif address in TOWER_COILS:
            self.tower[TOWER_COILS[address]] = value
        elif address == RESET_COIL:
            if value:
                self._reset()
        else:
            raise IllegalAddressError
        self.elapse()

    def write_register(self, address: int, value: int) -> None:
        if address == 0:
            if value != self._heartbeat:
                self._heartbeat = value
                self._last_beat = self.world.now()
        elif address == 1:
            low, high = TIMEOUT_RANGE_DS
            if not low <= value <= high:
                raise IllegalValueError
            self._timeout_ds = value
        else:
            raise IllegalAddressError
        self.elapse()


def _window(table: list[Word], address: int, count: int) -> list[Word]:
    if address + count > len(table):
        raise IllegalAddressError
    return table[address : address + count]
