"""The faults of all simulated instruments as Markdown, from their declarations."""

from __future__ import annotations

from simulators.equipment import DEVICES, TextInstrument
from simulators.faults import DURATIONS, MEASURED, WIRE, WIRE_OF_REGISTERS, WIRE_OF_RTU, Texts


def fault_tables() -> str:
    """Every kind of the wire and of what is measured; then each instrument, with what it declares of its own."""
    lines = ["Of the wire:", "", "| kind | what happens | where |", "|---|---|---|"]
    for texts, where in ((WIRE, "everywhere"), (WIRE_OF_REGISTERS, "Modbus"), (WIRE_OF_RTU, "Modbus RTU")):
        for kind, text in texts.items():
            lasts = f" {DURATIONS[kind]:g} s, when nothing else is said." if kind in DURATIONS else ""
            lines.append(f"| `{kind}` | {text}{lasts} | {where} |")
    lines += ["", "Of what is measured:", "", "| kind | what happens |", "|---|---|"]
    lines += [f"| `{kind}` | {text} |" for kind, text in MEASURED.items()]
    lines += ["", "Of the instruments:", "", "| driver | measures wrongly | and of its own |", "|---|---|---|"]
    for driver, device in sorted(DEVICES.items()):
        declared: Texts = device.FAULTS
        common = [kind for kind, text in declared.items() if MEASURED.get(kind) == text]
        own = [f"`{kind}`: {text}" for kind, text in declared.items() if kind not in common]
        modbus = "" if issubclass(device, TextInstrument) else " (Modbus)"
        lines.append(f"| `{driver}`{modbus} | {' '.join(f'`{kind}`' for kind in common)} | {'<br>'.join(own)} |")
    return "\n".join(lines)
