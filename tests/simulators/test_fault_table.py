"""Every fault that an instrument declares shows on its face; one that cannot be there is refused by name."""

from __future__ import annotations

from functools import cache

import pytest

from config import DocumentError
from simulators.equipment import DEVICES, kinds_of
from simulators.faults import KINDS, MEASURED
from tests.simulators.scenes import SCENES, Act, config_of

CASES = [(driver, kind) for driver, scene in SCENES.items() for kind in sorted(kinds_of(config_of(scene)))]


@cache
def sound(driver: str) -> list[str]:
    return Act(SCENES[driver]).play()


def test_every_simulator_is_in_the_table() -> None:
    assert SCENES.keys() == DEVICES.keys()


def test_every_kind_is_declared_by_some_instrument() -> None:
    assert {kind for _, kind in CASES} == set(KINDS)


@pytest.mark.parametrize("driver", SCENES)
def test_a_sound_instrument_answers_and_says_the_same_every_time(driver: str) -> None:
    assert Act(SCENES[driver]).play() == sound(driver)
    assert not {"b''", "None", "HangupError"} & set(sound(driver)[: len(SCENES[driver].ask)])


@pytest.mark.parametrize(("driver", "kind"), CASES)
def test_a_fault_shows(driver: str, kind: str) -> None:
    act = Act(SCENES[driver])
    act.station.set_fault(act.scene.instrument, kind)
    assert act.play() != sound(driver)


@pytest.mark.parametrize("driver", [driver for driver, scene in SCENES.items() if not scene.drives])
def test_a_fault_of_what_is_measured_leaves_what_is_true(driver: str) -> None:
    sound, faulty = Act(SCENES[driver]), Act(SCENES[driver])
    for kind in kinds_of(faulty.config).keys() & MEASURED.keys():
        faulty.station.set_fault(faulty.scene.instrument, kind)
    sound.play(), faulty.play()
    assert faulty.station.world.terminal() == sound.station.world.terminal()


@pytest.mark.parametrize("driver", SCENES)
def test_after_a_reboot_it_answers_and_has_forgotten(driver: str) -> None:
    act = Act(SCENES[driver])
    act.station.set_fault(act.scene.instrument, "reboot")
    assert set(act.talk(*act.scene.ask)) <= {"b''", "None"}
    act.wait(20.0)
    login = act.scene.setup[:1] if driver == "neware_bts" else ()
    assert not {"b''", "None", "HangupError"} & set(act.talk(*login, act.scene.ask[0]))
    if act.scene.drives:
        assert not act.station.truth()["output_on"]


@pytest.mark.parametrize(
    ("driver", "kind", "why"),
    [
        ("plc_interlock", "crc", "no fault 'crc' on a modbus_tcp link"),
        ("ea_psb10000", "busy", "no fault 'busy' on a visa link"),
        ("ea_psb10000", "wrong_unit", "no fault 'wrong_unit' on a visa link"),
        ("plc_interlock", "drift", "no fault 'drift'; it can have"),
        ("icpdas_tm_th8", "output_refuses_off", "no fault 'output_refuses_off'; it can have"),
        ("keyence_sr1000", "coffee", "no fault 'coffee'; it can have"),
    ],
)
def test_a_fault_that_cannot_be_there_is_refused_by_name(driver: str, kind: str, why: str) -> None:
    act = Act(SCENES[driver])
    with pytest.raises(DocumentError, match="E-SIMULATION") as refused:
        act.station.set_fault(act.scene.instrument, kind)
    assert why in str(refused.value)
