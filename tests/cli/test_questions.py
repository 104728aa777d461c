"""What a recipe asks people: shown where they look, answered in their words; and a start that is only rehearsed."""

from __future__ import annotations

import copy
import os
import pty
import queue
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from controller.cli.answer import answer_of, question_lines
from controller.client import ApiError
from controller.journal.reader import JournalReader
from tests.cli.plant import CODE, ENVIRONMENT, EVALINE, PACED, REST, WITHIN, Data, Plant, a_plant, recipe
from tests.sequences.checking import HANGUL

CHOICE = {
    "name": "look", "step": "prompt", "text": {"en": "How is the case?", "ko": "케이스 상태는?"}, "answer": "choice",
    "choices": [{"en": "dented", "ko": "찌그러짐"}, {"en": "whole", "ko": "정상"}], "max_time": "10 min",
}  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    with a_plant(tmp_path_factory.mktemp("plant")) as plant:
        yield plant.up(rate=PACED)


def test_a_question_is_shown_by_run_and_status_and_answered_by_its_words(served: Plant) -> None:
    served.command("answer", "yes", "--station", "st01").says(
        4, "evaline: station st01 asks nothing now [E-ANSWER-REFUSED]"
    )
    child = served.begin(recipe(copy.deepcopy(CHOICE)), "--lang", "ko")
    served.daemon.until(lambda station: station["question"] is not None)

    shown = served.command("status").out.splitlines()
    asked = [line.strip() for line in shown if "question" in line or line.startswith("      ")]
    assert asked == [
        "question: How is the case?",
        "1  dented",
        "2  whole",
        "evaline answer --station st01 ...   (its number)",
    ]
    refused = served.command("answer", "burnt", "--station", "st01")
    refused.says(4, "evaline: 'burnt' is none of the choices: 1 (dented), 2 (whole) [E-ANSWER-REFUSED]")

    answered = served.command("answer", "whole", "--station", "st01")
    assert (answered.code, answered.out) == (0, "st01 EXECUTE\n")
    ended = child.ended()
    assert ended.code == 0
    assert "질문: 케이스 상태는?" in ended.out.splitlines()
    assert "  2  정상" in ended.out.splitlines()


def test_an_answer_of_a_station_that_is_not_there(served: Plant) -> None:
    served.command("answer", "yes", "--station", "st09").says(
        4, "evaline: there is no station 'st09'; known are st01 [E-STATION]"
    )


def test_a_dry_run_shows_the_plan_for_this_battery_and_starts_nothing(served: Plant) -> None:
    runs = served.command("runs", "--json").json
    shown = served.run(recipe(REST), "--dry")
    assert (shown.code, shown.err) == (0, "")
    lines = shown.out.splitlines()
    assert lines[0].startswith("short 1.0.0  on nmc_96s_60ah  at ")
    assert lines[-1] == "nothing is against a start now"
    assert served.command("runs", "--json").json == runs


def test_a_dry_run_that_would_be_refused_ends_with_4_and_every_reason(served: Plant) -> None:
    shown = served.run(recipe(REST), "--dry", dut="PHE96-000001")
    assert shown.code == 4
    assert shown.out.splitlines()[-2:] == [
        "a start would be refused now:",
        f"  scanned PHE96-000001, but the BMS says {CODE}; scan the battery that is on this station [E-DUT-MISMATCH]",
    ]
    plan = served.run(recipe(REST), "--dry", "--json", dut="PHE96-000001").json
    assert [reason["code"] for reason in plan["reasons"]] == ["E-DUT-MISMATCH"]


def test_tables_beside_a_recipe_and_parameters_go_along(served: Plant) -> None:
    drive = {"name": "drive", "step": "profile", "file": "drive.csv", "cell_voltage_min": "2.8 V",
             "cell_voltage_max": "4.15 V"}  # fmt: skip
    data = recipe(REST | {"duration": "$pause"}, drive, parameters={"pause": {"default": "1 h"}})
    served.write("drive.csv", "time_s,current_a\n0,-10\n5,0\n6,0\n")
    plan = served.run(data, "--dry", "--json", "--set", "pause=3 s").json
    assert [round(step["seconds"]) for step in plan["steps"]] == [3, 6]

    (served.directory / "drive.csv").unlink()
    missing = served.run(data, "--dry")
    missing.says(3, f"evaline: {served.directory}/drive.csv: cannot be read: No such file or directory [E-TABLE]")


def test_a_table_is_read_from_nowhere_but_beside_the_recipe(served: Plant) -> None:
    drive = {"name": "drive", "step": "profile", "file": "../wanted.yaml", "cell_voltage_min": "2.8 V",
             "cell_voltage_max": "4.15 V"}  # fmt: skip
    refused = served.run(recipe(drive), "--dry")
    assert refused.code == 3
    assert "a table is a CSV file beside the recipe" in refused.err


# --------------------------------------------------------------------------------------------------- at a terminal


class AtTerminal:
    """`evaline run` with a person at its terminal: a real pty."""

    def __init__(self, plant: Plant, data: Data, *options: str) -> None:
        self.master, slave = pty.openpty()
        file = str(plant.write("asked.yaml", data))
        arguments = ["run", file, "--station", "st01", "--dut", CODE, "--url", plant.daemon.url, *options]
        self.process = subprocess.Popen(
            [*EVALINE, *arguments], stdin=slave, stdout=slave, stderr=slave, cwd=plant.directory,
            env=ENVIRONMENT | {"TERM": "xterm"}, start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self._new: queue.Queue[str] = queue.Queue()
        self.seen = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with suppress(OSError):  # the other end is closed when the process has ended
            while read := os.read(self.master, 4096):
                self._new.put(read.decode(errors="replace"))
        self._new.put("")

    def until(self, text: str) -> None:
        """Wait until this is shown after everything that was waited for before."""
        while text not in self.seen:
            more = self._new.get(timeout=WITHIN)
            assert more, f"ended without {text!r}: {self.seen[-2000:]}"
            self.seen += more
        self.seen = self.seen.split(text, 1)[1]

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def ended(self) -> int:
        code = self.process.wait(WITHIN)
        self._reader.join(WITHIN)
        os.close(self.master)
        return code


INSPECT = {
    "name": "looks", "step": "inspect", "max_time": "10 min",
    "items": [
        {"name": "leak", "text": {"en": "Free of leaks?", "ko": "누액이 없습니까?"}},
        {"name": "dent", "text": {"en": "Free of dents?", "ko": "찌그러짐이 없습니까?"}},
    ],
}  # fmt: skip
CONFIRM = {"name": "clamped", "step": "prompt", "text": {"en": "Clamped?", "ko": "고정됨?"}, "max_time": "10 min"}
WEIGH = CONFIRM | {"name": "weigh", "text": {"en": "Weight?", "ko": "무게는?"}, "answer": "number"}


def answers(plant: Plant) -> list[Any]:
    reader = JournalReader(plant.journal)
    try:
        return [event.body["answer"] for event in reader.events(kind="answer", limit=1000)]
    finally:
        reader.close_reads()


def test_whoever_sits_at_the_terminal_is_asked_there(served: Plant) -> None:
    before = len(answers(served))
    person = AtTerminal(served, recipe(CONFIRM, WEIGH, copy.deepcopy(CHOICE), copy.deepcopy(INSPECT)))
    person.until("question: Clamped?")
    person.until("yes or no: ")
    person.type("perhaps\n")
    person.until("'perhaps' is no answer: it takes yes or no")
    person.until("yes or no: ")
    person.type("yes\n")
    person.until("question: Weight?")
    person.until("a number: ")
    person.type("412.5\n")
    person.until("question: How is the case?")
    person.until("1  dented")
    person.until("its number: ")
    person.type("2\n")
    person.until("Free of leaks? (good or bad): ")
    person.type("what?\n")
    person.until("'what?' is neither good nor bad")
    person.until("Free of leaks? (good or bad): ")
    person.type("good\n")
    person.until("Free of dents? (good or bad): ")
    person.type("good\n")
    person.until("verdict")
    assert person.ended() == 0
    assert answers(served)[before:] == [True, 412.5, 2, {"leak": True, "dent": True}]


def test_a_person_is_asked_in_korean_and_may_answer_so(served: Plant) -> None:
    person = AtTerminal(served, recipe(copy.deepcopy(INSPECT)), "--lang", "ko")
    person.until("질문:")
    person.until("누액이 없습니까? (양호/불량): ")
    person.type("양호\n")
    person.until("찌그러짐이 없습니까? (양호/불량): ")
    person.type("불량\n")
    person.until("판정")
    assert person.ended() == 5


def test_a_question_that_is_answered_elsewhere_is_asked_no_longer(served: Plant) -> None:
    person = AtTerminal(served, recipe(CONFIRM, WEIGH))
    person.until("yes or no: ")
    assert served.command("answer", "yes", "--station", "st01").code == 0
    person.until("question: Weight?")
    person.until("a number: ")
    person.type("\x04")  # the end of the input: answered elsewhere
    person.until("evaline answer --station st01 ...   (a number)")
    assert served.command("answer", "7", "--station", "st01").code == 0
    person.until("verdict")
    assert person.ended() == 0


# ------------------------------------------------------------------------------------------- what people may say

ITEMS = [{"name": name, "text": {"en": f"{name}?", "ko": f"{name}?"}} for name in ("leak", "dent")]


def question(kind: str, items: list[Data] | None = None) -> Data:
    return {"number": 1, "answer": kind, "text": {"en": "?", "ko": "?"}, "items": items or [], "since": 0.0}


@pytest.mark.parametrize(
    ("kind", "words", "value"),
    [
        ("confirm", ["yes"], True),
        ("confirm", ["Y"], True),
        ("confirm", ["예"], True),
        ("confirm", ["no"], False),
        ("confirm", ["아니오"], False),
        ("number", ["412.5"], 412.5),
        ("number", ["-3"], -3.0),
        ("inspect", ["good"], {"leak": True, "dent": True}),
        ("inspect", ["leak=good", "dent=bad"], {"leak": True, "dent": False}),
        ("inspect", ["dent=불량", "leak=양호"], {"leak": True, "dent": False}),
    ],
)
def test_words_mean_what_people_mean_by_them(kind: str, words: list[str], value: Any) -> None:
    assert answer_of(question(kind, ITEMS if kind == "inspect" else None), words, "st01") == value


@pytest.mark.parametrize(
    ("kind", "words", "said"),
    [
        ("confirm", ["perhaps"], "'perhaps' is no answer: it takes yes or no"),
        ("number", ["much"], "'much' is no answer: it takes a number"),
        ("number", ["nan"], "'nan' is no answer: it takes a number"),
        ("inspect", ["leak=good"], "not answered: dent"),
        ("inspect", ["leak=good", "rust=bad"], "'rust=bad': write NAME=good or NAME=bad for each of leak, dent"),
        ("inspect", ["bad"], "'bad': write NAME=good or NAME=bad for each of leak, dent"),
    ],
)
def test_what_means_nothing_is_refused_with_what_would(kind: str, words: list[str], said: str) -> None:
    with pytest.raises(ApiError) as refused:
        answer_of(question(kind, ITEMS if kind == "inspect" else None), words, "st01")
    assert refused.value.lines == [f"{said} [E-ANSWER-REFUSED]"]


def test_an_inspection_lists_what_to_look_at() -> None:
    assert question_lines("st01", question("inspect", ITEMS), "en") == [
        "question:",
        "  leak  leak?",
        "  dent  dent?",
        "  evaline answer --station st01 ...   (good, or NAME=good NAME=bad for each)",
    ]


def test_refusals_speak_korean_too() -> None:
    for kind, words in (("confirm", ["글쎄"]), ("inspect", ["leak=good"]), ("inspect", ["bad"]), ("choice", ["3"])):
        with pytest.raises(ApiError) as refused:
            answer_of(question(kind, ITEMS), words, "st01", "ko")
        assert HANGUL.search(refused.value.lines[0])
    with pytest.raises(ApiError, match="지금 답할 질문이 없습니다"):
        answer_of(None, ["yes"], "st01", "ko")
