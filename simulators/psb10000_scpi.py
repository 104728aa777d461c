"""The SCPI face of the EA PSB 10000: LF-terminated text on TCP 5025, where RTU frames are understood too.

Answers carry their unit and as many decimals as make four digits of the nominal value: 500 V nominal gives `380.5V`,
90 A gives `30.00A`, 30000 W gives `12000W`. Negative current and power is sink mode.

Choices where the guide is silent: a number that cannot be read or has a foreign unit is -220, an unknown word -224, a
missing parameter -102; more than five commands in a message are refused whole with -223, as is one longer than 256
bytes; of more than five errors the newest five are kept; switching on over an alarm, and a *RST or OUTP OFF that the
device does not carry out, are -200; settings that are not set values count as settings and need remote control too.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import ClassVar

from simulators.ea_events import Action, Event
from simulators.ea_modbus import EaRegisters
from simulators.ea_quantities import PROTECTION_SPAN, SETTING_SPAN, OutOfRangeError, Quantity
from simulators.ea_supply import Alarm, EaSupply, LocalError, NotRemoteError, RefusedError
from simulators.faults import Faults, Texts
from simulators.psb10000 import MODEL, Psb10000
from simulators.psb10000_face import IDENTITY, SOCKET_TIMEOUT, PsbFace
from simulators.scpi import CommandTable, Handler
from simulators.world import World

MAX_MESSAGE = 256
MAX_COMMANDS = 5
MAX_ERRORS = 5

NO_ERROR = '0,"No error"'
ERRORS = {
    -100: "Command error",
    -102: "Syntax error",
    -108: "Parameter not allowed",
    -200: "Execution error",
    -201: "Invalid while in local",
    -220: "Parameter error",
    -221: "Settings conflict",
    -222: "Data out of range",
    -223: "Too much data",
    -224: "Illegal parameter value",
    -225: "Out of memory",
}
REFUSALS: dict[type[Exception], int] = {
    NotRemoteError: -221,
    LocalError: -201,
    OutOfRangeError: -222,
    RefusedError: -200,
}
# *ESR? bits: power on, command error (-1xx), execution error (-2xx)
ESR_POWER_ON, ESR_COMMAND, ESR_EXECUTION = 128, 32, 16

_NUMBER = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:E[-+]?\d+)?)\s*(K?)([A-Z]*)", re.IGNORECASE)


class ScpiError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(ERRORS[code])
        self.code = code


def with_unit(quantity: Quantity, value: float) -> str:
    decimals = max(0, 4 - len(str(int(quantity.nominal))))
    # adding zero turns the -0.0 of a rounded small sink current into 0.0
    return f"{round(value, decimals) + 0.0:.{decimals}f}{quantity.unit}"


def number(text: str, unit: str) -> float:
    """`3.5kW` is 3500 where W is expected; the unit may be missing. Raises ScpiError."""
    match = _NUMBER.fullmatch(text)
    if match is None or match[3].upper() not in ("", unit.upper()):
        raise ScpiError(-220)
    return float(match[1]) * (1000 if match[2] else 1)


class PsbInstrument:
    """The PSB with what its SCPI interface remembers; every connection gets its own face on it."""

    FAULTS: ClassVar[Texts] = {
        **EaSupply.FAULTS,
        "nan": "Actual values are `NaN` with their unit.",
        "error_overflow": "Somebody else filled the error queue, which keeps the newest five.",
    }

    terminator = b"\n"

    def __init__(self, world: World, serial: str) -> None:
        self.device = Psb10000(world, serial)
        self.registers = EaRegisters(self.device, IDENTITY, SOCKET_TIMEOUT)
        self.errors: deque[int] = deque(maxlen=MAX_ERRORS)
        self._event_status = ESR_POWER_ON
        self._enables = {"*ESE": 0, "*SRE": 0}
        self._table = CommandTable(self._commands())

    @property
    def faults(self) -> Faults:
        return self.device.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        if "error_overflow" in faults - self.faults:
            self.errors.extend([-100] * MAX_ERRORS)
        self.device.faults = faults

    @property
    def idle_timeout_s(self) -> float:
        return 0.0 if self.device.keep_alive else self.device.socket_timeout_s

    def deadline(self) -> float:
        return self.device.deadline()

    def elapse(self) -> None:
        self.device.elapse()

    def power_off(self) -> None:
        self.device.power_off()

    def face(self) -> PsbFace:
        return PsbFace(self.message, self.registers)

    # --- messages ----------------------------------------------------------------------------------------------

    def message(self, line: bytes) -> bytes:
        """Carry out one message; the answers of its queries in one line, b"" when there are none."""
        self.device.traffic()
        if len(line) > MAX_MESSAGE:
            return self._fail(-223)
        commands = [command for command in line.decode("ascii", "replace").strip().split(";") if command.strip()]
        if len(commands) > MAX_COMMANDS:
            return self._fail(-223)
        answers = [answer for answer in map(self._carry_out, commands) if answer is not None]
        text = ";".join(answers).encode("ascii")
        if len(text) > MAX_MESSAGE:
            return self._fail(-225)
        return text + self.terminator if answers else b""

    def _carry_out(self, command: str) -> str | None:
        try:
            handler, argument = self._table.find(command)
            if handler is None:
                raise ScpiError(-100)
            return handler(argument)
        except ScpiError as error:
            self._fail(error.code)
        except tuple(REFUSALS) as refusal:
            self._fail(REFUSALS[type(refusal)])
        return None

    def _fail(self, code: int) -> bytes:
        self.errors.append(code)
        self._event_status |= ESR_COMMAND if code > -200 else ESR_EXECUTION
        return b""

    # --- commands ----------------------------------------------------------------------------------------------

    def _commands(self) -> dict[str, Handler]:
        device = self.device
        commands: dict[str, Handler] = {
            "*IDN?": _query(self._identity),
            "*CLS": _action(self._clear),
            "*RST": _action(device.reset),
            "*STB?": _query(lambda: str(self.status_byte())),
            "*ESR?": _query(self._take_event_status),
            "*ESE?": _query(lambda: str(self._enables["*ESE"])),
            "*SRE?": _query(lambda: str(self._enables["*SRE"])),
            "*ESE": partial(self._enable, "*ESE"),
            "*SRE": partial(self._enable, "*SRE"),
            "SYSTem:LOCK": _switch(lambda on: device.take_remote() if on else device.leave_remote()),
            "SYSTem:LOCK:OWNer?": _query(self._owner),
            "SYSTem:ERRor[:NEXT]?": _query(self._next_error),
            "SYSTem:ERRor:ALL?": _query(self._all_errors),
            "OUTPut": _switch(device.switch_output),
            "OUTPut?": _query(lambda: _on_off(device.output_on)),
            "MEASure[:SCALar]:VOLTage[:DC]?": _query(lambda: self._measured(Quantity.VOLTAGE)),
            "MEASure[:SCALar]:CURRent[:DC]?": _query(lambda: self._measured(Quantity.CURRENT)),
            "MEASure[:SCALar]:POWer[:DC]?": _query(lambda: self._measured(Quantity.POWER)),
            "MEASure[:SCALar]:ARRay?": _query(
                lambda: self._measured(Quantity.VOLTAGE, Quantity.CURRENT, Quantity.POWER)
            ),
            "SYSTem:NOMinal:VOLTage?": _query(lambda: _nominal(Quantity.VOLTAGE)),
            "SYSTem:NOMinal:CURRent?": _query(lambda: _nominal(Quantity.CURRENT)),
            "SYSTem:NOMinal:POWer?": _query(lambda: _nominal(Quantity.POWER)),
            "SYSTem:CONFig:MODe": _mode,
            "SYSTem:CONFig:MODe?": _query(lambda: "UIP"),
            "STATus:QUEStionable[:EVENt]?": _query(lambda: str(device.take_events(0))),
            "STATus:QUEStionable:CONDition?": _query(lambda: str(device.questionable())),
            "STATus:OPERation[:EVENt]?": _query(lambda: str(device.take_events(1))),
            "STATus:OPERation:CONDition?": _query(lambda: str(device.operation())),
            "SYSTem:COMMunicate:MONitoring:TIMeout": _seconds(device.set_monitor_timeout),
            "SYSTem:COMMunicate:MONitoring:TIMeout?": _query(lambda: str(device.monitor_timeout_s)),
            "SYSTem:COMMunicate:MONitoring:ACTion": _switch(device.set_monitor),
            "SYSTem:COMMunicate:MONitoring:ACTion?": _query(lambda: _on_off(device.monitor_on)),
            "SYSTem:COMMunicate:LAN:TIMeout": _seconds(device.set_socket_timeout),
            "SYSTem:COMMunicate:LAN:TIMeout?": _query(lambda: str(device.socket_timeout_s)),
        }
        for header, quantity in {
            "[SOURce:]VOLTage": Quantity.VOLTAGE,
            "[SOURce:]CURRent": Quantity.CURRENT,
            "[SOURce:]POWer": Quantity.POWER,
            "SINK:CURRent": Quantity.SINK_CURRENT,
            "SINK:POWer": Quantity.SINK_POWER,
        }.items():
            commands |= self._setting_commands(header, quantity)
        for event in Event:
            commands |= self._event_commands(f"SYSTem:{event}", event)
        for header, alarm in {
            "ALARm:COUNt:OVOLtage": Alarm.OVERVOLTAGE,
            "ALARm:COUNt:OCURrent": Alarm.OVERCURRENT,
            "ALARm:COUNt:OPOWer": Alarm.OVERPOWER,
            "SINK:ALARm:COUNt:OCURrent": Alarm.SINK_OVERCURRENT,
            "SINK:ALARm:COUNt:OPOWer": Alarm.SINK_OVERPOWER,
        }.items():
            commands[f"SYSTem:{header}?"] = _query(partial(self._alarm_count, alarm))
        return commands

    def _setting_commands(self, header: str, q: Quantity) -> dict[str, Handler]:
        """The set value of a quantity, its protection and its adjustment limits (power has no lower one)."""
        device = self.device
        commands: dict[str, Handler] = {
            header: self._setter(q, device.set_level, lambda: device.limits[q]),
            f"{header}?": _query(lambda: with_unit(q, device.levels[q])),
            f"{header}:PROTection[:LEVel]": self._setter(
                q, device.set_protection, lambda: (0.0, q.nominal * PROTECTION_SPAN)
            ),
            f"{header}:PROTection[:LEVel]?": _query(lambda: with_unit(q, device.protections[q])),
            f"{header}:LIMit:HIGH": self._setter(
                q, device.set_limit_high, lambda: (device.levels[q], q.nominal * SETTING_SPAN)
            ),
            f"{header}:LIMit:HIGH?": _query(lambda: with_unit(q, device.limits[q][1])),
        }
        if q.unit != "W":
            commands[f"{header}:LIMit:LOW"] = self._setter(q, device.set_limit_low, lambda: (0.0, device.levels[q]))
            commands[f"{header}:LIMit:LOW?"] = _query(lambda: with_unit(q, device.limits[q][0]))
        return commands

    def _event_commands(self, header: str, event: Event) -> dict[str, Handler]:
        """The threshold of a watched quantity and what happens when it is passed."""
        device, quantity = self.device, event.quantity
        spellings = {form: action for action in Action for form in (action.value, action.value[:4])}

        def set_threshold(argument: str) -> None:
            device.set_threshold(event, number(_parameter(argument), quantity.unit))

        def set_action(argument: str) -> None:
            word = _parameter(argument).upper()
            if word not in spellings:
                raise ScpiError(-224)
            device.set_action(event, spellings[word])

        return {
            header: set_threshold,
            f"{header}?": _query(lambda: with_unit(quantity, device.watches[event].threshold)),
            f"{header}:ACTion": set_action,
            f"{header}:ACTion?": _query(lambda: device.watches[event].action.value),
        }

    def _setter(
        self, q: Quantity, set_value: Callable[[Quantity, float], None], span: Callable[[], tuple[float, float]]
    ) -> Handler:
        def handle(argument: str) -> None:
            word = _parameter(argument).upper()
            named = {"MIN": 0, "MINIMUM": 0, "MAX": 1, "MAXIMUM": 1}
            set_value(q, span()[named[word]] if word in named else number(word, q.unit))

        return handle

    # --- answers -----------------------------------------------------------------------------------------------

    def _identity(self) -> str:
        serial = "9999999999" if "wrong_identity" in self.device.faults else self.device.serial
        return f"EA Elektro-Automatik GmbH&Co.KG, {MODEL}, {serial}, V3.06 24.05.2023 V3.03 05.10.2022 V1.0.0"

    def _measured(self, *quantities: Quantity) -> str:
        at = self.device.world.terminal()
        values = {Quantity.VOLTAGE: at.voltage, Quantity.CURRENT: at.current, Quantity.POWER: at.power}
        if "nan" in self.device.faults:
            return ", ".join(f"NaN{q.unit}" for q in quantities)
        # the display ends at 125 % of the nominal value
        most = {q: 1.25 * q.nominal for q in quantities}
        return ", ".join(with_unit(q, min(max(values[q], -most[q]), most[q])) for q in quantities)

    def _alarm_count(self, alarm: Alarm) -> str:
        return str(self.device.alarm_counts[alarm])

    def _owner(self) -> str:
        if self.device.local:
            return "LOCAL"
        return "REMOTE" if self.device.remote else "NONE"

    def _next_error(self) -> str:
        """The oldest error. Reading it also acknowledges alarms whose cause is gone."""
        self.device.acknowledge()
        return _error_text(self.errors.popleft()) if self.errors else NO_ERROR

    def _all_errors(self) -> str:
        self.device.acknowledge()
        errors = ",".join(map(_error_text, self.errors))
        self.errors.clear()
        return errors or NO_ERROR

    def _clear(self) -> None:
        self.errors.clear()
        self._event_status = 0
        self.device.events[:] = 0, 0

    def _take_event_status(self) -> str:
        status, self._event_status = self._event_status, 0
        return str(status)

    def _enable(self, name: str, argument: str) -> None:
        value = number(_parameter(argument), "")
        if not 0 <= value <= 255:
            raise ScpiError(-222)
        self._enables[name] = int(value)

    def status_byte(self) -> int:
        """Bit 2 errors wait, 3 questionable events, 5 enabled bits of *ESR, 7 operation events, 6 any enabled one."""
        questionable, operation = self.device.events
        byte = bool(self.errors) << 2 | bool(questionable) << 3 | bool(operation) << 7
        byte |= bool(self._event_status & self._enables["*ESE"]) << 5
        return byte | bool(byte & self._enables["*SRE"]) << 6


def _error_text(code: int) -> str:
    return f'{code},"{ERRORS[code]}"'


def _nominal(quantity: Quantity) -> str:
    return with_unit(quantity, quantity.nominal)


def _on_off(on: bool) -> str:
    return "ON" if on else "OFF"


def _parameter(argument: str) -> str:
    """Exactly one parameter."""
    if not argument:
        raise ScpiError(-102)
    if "," in argument:
        raise ScpiError(-108)
    return argument


def _query(answer: Callable[[], str]) -> Handler:
    def handle(argument: str) -> str:
        if argument:
            raise ScpiError(-108)
        return answer()

    return handle


def _action(act: Callable[[], None]) -> Handler:
    def handle(argument: str) -> None:
        if argument:
            raise ScpiError(-108)
        act()

    return handle


def _switch(act: Callable[[bool], None]) -> Handler:
    def handle(argument: str) -> None:
        word = _parameter(argument).upper()
        if word not in ("ON", "OFF", "1", "0"):
            raise ScpiError(-224)
        act(word in ("ON", "1"))

    return handle


def _mode(argument: str) -> None:
    """Resistance control is not simulated: the device stays in UIP."""
    if _parameter(argument).upper() != "UIP":
        raise ScpiError(-224)


def _seconds(act: Callable[[float], None]) -> Handler:
    return lambda argument: act(number(_parameter(argument), "s"))
