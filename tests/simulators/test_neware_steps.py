"""Step files of the BTS: what aurora-unicycler writes, and what is not one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.neware_steps import Program, Step, StepFileError, parse
from tests.independent import python_package


def limit(**values: float) -> str:
    return (
        "<Limit><Main>" + "".join(f'<{name} Value="{value:g}"/>' for name, value in values.items()) + "</Main></Limit>"
    )


def step_file(*steps: tuple[int, str], protect: str = "", record: str = "") -> bytes:
    """A step file of (type, what is inside) with an end; number and order are made here."""
    lines = [
        f'<Step{number} Step_ID="{number}" Step_Type="{kind}">{inside}</Step{number}>'
        for number, (kind, inside) in enumerate([*steps, (6, "")], 1)
    ]
    return (
        '<?xml version="1.0"?><root><config type="Step File" version="17">'
        f"<Whole_Prt><Protect><Main>{protect}</Main></Protect><Record><Main>{record}</Main></Record></Whole_Prt>"
        f'<Step_Info Num="{len(lines)}">{"".join(lines)}</Step_Info></config></root>'
    ).encode()


REST = (4, limit(Time=60_000))


def test_every_kind_of_step() -> None:
    loop = '<Limit><Other><Start_Step Value="2"/><Cycle_Count Value="3"/></Other></Limit>'
    program = parse(
        step_file(
            REST,
            (1, limit(Curr=30000, Time=3_600_000, Stop_Volt=42000)),
            (3, limit(Volt=42000, Curr=30000, Stop_Curr=1200.5)),
            (2, limit(Curr=20000, Stop_Volt=30000)),
            (19, limit(Volt=30000)),
            (5, loop),
        )
    )
    assert program.steps == (
        Step(1, "rest", 60.0),
        Step(2, "cc", 3600.0, 30.0, stop_voltage=pytest.approx(4.2)),
        Step(3, "cv", current=30.0, voltage=pytest.approx(4.2), stop_current=pytest.approx(1.2005)),
        Step(4, "dc", current=20.0, stop_voltage=3.0),
        Step(5, "dv", voltage=3.0),
        Step(6, "cycle", back_to=2, cycles=3),
        Step(7, "end"),
    )


def test_protections_and_records() -> None:
    protect = '<Volt><Upper Value="42500"/><Lower Value="25000"/></Volt><Curr><Lower Value="-90000"/></Curr>'
    program = parse(step_file(REST, protect=protect, record='<Time Value="5000"/>'))
    assert program.volts == pytest.approx((2.5, 4.25))
    assert program.amperes == (-90.0, math.inf)
    assert program.record_s == 5.0
    without = parse(step_file(REST))
    assert (without.volts, without.record_s) == ((-math.inf, math.inf), 30.0)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello there",
        b"<root/>",
        b"<root><config><Step_Info/></config></root>",
        step_file((7, "")),
        step_file((1, limit(Time=60_000))),
        step_file((3, limit(Stop_Curr=100))),
        step_file((4, "")),
        step_file((1, limit(Curr=120_001))),
        step_file((3, limit(Volt=50_001))),
        step_file((1, limit(Curr=-30000))),
        step_file((1, '<Limit><Main><Curr Value="much"/></Main></Limit>')),
        step_file((4, limit(Time=math.nan))),
        step_file((6, ""), REST),
        step_file((5, '<Limit><Other><Start_Step Value="1"/></Other></Limit>')),
        step_file(REST).replace(b'Step_Type="6"', b'Step_Type="4"'),
        step_file(REST).replace(b'Step_ID="1"', b'Step_ID="2"'),
        step_file(
            REST,
            (5, '<Limit><Other><Start_Step Value="1"/></Other></Limit>'),
            (5, '<Limit><Other><Start_Step Value="2"/><Cycle_Count Value="1000000"/></Other></Limit>'),
        ),
    ],
)
def test_what_is_not_a_step_file(data: bytes) -> None:
    with pytest.raises(StepFileError):
        parse(data)


def test_what_aurora_unicycler_writes() -> None:
    unicycler = python_package("aurora_unicycler", "aurora-unicycler")
    protocol = unicycler.CyclingProtocol.from_dict(
        {
            "sample": {"name": "CELL-1", "capacity_mAh": 60_000},
            "record": {"time_s": 10},
            "safety": {"max_voltage_V": 4.25, "min_voltage_V": 2.6, "max_current_mA": 70_000},
            "method": [
                {"step": "open_circuit_voltage", "until_time_s": 60},
                {"step": "constant_current", "rate_C": 0.5, "until_voltage_V": 4.2},
                {"step": "constant_voltage", "voltage_V": 4.2, "until_rate_C": 0.05},
                {"step": "constant_current", "rate_C": -0.5, "until_voltage_V": 3.0},
                {"step": "loop", "loop_to": 2, "cycle_count": 3},
            ],
        }
    )
    program = parse(protocol.to_neware_xml().encode())
    assert [step.kind for step in program.steps] == ["rest", "cc", "cv", "dc", "cycle", "end"]
    assert [step.current for step in program.steps] == [None, 30.0, 30.0, 30.0, None, None]
    assert (program.steps[2].stop_current, program.steps[4].cycles) == (3.0, 3)
    assert (program.volts, program.amperes, program.record_s) == (pytest.approx((2.6, 4.25)), (-math.inf, 70.0), 10.0)


texts = st.text(st.characters(exclude_characters="<>&\"'", categories=("L", "N", "P")), max_size=10)


@given(
    st.one_of(st.binary(max_size=300), st.builds(lambda kind, inside: step_file((kind, inside)), st.integers(), texts))
)
def test_anything_is_a_program_or_not(data: bytes) -> None:
    try:
        program = parse(data)
    except StepFileError:
        return
    assert isinstance(program, Program)
    assert program.steps[-1].kind == "end"
