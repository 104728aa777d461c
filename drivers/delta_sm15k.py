"""Delta Elektronika SM15K: bidirectional DC supply as a cycler, by text over TCP port 8462.

Source: "Ethernet & Sequencer Programming SM15K" (Delta Elektronika, rev. Aug. 2019), in the order of its chapter 5.
Lines end with LF. Several units in parallel are one cycler: their master answers for them.

The SM15K has no levels that switch the output off. Its limits (SYSTem:LIMits) are what it can never be set beyond, so
they stand here for the protections: the output is held there, and it is the daemon's own limits and the watchdog that
end it. The manual names no command that tells what the output regulates; read() tells it from the set values.

To check on hardware, since the manual shows no example: the fields of *IDN?; the words that SYSTem:REMote answers;
whether a limit reads back with its state, and a negative one with its sign (both are read here with and without); the
texts of warnings; that the master's ratings and readings are those of all units.
"""

from __future__ import annotations

from drivers.errors import AnswerError, DeviceError, IdentityError, SettingError
from drivers.identity import check_identity, parse_idn
from drivers.links import TextLink
from drivers.numbers import parse_integer, parse_number, parse_quantity
from drivers.roles import CyclerRatings, CyclerReading, Identity, Protection, Regulation
from drivers.scpi import parse_error

QUEUE_DEPTH = 10
WATCHDOG_MS = (20, 10_000)
WATCHDOG_OFF = -1
# settings have 16 bits (manual, 1.2) and are answered with four decimals
STEPS = 65535
# how near to a set value, as a share of nominal, a reading counts as held there
HELD = 0.005

RATINGS = (
    "SOURce:VOLtage:MAXimum?",
    "SOURce:CURrent:MAXimum?",
    "SOURce:CURrent:NEGative:MAXimum?",
    "SOURce:POWer:MAXimum?",
    "SOURce:POWer:NEGative:MAXimum?",
)
GOALS = ("SOURce:CURrent?", "SOURce:CURrent:NEGative?", "SOURce:POWer?", "SOURce:POWer:NEGative?")
READ = (
    "MEASure:VOLtage?",
    "MEASure:CURrent?",
    "MEASure:POWer?",
    "OUTPut?",
    "SYSTem:REMote:CC?",
    "SYSTem:COMmunicate:WATchdog?",
    "SYSTem:WARning?",
)
CONTROLS = ("CV", "CC", "CP")
OURS, FRONT = ("remote", "ethernet", "eth"), ("front", "local", "loc")


def format_setting(value: float) -> str:
    """A set value with the four decimals of the answers."""
    return f"{value:.4f}".rstrip("0").rstrip(".")


def parse_switch(answer: str) -> bool:
    """Read `1` or `0`, or the words for them."""
    match answer.strip().upper():
        case "1" | "ON":
            return True
        case "0" | "OFF":
            return False
    raise AnswerError("expected 0 or 1", answer)


def parse_limit(answer: str) -> float:
    """Read a limit that is on, `440.0000` or `440.0000,1`; raises SettingError for one that is off."""
    value, comma, state = answer.partition(",")
    limit = parse_number(value)
    if comma and not parse_switch(state):
        raise SettingError(f"the limit {limit:g} is not active; check the instrument")
    return limit


class DeltaSm15k:
    """Role Cycler."""

    def __init__(self, link: TextLink, model: str = "", serial: str = "", units: int = 1) -> None:
        """model and serial are what *IDN? must answer; empty means not checked. units work in parallel under this one.

        Raises SettingError for fewer than one unit.
        """
        if units < 1:
            raise SettingError(f"units must be 1 or more, not {units}")
        self._link = link
        self._model, self._serial, self._units = model, serial, units
        self._ratings: CyclerRatings | None = None
        self._goals = (0.0, 0.0, 0.0, 0.0)  # charge A, discharge A, charge W, discharge W; magnitudes
        self._is_armed = False
        self._unread_alarms: tuple[str, ...] = ()

    @property
    def ratings(self) -> CyclerRatings:
        if self._ratings is None:
            raise DeviceError("ratings are unknown before connect()")
        return self._ratings

    async def connect(self) -> Identity:
        await self._link.open()
        identity = check_identity(await self.identify(), self._model, self._serial)
        if self._units > 1:
            found = parse_integer(await self._link.query("SYSTem:INTerface:MASterslave:STAtus UNITS?"))
            if found != self._units:
                raise IdentityError("number of units", str(self._units), str(found))
        voltage, *others = [abs(parse_number(answer)) for answer in await self._link.query_many(RATINGS)]
        current, power = min(others[:2]), min(others[2:])
        if min(voltage, current, power) <= 0:
            raise AnswerError("expected nominal values other than zero", [voltage, *others])
        self._ratings = CyclerRatings(voltage, current, power)
        await self._read_goals()
        return identity

    async def identify(self) -> Identity:
        identity = parse_idn(await self._link.query("*IDN?"))
        if not identity.manufacturer.upper().startswith("DELTA ELEKTRONIKA") or not identity.model.startswith("SM"):
            raise IdentityError("model", "Delta Elektronika SM", f"{identity.manufacturer} {identity.model}")
        return identity

    async def close(self) -> None:
        await self._link.close()

    async def arm(self, protection: Protection, watchdog: float) -> None:
        milliseconds = round(1000 * watchdog)
        least, most = WATCHDOG_MS
        if not least <= milliseconds <= most:
            raise SettingError(f"the watchdog takes {least / 1000:g} to {most / 1000:g} s, not {watchdog:g} s")
        nominal = self.ratings
        for control in CONTROLS:
            await self._control(control, "Remote", OURS)
        await self._reports("SYSTem:ERRor?")  # of earlier sessions, not ours to raise
        self._unread_alarms = ()
        self._is_armed = True
        # a limit may not exclude what is set
        await self._set("SOURce:CURrent", 0.0, "A", nominal.current)
        await self._set("SOURce:CURrent:NEGative", 0.0, "A", nominal.current)
        await self._limit("VOLtage", protection.voltage, nominal.voltage)
        await self._limit("CURrent", protection.charge_current, nominal.current)
        await self._limit("CURrent:NEGative", -protection.discharge_current, nominal.current)
        await self._limit("POWer", protection.power, nominal.power)
        await self._limit("POWer:NEGative", -protection.power, nominal.power)
        await self._set("SOURce:POWer", protection.power, "W", nominal.power)
        await self._set("SOURce:POWer:NEGative", -protection.power, "W", nominal.power)
        await self._read_goals()
        await self._link.write(f"SYSTem:COMmunicate:WATchdog SET,{milliseconds}")
        found = parse_integer(await self._link.query("SYSTem:COMmunicate:WATchdog SET?"), -1)
        if found != milliseconds:
            raise SettingError(f"watchdog: wrote {milliseconds} ms, reads back {found} ms")
        await self._check_errors()

    async def read(self) -> CyclerReading:
        *measured, switch, owner, watchdog, warning = await self._link.query_many(READ)
        voltage, current, power = map(parse_number, measured)
        output_on = parse_switch(switch)
        alarms, self._unread_alarms = self._unread_alarms, ()
        if self._is_armed:
            if owner.strip().casefold() not in OURS:
                alarms = (*alarms, "REMOTE LOST")
            alarms = (*alarms, *_watchdog_alarm(watchdog))
        code, text = parse_error(warning)
        if code:
            alarms = (*alarms, text or f"warning {code}")
        regulation = self._regulation(current, power) if output_on else Regulation.OFF
        return CyclerReading(voltage, current, power, output_on, regulation, tuple(dict.fromkeys(alarms)))

    async def drive(self, current: float, voltage: float) -> None:
        nominal = self.ratings
        _check_range("current", abs(current), "A", nominal.current)
        _check_range("voltage", voltage, "V", nominal.voltage)
        await self._check_armed()
        # the idle direction first: at no moment may both directions be open
        if current <= 0:
            await self._set("SOURce:CURrent", 0.0, "A", nominal.current)
        if current >= 0:
            await self._set("SOURce:CURrent:NEGative", 0.0, "A", nominal.current)
        await self._set("SOURce:VOLtage", voltage, "V", nominal.voltage)
        if current:
            command = "SOURce:CURrent" if current > 0 else "SOURce:CURrent:NEGative"
            await self._set(command, current, "A", nominal.current)
        self._goals = (max(current, 0.0), max(-current, 0.0), *self._goals[2:])
        await self._check_errors()

    async def output(self, on: bool) -> None:
        if on:
            await self._check_armed()
            if parse_switch(await self._link.query("SYSTem:RSD?")):
                raise DeviceError("remote shutdown is active; find out who holds the output off")
        await self._link.write(f"OUTPut {int(on)}")
        if parse_switch(await self._link.query("OUTPut?")) != on:
            await self._check_errors()
            raise SettingError(f"the output did not switch {'on' if on else 'off'}; check interlock and warnings")

    async def release(self) -> None:
        if parse_switch(await self._link.query("OUTPut?")):
            raise SettingError("the output is still on; switch it off before giving up remote control")
        await self._link.write("SYSTem:COMmunicate:WATchdog STOP")
        state = parse_integer(await self._link.query("SYSTem:COMmunicate:WATchdog?"), -1)
        if state != WATCHDOG_OFF:
            raise SettingError(f"the watchdog did not stop: its state is {state}, not {WATCHDOG_OFF}")
        self._is_armed = False
        for control in CONTROLS:
            await self._control(control, "Front", FRONT)

    def _regulation(self, current: float, power: float) -> Regulation:
        """What the readings lie at: a set power, a set current, or else the set voltage."""
        goals = self._goals[0::2] if current >= 0 else self._goals[1::2]
        nominal = self.ratings
        if abs(abs(power) - goals[1]) <= HELD * nominal.power:
            return Regulation.POWER
        if abs(abs(current) - goals[0]) <= HELD * nominal.current:
            return Regulation.CURRENT
        return Regulation.VOLTAGE

    async def _read_goals(self) -> None:
        charge, discharge, source, sink = [abs(parse_number(a)) for a in await self._link.query_many(GOALS)]
        self._goals = (charge, discharge, source, sink)

    async def _control(self, control: str, word: str, expected: tuple[str, ...]) -> None:
        """Say who sets voltage (CV), current (CC) or power (CP), and see that it is so."""
        await self._link.write(f"SYSTem:REMote:{control} {word}")
        answer = await self._link.query(f"SYSTem:REMote:{control}?")
        if answer.strip().casefold() not in expected:
            raise DeviceError(f"{control} is set from {answer!r} instead of {word!r}; check the front panel")

    async def _limit(self, name: str, value: float, nominal: float) -> None:
        """A limit on, at the value or at the rating, whichever is nearer to zero."""
        value = max(-nominal, min(value, nominal))
        await self._link.write(f"SYSTem:LIMits:{name} {format_setting(value)},ON")
        found = parse_limit(await self._link.query(f"SYSTem:LIMits:{name}?"))
        if abs(abs(found) - abs(value)) > nominal / STEPS:
            await self._check_errors()  # the instrument's own reason says more
            raise SettingError(f"limit {name}: wrote {value:g}, reads back {found:g}; check the instrument")

    async def _set(self, command: str, value: float, unit: str, nominal: float) -> None:
        """Write a setting and compare what reads back, to a digit of the answer or a step of the instrument."""
        _check_range(command, abs(value), unit, nominal)
        await self._link.write(f"{command} {format_setting(value)}")
        answer = parse_quantity(await self._link.query(f"{command}?"), "")
        if abs(answer.value - value) > max(answer.resolution, nominal / STEPS) * (1 + 1e-9):
            await self._check_errors()
            raise SettingError(
                f"{command}: wrote {value:g} {unit}, reads back {answer.value:g} {unit}; check its limits"
            )

    async def _check_armed(self) -> None:
        """The watchdog may have run out, or somebody may have taken the front panel, since the last request."""
        if not self._is_armed:
            return
        for control in CONTROLS:
            owner = await self._link.query(f"SYSTem:REMote:{control}?")
            if owner.strip().casefold() not in OURS:
                raise DeviceError(f"remote control was lost ({control} is set from {owner!r}); find out why, arm again")
        alarm = _watchdog_alarm(await self._link.query("SYSTem:COMmunicate:WATchdog?"))
        if alarm:
            self._unread_alarms += alarm  # asking cleared it
            raise DeviceError("the watchdog does not run any more; find out why, then arm again")

    async def _check_errors(self) -> None:
        """Raise what the error queue holds."""
        if errors := await self._reports("SYSTem:ERRor?"):
            raise DeviceError("; ".join(f"{code} {text}" for code, text in errors))

    async def _reports(self, query: str) -> list[tuple[int, str]]:
        """Empty a queue, which holds ten at most."""
        reports: list[tuple[int, str]] = []
        while len(reports) < QUEUE_DEPTH:
            code, text = parse_error(await self._link.query(query))
            if code == 0:
                break
            reports.append((code, text))
        return reports


def _watchdog_alarm(answer: str) -> tuple[str, ...]:
    """None while it runs; it says once that it ran out, and then that it is off."""
    match parse_integer(answer, -1):
        case 0:
            return ("WATCHDOG",)
        case -1:
            return ("WATCHDOG OFF",)
    return ()


def _check_range(name: str, value: float, unit: str, nominal: float) -> None:
    """Raise SettingError for a value that the instrument would not take, before it is sent."""
    if not 0 <= value <= nominal:
        raise SettingError(f"{name} {value:g} {unit} is outside 0..{nominal:g} {unit}; check recipe and instrument")
