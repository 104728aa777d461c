"""What the journal says in codes is said in words in both languages."""

from __future__ import annotations

import pytest

from controller.report.words import end_reason, outcome_reason
from tests.sequences.checking import HANGUL


@pytest.mark.parametrize(
    ("said", "korean"),
    [
        ("duration, clipped 3 times", "시간 경과, 전압 제한 3회"),
        ("soc 50.0%", "SOC 50.0%"),
        ("cut short: pulse 1 by cell voltage 2.7 V, pulse 2 by cell voltage 4.2 V",
         "조기 종료: 펄스 1: 셀 전압 2.7 V, 펄스 2: 셀 전압 4.2 V"),
        ("no code from label and BMS", "라벨과 BMS에서 코드를 읽지 못함"),
        ("no code from BMS", "BMS에서 코드를 읽지 못함"),
        ("the label says A, the run was started for B", "라벨의 코드 A, 시작할 때의 코드 B"),
        ("answered 412.5", "답: 412.5"),
        ("not measured: a, b", "측정되지 않음: a, b"),
        ("grade none, not certain", "등급 없음, 불확실"),
        ("grade B, certain", "등급 B, 확실"),
        ("computed", "계산 완료"),
        ("x is unknown", "x 값을 알 수 없음"),
        ("cells apart: not so: cell_spread ≤ 300 mV", "cells apart: 조건 불충족: cell_spread ≤ 300 mV"),
        ("temperature_max > 30 degC after 10 rounds", "10회 후에도 temperature_max > 30 degC"),
        ("5 capacities do not agree within 0.03 of the rated capacity",
         "용량 5회가 정격 용량의 0.03 이내로 일치하지 않음"),
        ("stopped: branch looking ended", "중지: 분기 looking 종료"),
        ("current <= C/10", "current ≤ C/10"),  # a condition is its own words
    ],
)  # fmt: skip
def test_why_a_step_ended(said: str, korean: str) -> None:
    assert end_reason(said).ko == korean
    assert not HANGUL.search(end_reason(said).en)


@pytest.mark.parametrize(
    ("said", "korean"),
    [
        ("cell_voltage_max: 4.26 V is above 4.25 V", "최고 셀 전압: 4.26 V, 상한 4.25 V 초과"),
        ("temperature_min: 3 degC is below 5 degC", "최저 온도: 3 degC, 하한 5 degC 미만"),
        ("the interlock chain opened: door", "인터록 체인이 열림: door"),
        ("the daemon ended while the run was active", "실행 중 데몬이 종료됨"),
        ("charge: maximum time of 3600 s", "charge: 최대 시간 3600 s"),
        ("looks: bad: leak", "looks: 불량: leak"),
        ("contactor open is not confirmed: no answer", "contactor open 확인되지 않음: no answer"),
        ("the output is on and 3 A flow without a run", "실행 없이 3 A 가 흐름 (출력 on)"),
        (
            "the daemon died in run st01-000001 in discharge; resume goes on in it, with an estimated 0.01 Ah counted "
            "in, or abort",
            "실행 st01-000001 의 discharge 중에 데몬이 종료됨. 재개(resume) 또는 중단(abort)하십시오",
        ),
    ],
)
def test_why_a_run_ended_before_its_recipe(said: str, korean: str) -> None:
    assert outcome_reason(said).ko == korean
