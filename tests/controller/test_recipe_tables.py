"""Tables that a recipe's profiles name: they lie beside it, are read once, and become part of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from config import DocumentError
from controller.recipes import MAX_TABLES, load_recipe, tables_beside, tables_of
from tests.sequences.checking import HANGUL, ROLES, WINDOW
from tests.sequences.playing import document
from tests.sequences.test_corpus import Work

GOOD = "time_s,current_a\n0,-30\n10,15.5\n20,0\n"


def driving(*files: str) -> str:
    steps = [{"step": "profile", "name": f"drive{k}", "file": file, **WINDOW} for k, file in enumerate(files)]
    return yaml.safe_dump(document(*steps, roles=ROLES), allow_unicode=True)


def test_a_table_beside_the_recipe_becomes_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "wltp.csv").write_text(GOOD)
    recipe, _ = load_recipe(driving("wltp.csv"), "x.yaml", tables=tables_beside(tmp_path))
    (step,) = recipe.steps
    table: Any = step.table  # type: ignore[union-attr]
    assert table == [(0.0, -30.0), (10.0, 15.5), (20.0, 0.0)]
    (tmp_path / "wltp.csv").write_text(GOOD.replace("15.5", "15.6"))
    changed, _ = load_recipe(driving("wltp.csv"), "x.yaml", tables=tables_beside(tmp_path))
    assert changed.content_hash != recipe.content_hash


def test_a_table_that_is_named_often_is_read_once() -> None:
    read: list[str] = []

    def tables(name: str) -> str:
        read.append(name)
        return GOOD

    recipe, _ = load_recipe(driving(*["a.csv"] * 50), "x.yaml", tables=tables)
    assert len(recipe.steps) == 50
    assert read == ["a.csv"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("../../etc/passwd", GOOD, "a CSV file beside the recipe"),
        ("/etc/passwd.csv", GOOD, "a CSV file beside the recipe"),
        ("a.csv/../b.csv", GOOD, "a CSV file beside the recipe"),
        ("A.csv", GOOD, "a CSV file beside the recipe"),
        ("other.csv", GOOD, "was not sent"),
        ("a.csv", "", "first row must be"),
        ("a.csv", "time,current\n0,1\n", "first row must be"),
        ("a.csv", GOOD + "30\n", "row 5 is not two plain numbers"),
        ("a.csv", GOOD + "30,nan\n", "row 5 is not two plain numbers"),
        ("a.csv", GOOD + "30,1e9\n", "row 5 is not two plain numbers"),
        ("a.csv", GOOD + "30,=1+1\n", "row 5 is not two plain numbers"),
        ("a.csv", "time_s,current_a\n0,1\n", "a table has two rows at least"),
        ("a.csv", "time_s,current_a\n5,1\n6,0\n", "must begin at 0 s"),
    ],
)
def test_what_is_no_table_is_refused_at_its_name_in_both_languages(name: str, content: str, said: str) -> None:
    with pytest.raises(DocumentError) as error:
        load_recipe(driving(name), "x.yaml", tables=tables_of({"a.csv": content}))
    assert error.value.code == "E-TABLE"
    assert said in str(error.value)
    assert HANGUL.search(error.value.in_language("ko"))


def test_a_recipe_names_a_few_tables_and_no_more() -> None:
    names = [f"t{k}.csv" for k in range(MAX_TABLES + 1)]
    with pytest.raises(DocumentError, match=f"more than {MAX_TABLES} tables"):
        load_recipe(driving(*names), "x.yaml", tables=tables_of(dict.fromkeys(names, GOOD)))


def test_the_tables_of_all_profiles_together_are_bounded() -> None:
    text = "time_s,current_a\n" + "".join(f"{k},{k % 2}.000000000\n" for k in range(10_000))
    with pytest.raises(DocumentError, match="more than 1000000 characters"):
        load_recipe(driving(*["a.csv"] * 10), "x.yaml", tables=tables_of({"a.csv": text}))


def test_a_table_of_more_rows_than_a_profile_may_have_is_refused() -> None:
    text = "time_s,current_a\n" + "".join(f"{k},0\n" for k in range(20_001))
    with pytest.raises(DocumentError, match=r"'a\.csv': more than 20000 rows"):
        load_recipe(driving("a.csv"), "x.yaml", tables=tables_of({"a.csv": text}))


def test_a_long_table_costs_little_work() -> None:
    """A hundred thousand calls take some 20 ms: a row may cost a few of them and no more."""
    text = "time_s,current_a\n" + "".join(f"{k},{k % 40 - 20}.125\n" for k in range(20_000))
    source = driving("a.csv")
    with Work() as work:
        recipe, _ = load_recipe(source, "x.yaml", tables=tables_of({"a.csv": text}))
    (step,) = recipe.steps
    table: Any = step.table  # type: ignore[union-attr]
    assert len(table) == 20_000
    assert work.calls < 120_000


def test_a_table_may_stand_in_the_recipe_as_text() -> None:
    steps = [{"step": "profile", "name": "drive", "csv": GOOD.replace("current_a", "power_w"), **WINDOW}]
    source = yaml.safe_dump(document(*steps, roles=ROLES), allow_unicode=True)
    recipe, _ = load_recipe(source, "x.yaml")
    step: Any = recipe.steps[0]
    assert (step.of, step.table) == ("power", [(0.0, -30.0), (10.0, 15.5), (20.0, 0.0)])


@pytest.mark.parametrize("other", [{"rows": [["0 s", "1 A"], ["1 s", "0 A"]]}, {"of": "power"}])
def test_a_csv_table_speaks_for_itself(other: dict[str, Any]) -> None:
    steps = [{"step": "profile", "name": "drive", "csv": GOOD, **WINDOW, **other}]
    source = yaml.safe_dump(document(*steps, roles=ROLES), allow_unicode=True)
    with pytest.raises(DocumentError, match="has its own rows and gives current") as error:
        load_recipe(source, "x.yaml")
    assert error.value.code == "E-TABLE"
