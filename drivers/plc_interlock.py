"""The station's PLC: safety chain, contactors, signal tower. Register map: docs/registers.md, "PLC"."""

from __future__ import annotations

from collections.abc import Sequence

from drivers.errors import AnswerError, ConfigError, IdentityError, SettingError
from drivers.identity import check_identity
from drivers.links import RegisterLink
from drivers.roles import Identity, InterlockReading, Tower

UNIT = 1
MAP_VERSION = 0x0101
# coils
CONTACTOR, TOWER, RESET = 0, 1, 5
# holding registers
HEARTBEAT, HEARTBEAT_TIMEOUT = 0, 1
TRIP_CAUSES = ("", "E-stop", "door", "host heartbeat lost", "gas or smoke", "clamp")


def parse_interlock(inputs: Sequence[bool], registers: Sequence[int]) -> InterlockReading:
    """From discrete inputs 0..7 and input registers 0..2."""
    estop_ok, door_closed, plus_closed, minus_closed, gas_ok, clamped, ready, host_alive = inputs
    heartbeat, _, cause = registers
    if cause >= len(TRIP_CAUSES):
        raise AnswerError(f"trip cause {cause} is not in map {MAP_VERSION:#06x}")
    return InterlockReading(
        estop_ok=estop_ok,
        door_closed=door_closed,
        gas_ok=gas_ok,
        clamped=clamped,
        ready=ready,
        contactor_closed=plus_closed and minus_closed,
        contactors_agree=plus_closed == minus_closed,
        host_alive=host_alive,
        heartbeat=heartbeat,
        trip_cause=TRIP_CAUSES[cause],
    )


class PlcInterlock:
    """Role Interlock."""

    def __init__(
        self, link: RegisterLink, model: str = "", serial: str = "", *, heartbeat_timeout: float | None = None
    ) -> None:
        """heartbeat_timeout s, 0.5..60: written at connect(); None leaves what the PLC has (3 s by default)."""
        if heartbeat_timeout is not None and not 0.5 <= heartbeat_timeout <= 60:
            raise ConfigError(f"heartbeat_timeout_s must be 0.5..60, not {heartbeat_timeout:g}")
        self._link = link
        self._model, self._serial = model, serial
        self._heartbeat_timeout = heartbeat_timeout

    async def connect(self) -> Identity:
        await self._link.open()
        identity = check_identity(await self.identify(), self._model, self._serial)
        if self._heartbeat_timeout is not None:
            tenths = round(self._heartbeat_timeout * 10)
            await self._link.write_register(UNIT, HEARTBEAT_TIMEOUT, tenths)
            (answer,) = await self._link.read_holding_registers(UNIT, HEARTBEAT_TIMEOUT, 1)
            if answer != tenths:
                raise SettingError(f"heartbeat timeout: wrote {tenths / 10} s, reads back {answer / 10} s")
        return identity

    async def identify(self) -> Identity:
        (version,) = await self._link.read_input_registers(UNIT, 1, 1)
        if version != MAP_VERSION:
            raise IdentityError("register map", f"{MAP_VERSION:#06x}", f"{version:#06x}")
        return Identity("", "", "", f"map {version:#06x}")

    async def close(self) -> None:
        await self._link.close()

    async def read(self) -> InterlockReading:
        inputs = await self._link.read_discrete_inputs(UNIT, 0, 8)
        return parse_interlock(inputs, await self._link.read_input_registers(UNIT, 0, 3))

    async def beat(self, counter: int) -> None:
        # the link compares the PLC's confirmation; a read-back would double the traffic of every beat
        await self._link.write_register(UNIT, HEARTBEAT, counter)

    async def request_contactor(self, closed: bool) -> None:
        await self._link.write_coil(UNIT, CONTACTOR, closed)
        (requested,) = await self._link.read_coils(UNIT, CONTACTOR, 1)
        if requested != closed:
            raise SettingError(
                f"the PLC did not keep the request to {'close' if closed else 'open'} the contactors; "
                "look at the safety chain and the latched trip"
            )

    async def set_tower(self, tower: Tower) -> None:
        wanted = [tower.red, tower.yellow, tower.green, tower.buzzer]
        for offset, light in enumerate(wanted):
            await self._link.write_coil(UNIT, TOWER + offset, light)
        shown = await self._link.read_coils(UNIT, TOWER, len(wanted))
        if shown != wanted:
            raise SettingError(f"signal tower: wrote {wanted}, reads back {shown}; check the PLC program")

    async def reset(self) -> None:
        # reads 0 always: read() tells whether the trip is gone
        await self._link.write_coil(UNIT, RESET, True)
