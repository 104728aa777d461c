"""The SCPI face of the Keithley DAQ6510: LF-terminated text on TCP 5025 and over VXI-11.

Source: the command lists of PyMeasure's KeithleyDAQ6510 and the SCPI standard, as collected in the project's
instrument notes; the empty error queue answers `0,"No error;0;0 0"` as on all instruments of this firmware family.

Choices where they are silent: a query of several channels answers them separated by commas; channel lists are answered
with ranges, `(@101:116)`; readings have seven digits, an open sensor is `9.9E+37`; an error carries no time; buffer
indices beyond what is stored are -222, a buffer without a reading is -230; temperature is in degC only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar

from simulators.daq6510 import CURRENT, MAX_SCANS, RESISTANCE, TEMPERATURE, VOLTAGE, Daq6510, Reading
from simulators.daq6510_parameters import channel_list, channel_text, number_text, one_of, value_text
from simulators.faults import Texts, measured
from simulators.scpi import Handler
from simulators.scpi_interface import (
    ERRORS,
    ScpiError,
    ScpiInterface,
    action,
    number_between,
    parameters,
    query,
    whole_between,
)
from simulators.world import World

NO_ERROR = '0,"No error;0;0 0"'
ERROR_TEXTS = ERRORS | {-222: "Parameter data out of range"}

BUFFER = "DEFBUFFER1"
FUNCTIONS = {
    **dict.fromkeys(("VOLT", "VOLTAGE", "VOLT:DC", "VOLTAGE:DC"), VOLTAGE),
    **dict.fromkeys(("TEMP", "TEMPERATURE"), TEMPERATURE),
    **dict.fromkeys(("CURR", "CURRENT", "CURR:DC", "CURRENT:DC"), CURRENT),
    **dict.fromkeys(("RES", "RESISTANCE"), RESISTANCE),
}
ELEMENTS: dict[str, Callable[[Reading], str]] = {
    **dict.fromkeys(("READ", "READING"), lambda reading: value_text(reading.value)),
    **dict.fromkeys(("CHAN", "CHANNEL"), lambda reading: str(reading.channel)),
    **dict.fromkeys(("REL", "RELATIVE"), lambda reading: f"{reading.at:.6f}"),
    "UNIT": lambda reading: reading.unit,
}
# settings that are kept and answered, and change nothing that is simulated; the first word is the factory's
WORDS = {
    "SENSe:TEMPerature:TRANsducer": "TC THER RTD TRTD FRTD",
    "SENSe:TEMPerature:TCouple:TYPE": "K B E J N R S T",
    "SENSe:TEMPerature:TCouple:RJUNction:RSELect": "SIM INT EXT",
    "SENSe:TEMPerature:UNIT": "CELS",
    "SENSe:TEMPerature:ODETector": "1 0",
    "SENSe:TEMPerature:AZERo": "1 0",
    "SENSe:VOLTage[:DC]:RANGe:AUTO": "1 0",
    "SENSe:VOLTage[:DC]:AZERo": "1 0",
    "SENSe:CURRent[:DC]:RANGe:AUTO": "1 0",
    "SENSe:RESistance:RANGe:AUTO": "1 0",
    "SENSe:FRESistance:OCOMpensated": "OFF ON AUTO",
    "FORMat[:DATA]": "ASC",
}
NUMBERS = {
    "SENSe:TEMPerature:NPLCycles": (0.0005, 15.0, 1.0),
    "SENSe:TEMPerature:THERmistor": (2252.0, 10000.0, 5000.0),
    "SENSe:VOLTage[:DC]:NPLCycles": (0.0005, 15.0, 1.0),
    "SENSe:VOLTage[:DC]:RANGe[:UPPer]": (0.1, 1000.0, 1000.0),
    "SENSe:CURRent[:DC]:NPLCycles": (0.0005, 15.0, 1.0),
    "SENSe:CURRent[:DC]:RANGe[:UPPer]": (10e-6, 3.0, 3.0),
    "SENSe:RESistance:NPLCycles": (0.0005, 15.0, 1.0),
    "SENSe:RESistance:RANGe[:UPPer]": (10.0, 100e6, 100e6),
    "ROUTe:SCAN:INTerval": (0.0, 100_000.0, 0.0),
}


class DaqInstrument(ScpiInterface):
    """The multimeter with what its SCPI interface remembers; every connection gets its own face on it."""

    FAULTS: ClassVar[Texts] = {
        **ScpiInterface.FAULTS,
        **measured("stuck", "drift", "sign_flip", "range_clip", "overrange"),
        "nan": "Every sensor is broken: 9.9E+37.",
    }
    device: Daq6510

    def __init__(self, world: World, serial: str, channels: Sequence[int]) -> None:
        self.device = Daq6510(world, serial, channels)
        self._kept: dict[tuple[str, int | None], str] = {}
        super().__init__()

    # --- commands ----------------------------------------------------------------------------------------------

    def commands(self) -> dict[str, Handler]:
        device = self.device
        commands: dict[str, Handler] = {
            "*LANG?": query(lambda: "SCPI"),
            "*LANG": self._language,
            "SYSTem:ERRor:COUNt?": query(lambda: str(len(self.errors))),
            "SYSTem:CLEar": action(self.errors.clear),
            "SYSTem:BEEPer[:IMMediate]": _beep,
            "ROUTe:TERMinals?": query(lambda: "REAR"),
            "ROUTe:CLOSe": self._close,
            "ROUTe:CLOSe?": query(lambda: channel_text([device.closed] if device.closed else [])),
            "ROUTe:OPEN": self._open,
            "ROUTe:OPEN:ALL": action(partial(setattr, device, "closed", None)),
            "ROUTe:SCAN[:CREate]": self._create_scan,
            "ROUTe:SCAN[:CREate]?": query(lambda: channel_text(device.scan_list)),
            "ROUTe:SCAN:ADD": self._add_to_scan,
            "ROUTe:SCAN:COUNt:SCAN": self._set_scan_count,
            "ROUTe:SCAN:COUNt:SCAN?": query(lambda: str(device.scan_count)),
            _spelled("SENSe:FUNCtion[:ON]"): self._set_function,
            _spelled("SENSe:FUNCtion[:ON]?"): self._answer_function,
            "INITiate[:IMMediate]": action(self._initiate),
            "ABORt": action(lambda: None),
            "TRIGger:STATe?": query(lambda: "IDLE;IDLE;0"),
            "READ?": self._read,
            "FETCh?": self._fetch,
            "TRACe:DATA?": self._data,
            "TRACe:ACTual?": self._actual,
            "TRACe:CLEar": self._clear_buffer,
        }
        for header, words in WORDS.items():
            commands |= self._kept_setting(header, words.split()[0], partial(one_of, words.split()))
        for header, (low, high, factory) in NUMBERS.items():
            commands |= self._kept_setting(header, number_text(factory), partial(_number_text_between, low, high))
        return commands

    def _kept_setting(self, header: str, factory: str, checked: Callable[[str], str]) -> dict[str, Handler]:
        """A setting of the meter itself, or of each channel in a list."""

        def change(argument: str) -> None:
            value, *rest = parameters(argument, 1, 2)
            for channel in channel_list(rest[0]) if rest else [None]:
                self._kept[header, channel] = checked(value)

        def answer(argument: str) -> str:
            channels = channel_list(argument) if argument else [None]
            return ",".join(self._kept.get((header, channel), factory) for channel in channels)

        return {_spelled(header): change, _spelled(f"{header}?"): answer}

    # --- channels and scans ------------------------------------------------------------------------------------

    def _set_function(self, argument: str) -> None:
        name, *rest = parameters(argument, 1, 2)
        if name[:1] not in ("'", '"'):
            raise ScpiError(-104)
        function = FUNCTIONS.get(name[1:-1].upper())
        if function is None:
            raise ScpiError(-224)
        if rest:
            self.device.functions |= dict.fromkeys(channel_list(rest[0]), function)
        else:
            self.device.function = function

    def _answer_function(self, argument: str) -> str:
        device = self.device
        chosen = [device.functions[c] for c in channel_list(argument)] if argument else [device.function]
        return ",".join(f'"{function}"' for function in chosen)

    def _close(self, argument: str) -> None:
        """One channel at a time is connected to the meter: closing one opens the others."""
        channels = channel_list(*parameters(argument, 1, 1))
        if len(channels) != 1:
            raise ScpiError(-221)
        self.device.closed = channels[0]

    def _open(self, argument: str) -> None:
        if self.device.closed in channel_list(*parameters(argument, 1, 1)):
            self.device.closed = None

    def _create_scan(self, argument: str) -> None:
        """An empty list, `(@)`, ends scanning."""
        self.device.scan_list = channel_list(*parameters(argument, 1, 1))

    def _add_to_scan(self, argument: str) -> None:
        self.device.scan_list += channel_list(*parameters(argument, 1, 1))

    def _set_scan_count(self, argument: str) -> None:
        self.device.scan_count = whole_between(1, MAX_SCANS, *parameters(argument, 1, 1))

    # --- readings ----------------------------------------------------------------------------------------------

    def _initiate(self) -> None:
        if not self.device.scan_list:
            raise ScpiError(-221)
        self.device.scan()

    def _read(self, argument: str) -> str:
        """Measure, and answer the last reading."""
        elements = self._elements(parameters(argument, 0, 5))
        return elements(self.device.read())

    def _fetch(self, argument: str) -> str:
        elements = self._elements(parameters(argument, 0, 5))
        if not self.device.buffer:
            raise ScpiError(-230)
        return elements(self.device.buffer[-1])

    def _data(self, argument: str) -> str:
        """Readings `first` to `last` of a buffer, counted from 1, with the elements that are asked for."""
        first, last, *rest = parameters(argument, 2, 7)
        stored = len(self.device.buffer)
        start, end = (whole_between(1, stored, index) for index in (first, last))
        if end < start:
            raise ScpiError(-222)
        return ",".join(map(self._elements(rest), self.device.buffer[start - 1 : end]))

    def _elements(self, names: list[str]) -> Callable[[Reading], str]:
        """How a reading is answered: `"defbuffer1", READ, CHAN`, a buffer's name and what follows it."""
        for name in names[:1]:
            _check_buffer(name)
        shown = [ELEMENTS.get(name.upper()) for name in names[1:] or ["READ"]]
        known = [show for show in shown if show is not None]
        if len(known) < len(shown):
            raise ScpiError(-224)
        return lambda reading: ",".join(show(reading) for show in known)

    def _actual(self, argument: str) -> str:
        for name in parameters(argument, 0, 1):
            _check_buffer(name)
        return str(len(self.device.buffer))

    def _clear_buffer(self, argument: str) -> None:
        for name in parameters(argument, 0, 1):
            _check_buffer(name)
        self.device.buffer.clear()

    # --- identity and errors ------------------------------------------------------------------------------------

    def identity(self) -> str:
        serial = "04999999" if "wrong_identity" in self.faults else self.device.serial
        return f"KEITHLEY INSTRUMENTS,MODEL DAQ6510,{serial},1.7.12b"

    def _language(self, argument: str) -> None:
        """Another language would need a restart."""
        if parameters(argument.upper(), 1, 1) != ["SCPI"]:
            raise ScpiError(-224)

    def reset(self) -> None:
        self.device.reset()
        self._kept.clear()

    def error_text(self, code: int) -> str:
        return f'{code},"{ERROR_TEXTS[code]};1;0 0"' if code else NO_ERROR


def _spelled(header: str) -> str:
    """With the node SENSe left out, or numbered."""
    node, rest = header.split(":", 1)
    return f"[{node}:]{rest}|{node}1:{rest}" if node == "SENSe" else header


def _beep(argument: str) -> None:
    frequency, seconds = parameters(argument, 2, 2)
    number_between(20, 8000, frequency)
    number_between(0.001, 100, seconds)


def _check_buffer(name: str) -> None:
    if name.strip("\"'").upper() != BUFFER:
        raise ScpiError(-224)


def _number_text_between(low: float, high: float, text: str) -> str:
    return number_text(number_between(low, high, text))
