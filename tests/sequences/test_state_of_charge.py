"""What a run learns of its battery, and the standards' tests that go by it."""

from __future__ import annotations

from typing import Any

import pytest

from sequences import Dut, NoCurrent, Verdict
from tests.sequences.playing import CAPACITY, HPPC, Data, Player, cc, cccv, check, compute, rest, run

# -------------------------------------------------------------------------------------------------- state of charge


CHARGED = [cccv("fill", ends=["current <= C/10", "temperature_max >= 45 degC"])]


def charged(dut: Dut, *steps: Data, **more: Any) -> Player:
    """A full charge, then these steps."""
    player = run(dut, *CHARGED, *steps, **more).start().after(600.0, moved=10.0, cell_max=4.2, voltage=403.0)
    player.after(600.0, moved=2.0, current=5.0)
    del player.signals["current"]
    return player


def test_a_held_charge_makes_the_battery_known_to_be_full(dut: Dut) -> None:
    player = charged(dut, rest("r"))
    assert player.record("fill").reason == "current <= C/10"
    assert player.context.soc == 1.0
    player.after(1.0, moved=-5.0)
    assert player.program.scope(player._moment()).signal("soc") == pytest.approx(0.9)


@pytest.mark.parametrize(
    "ends",
    [["current <= C/10", "temperature_max >= 45 degC"], ["current <= C/10 or temperature_max >= 45 degC"]],
)
def test_a_charge_that_another_end_cut_short_makes_nothing_known(dut: Dut, ends: list[str]) -> None:
    player = run(dut, cccv("fill", ends=ends), rest("r")).start()
    player.after(600.0, moved=10.0, cell_max=4.2, voltage=403.0).after(60.0, temperature_max=45.0)
    assert player.at_work == ["r"]
    assert player.context.soc == 0.5


def test_a_charge_to_less_than_full_makes_nothing_known(dut: Dut) -> None:
    player = run(dut, cccv("fill", cell_voltage="4.1 V"), rest("r")).start()
    player.after(600.0, moved=10.0, cell_max=4.1, voltage=393.0).after(60.0, current=5.0)
    assert player.at_work == ["r"]
    assert player.context.soc == 0.5


def test_a_charge_that_ran_into_its_maximum_time_makes_nothing_known(dut: Dut) -> None:
    player = run(dut, cccv("fill", on_fail="next"), rest("r")).start().after(14400.0, moved=10.0)
    assert player.at_work == ["r"]
    assert player.context.soc == 0.5


def test_from_full_to_empty_the_capacity_is_learnt(dut: Dut) -> None:
    player = charged(dut, cc("a", ends=["depth >= 20 %"]), rest("b"), cc("empty"), rest("r"))
    player.after(1200.0, moved=-10.0).after(10.0).after(3000.0, moved=-34.0, cell_min=2.7)
    assert player.record("empty").reason == "cell voltage 2.7 V"
    assert player.context.soc == 0.0
    assert player.context.capacity == pytest.approx(44.0)


def test_charge_that_went_back_in_between_is_counted_net(dut: Dut) -> None:
    back = cc("back", "charge", ends=["step_time >= 5 s"])
    player = charged(dut, cc("a", ends=["step_time >= 5 s"]), back, cc("empty"), rest("r"))
    player.after(5.0, moved=-20.0).after(5.0, moved=4.0).after(5.0, moved=-30.0, cell_min=2.7)
    assert player.context.capacity == pytest.approx(46.0)


def test_a_discharge_that_ends_early_or_high_empties_nothing(dut: Dut) -> None:
    player = charged(dut, cc("a", ends=["depth >= 20 %"]), rest("r")).after(5.0, moved=-10.0)
    assert player.at_work == ["r"]
    assert player.context.soc == 1.0
    player = charged(dut, cc("a", cell_voltage="3 V"), rest("r")).after(5.0, moved=-40.0, cell_min=3.0)
    assert player.at_work == ["r"]
    assert player.context.soc == 1.0


def test_an_implausibly_small_capacity_is_not_learnt(dut: Dut) -> None:
    """A weak cell at its limit right after the charge says nothing of the battery's capacity."""
    player = charged(dut, cc("empty"), rest("r")).after(60.0, moved=-3.0, cell_min=2.6)
    assert player.context.capacity == 50.0
    assert player.context.soc == 0.0


def test_a_state_of_charge_may_be_set(dut: Dut) -> None:
    known = {"step": "set", "name": "known", "soc": "80 %"}
    player = run(dut, known, check("k", "soc >= 80 % and soc <= 80 %"), rest("r")).start()
    assert player.at_work == ["r"]


# ------------------------------------------------------------------------------------------ what standards prescribe


def cycled(dut: Dut, discharged: list[float], **more: Any) -> Player:
    """The capacity test with what each round's discharge gives, Ah."""
    player = run(dut, {**CAPACITY, **more}, compute("copy", "capacity_ah", "found"), rest("after")).start()
    for amount in discharged:
        player.after(3600.0, moved=40.0, cell_min=4.1, cell_max=4.2, voltage=403.0)
        player.after(600.0, current=2.9).after(5.0)
        del player.signals["current"]
        player.after(1800.0, cell_min=4.0, cell_max=4.1)
        player.after(7200.0, moved=-amount, cell_min=2.7, cell_max=2.8)
        player.after(1800.0, cell_min=3.0, cell_max=3.1)
    return player


def test_a_capacity_test_ends_when_its_newest_rounds_agree(dut: Dut) -> None:
    player = cycled(dut, [45.0, 46.5])
    assert player.at_work == ["after"]
    assert player.labels[:5] == [
        "test_charge (1/4)", "test_rest_charged (1/4)", "test_discharge (1/4)", "test_rest_discharged (1/4)",
        "test_charge (2/4)",
    ]  # fmt: skip
    assert player.record("copy").values == {"found": pytest.approx(45.75)}, "the mean of those that agree"


def test_only_the_newest_rounds_must_agree(dut: Dut) -> None:
    player = cycled(dut, [40.0, 46.0, 47.0])
    assert player.at_work == ["after"]
    assert player.record("copy").values == {"found": pytest.approx(46.5)}


def test_the_tolerance_is_a_share_of_the_rated_capacity(dut: Dut) -> None:
    """3 % of 60 Ah are 1.8 Ah."""
    assert cycled(dut, [45.0, 46.79]).at_work == ["after"]
    assert cycled(dut, [45.0, 46.81]).at_work == ["test_charge (3/4)"]


def test_capacities_that_never_agree_are_inconclusive_and_their_mean_is_kept(dut: Dut) -> None:
    player = cycled(dut, [40.0, 45.0, 40.0, 45.0])
    assert player.ended.verdict is Verdict.INCONCLUSIVE
    assert "4 capacities do not agree" in player.ended.reason
    assert player.context.variables["capacity_ah"] == [pytest.approx(42.5 * 3600)]
    assert cycled(dut, [40.0, 45.0, 40.0, 45.0], on_fail="next").at_work == ["after"]


def test_three_rounds_must_agree_when_three_are_asked_for(dut: Dut) -> None:
    assert cycled(dut, [45.0, 45.1], agree=3).at_work == ["test_charge (3/4)"]
    assert cycled(dut, [45.0, 45.1, 45.2], agree=3).at_work == ["after"]
    assert cycled(dut, [45.0, 45.1, 49.0, 45.2], agree=3).ended.verdict is Verdict.INCONCLUSIVE


def test_a_round_that_could_not_be_completed_ends_the_test(dut: Dut) -> None:
    player = run(dut, CAPACITY, rest("after")).start().after(5 * 3600.0)
    assert player.ended.verdict is Verdict.INCONCLUSIVE
    assert player.ended.reason == "maximum time of 18000 s"


def test_hppc_goes_down_from_state_of_charge_to_state_of_charge(dut: Dut) -> None:
    player = charged(dut, HPPC, rest("after"))
    assert player.at_work == ["h_move (1/2)"]
    player.after(1200.0, moved=-9.9, cell_min=3.9, cell_max=4.0)
    assert player.at_work == ["h_move (1/2)"]
    player.after(12.0, moved=-0.1)
    assert player.at_work == ["h_rest (1/2)"]
    player.after(600.0)
    assert player.program.active[0].sample_period == 0.1
    player.after(10.0, moved=-0.2)
    assert player.set_point == NoCurrent()
    player.after(40.0)
    assert player.at_work == ["h_move (2/2)"]
    player.after(1800.0, moved=-14.8).after(600.0).after(10.0).after(40.0)
    assert player.at_work == ["after"]


def test_hppc_uses_the_capacity_that_was_learnt(dut: Dut) -> None:
    """After a full discharge that gave 40 Ah, half of the charge is 20 Ah."""
    player = charged(dut, cc("empty"), cccv("refill"), {**HPPC, "soc": ["50 %"]}, rest("after"))
    player.after(4000.0, moved=-40.0, cell_min=2.7, cell_max=2.8)
    player.after(4000.0, moved=40.0, cell_min=4.1, cell_max=4.2, voltage=403.0).after(60.0, current=5.0)
    assert player.at_work == ["h_move (1/1)"]
    player.after(100.0, moved=-19.9, cell_min=3.6, cell_max=3.7)
    assert player.at_work == ["h_move (1/1)"]
    player.after(100.0, moved=-0.1)
    assert player.at_work == ["h_rest (1/1)"]
