"""The table of a sweep, its curves, and what explains the differences: a union of parts, oracles, and honest nulls."""

from __future__ import annotations

import csv
import itertools
import sys

import numpy as np
import pytest

from rnnjax.config import InputError
from rnnjax.sweep.importance import importance, importance_of
from rnnjax.sweep.table import Curves, Table, direction_of, write_curves, write_part

pytest.importorskip("pyarrow")

RATE, UNITS = "train.learning_rate", "model.units"


def part(members, *, choices=None, status=None, metrics=None, steps: int | list[int] = 100):
    """Rows of a batch: each member's loss is its number, unless told otherwise."""
    members, n = list(members), len(list(members))
    return {
        "member": members,
        "program": [0] * n,
        **(choices or {RATE: [10.0 ** -(1 + m % 4) for m in members]}),
        "status": status or ["finished"] * n,
        "steps": [steps] * n if isinstance(steps, int) else steps,
        "seconds": [0.5] * n,
        **({"loss": [float(m) for m in members]} if metrics is None else metrics),
    }


# -- parts and their union


def test_readers_see_the_union_of_the_parts_in_the_order_of_members(tmp_path):
    write_part(tmp_path, 1, part([5, 4, 3]))
    assert Table(tmp_path).column("member").tolist() == [3, 4, 5]
    write_part(tmp_path, 0, part([0, 2, 1]))
    table = Table(tmp_path)
    assert table.columns == ("member", "batch", "program", RATE, "status", "steps", "seconds", "loss")
    assert (len(table), table.choices, table.metrics, table.left_out) == (6, (RATE,), ("loss",), {})
    assert table.column("batch").tolist() == [0, 0, 0, 1, 1, 1]
    assert table.column("loss").tolist() == [0, 1, 2, 3, 4, 5]
    assert [file.name for file in sorted((tmp_path / "table").iterdir())] == ["0000.parquet", "0001.parquet"]


def test_columns_have_the_kinds_that_are_promised(tmp_path):
    choices = {
        RATE: [1e-3, 1],
        UNITS: [64, 128],
        "model.cell": ["lstm", "gru"],
        "model.bidirectional": [True, False],
        "train.clip_norm": [None, 1.0],
        "mixed": ["auto", 3],
    }
    write_part(tmp_path, 0, part(np.arange(2), choices=choices, metrics={"loss": np.array([1, np.nan])}))
    table = Table(tmp_path)
    kinds = {name: table.column(name).dtype.kind for name in table.columns}
    integers = {"member", "batch", "program", "steps", UNITS}
    texts = {"status", "model.cell", "mixed"}
    assert {name for name, kind in kinds.items() if kind == "i"} == integers
    assert {name for name, kind in kinds.items() if kind == "O"} == texts
    assert kinds["model.bidirectional"] == "b"
    assert table.rows()[0] == {
        "member": 0, "batch": 0, "program": 0, RATE: 1e-3, UNITS: 64, "model.cell": "lstm", "model.bidirectional": True,
        "train.clip_norm": None, "mixed": "auto", "status": "finished", "steps": 100, "seconds": 0.5, "loss": 1.0,
    }  # fmt: skip
    assert table.rows()[1]["loss"] is None
    np.testing.assert_array_equal(table.column("train.clip_norm"), [np.nan, 1.0])
    assert table.column("mixed").tolist() == ["auto", "3"]
    assert list(table.arrays()) == list(table.columns)


def test_parts_of_different_columns_and_kinds_are_unified(tmp_path):
    write_part(tmp_path, 0, part([0, 1], choices={UNITS: [8, 16], "a": [1, 2], "b": [True, False]}))
    late = {"loss": [7.0, np.inf], "validation_loss": [6.0, 5.0]}
    choices = {UNITS: ["auto", "16"], "a": [0.5, None], "c": [3, 4], "b": [None, None]}
    write_part(tmp_path, 1, part([2, 3], choices=choices, metrics=late))
    table = Table(tmp_path)
    assert table.choices == (UNITS, "a", "b", "c")
    assert table.columns[-2:] == ("loss", "validation_loss")
    assert table.column(UNITS).tolist() == ["8", "16", "auto", "16"]
    np.testing.assert_array_equal(table.column("a"), [1, 2, 0.5, np.nan])
    np.testing.assert_array_equal(table.column("c"), [np.nan, np.nan, 3, 4])
    assert table.column("b").tolist() == [True, False, None, None]
    np.testing.assert_array_equal(table.column("validation_loss"), [np.nan, np.nan, 6, 5])
    assert table.column("loss").tolist() == [0, 1, 7, np.inf]


def test_texts_are_the_same_whether_one_part_or_two_made_them(tmp_path):
    values = [True, 3, 0.5, 1e-5, 1.0, "auto"]
    write_part(tmp_path / "one", 0, part(range(6), choices={"x": values}))
    for k, value in enumerate(values):
        write_part(tmp_path / "many", k, part([k], choices={"x": [value]}))
    one, many = Table(tmp_path / "one").column("x"), Table(tmp_path / "many").column("x")
    assert one.tolist() == many.tolist() == ["true", "3", "0.5", "1e-05", "1.0", "auto"]


def test_a_batch_that_is_written_again_replaces_itself(tmp_path):
    write_part(tmp_path, 0, part([0, 1]))
    write_part(tmp_path, 0, part([0, 1], metrics={"loss": [8.0, 9.0]}))
    assert Table(tmp_path).column("loss").tolist() == [8, 9]


def test_of_a_member_in_two_batches_the_row_with_the_most_steps_counts(tmp_path):
    write_part(tmp_path, 0, part([0, 1, 2], status=["stopped"] * 3, steps=[10, 10, 10]))
    write_part(tmp_path, 1, part([1], steps=50, metrics={"loss": [0.25]}))
    table = Table(tmp_path)
    assert table.column("member").tolist() == [0, 1, 2]
    assert (table.member(1)["status"], table.member(1)["steps"], table.member(1)["loss"]) == ("finished", 50, 0.25)


def test_what_cannot_be_read_is_left_out_and_named(tmp_path):
    whole = write_part(tmp_path, 0, part([0, 1]))
    folder = whole.parent
    (folder / "0001.parquet").write_bytes(whole.read_bytes()[:-20])
    (folder / "0002.parquet").write_bytes(b"")
    (folder / ".0003.parquet.part").write_bytes(b"not finished")
    write_curves(tmp_path, 4, {"member": [0], "step": [1]}).rename(folder / "0004.parquet")
    table = Table(tmp_path)
    assert table.column("member").tolist() == [0, 1]
    assert set(table.left_out) == {"0001.parquet", "0002.parquet", "0004.parquet"}
    assert "expected member" in table.left_out["0004.parquet"]


def test_a_sweep_that_has_not_begun_has_an_empty_table(tmp_path):
    table = Table(tmp_path)
    assert (len(table), table.rows(), table.best(), table.changed(), table.metric) == (0, [], [], (), "loss")
    assert table.column("steps").tolist() == []
    with pytest.raises(InputError, match="it is empty"):
        table.member(0)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({**part([0, 1]), "steps": [1]}, "columns differ in length"),
        (part([1, 1]), "twice in batch 3"),
        ({"program": [0], "member": [1]}, "expected member, batch, program"),
        ({name: values for name, values in part([0]).items() if name != "status"}, "expected member"),
        ({"loss": [1.0], **{name: values for name, values in part([0]).items() if name != "loss"}}, "expected member"),
    ],
)
def test_rows_that_are_no_table_are_refused(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        write_part(tmp_path, 3, rows)
    assert not (tmp_path / "table").exists()


def test_without_pyarrow_the_message_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for use in (lambda: write_part(tmp_path, 0, part([0])), lambda: Table(tmp_path), lambda: Curves(tmp_path).of()):
        with pytest.raises(InputError, match=r"pip install 'rnnjax\[sweep\]'"):
            use()


# -- questions to the table


def test_best_leaves_out_what_diverged_and_what_has_no_value(tmp_path):
    values = {"loss": [0.1, 3.0, np.nan, 2.0, -np.inf], "accuracy": [0.9, 0.1, 0.5, 0.1, 0.2]}
    write_part(tmp_path, 0, part(range(5), status=["diverged", *["finished"] * 4], metrics=values))
    table = Table(tmp_path)
    assert [row["member"] for row in table.best(n=9)] == [3, 1]
    assert [row["member"] for row in table.best("accuracy", n=9)] == [2, 4, 1, 3]  # equal ones in their order
    assert [row["member"] for row in table.best("accuracy", "min", n=1)] == [1]
    assert [row["member"] for row in table.best("train.learning_rate", "max")] == [4]


def test_divergence_is_infinitely_bad_and_what_is_running_is_not_judged(tmp_path):
    status = ["diverged", "finished", "running", "stopped"]
    write_part(tmp_path, 0, part(range(4), status=status, metrics={"loss": [0.5] * 4, "accuracy": [np.nan] * 4}))
    table = Table(tmp_path)
    np.testing.assert_array_equal(table.judged(), [np.inf, 0.5, np.nan, 0.5])
    np.testing.assert_array_equal(table.judged("accuracy"), [-np.inf, np.nan, np.nan, np.nan])
    assert Table(tmp_path / "table").judged().tolist() == []


def test_held_out_loss_is_what_members_are_compared_by(tmp_path):
    write_part(tmp_path, 0, part([0, 1], metrics={"loss": [1.0, 2.0], "validation_loss": [np.nan, np.nan]}))
    assert Table(tmp_path).metric == "loss"
    write_part(tmp_path, 1, part([2, 3], metrics={"loss": [1.0, 2.0], "validation_loss": [4.0, 3.0]}))
    table = Table(tmp_path)
    assert (table.metric, table.best()[0]["member"]) == ("validation_loss", 3)


@pytest.mark.parametrize(
    ("metric", "direction"),
    [("loss", "min"), ("validation_accuracy", "max"), ("exact_match", "max"), ("perplexity", "min")],
)
def test_direction_is_known_by_the_name(metric, direction):
    assert direction_of(metric) == direction


def test_questions_that_make_no_sense_name_what_would(tmp_path):
    write_part(tmp_path, 0, part([2, 5]))
    table = Table(tmp_path)
    with pytest.raises(InputError, match=rf"no column 'learning_rat'(?s:.*){RATE}"):
        table.column("learning_rat")
    with pytest.raises(InputError, match="'status' holds no numbers"):
        table.best("status")
    with pytest.raises(InputError, match=r"no member 3(?s:.*)2 members, 2 to 5"):
        table.member(3)
    with pytest.raises(InputError, match=r"is no sweep(?s:.*)did you mean '.*run-1'"):
        (tmp_path / "run-1").mkdir()
        Table(tmp_path / "run-2")


def test_changed_names_the_keys_that_differ(tmp_path):
    choices = {"a": [1, 1], "b": [1, 2], "c": [None, 2], "d": [None, None], "e": ["x", "x"]}
    write_part(tmp_path, 0, part([0, 1], choices=choices))
    assert Table(tmp_path).changed() == ("b", "c")


def test_the_whole_table_is_written_as_parquet_or_csv(tmp_path):
    hostile = ['=1+1, "x"\n<script>', None]
    write_part(tmp_path, 0, part([0, 1], choices={"a": hostile}, metrics={"loss": [0.1, np.nan]}))
    table = Table(tmp_path)
    import pyarrow.parquet

    assert pyarrow.parquet.read_table(table.write(tmp_path / "out" / "t.parquet")).to_pylist() == table.rows()
    with open(table.write(tmp_path / "t.csv"), newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["a"] for row in rows] == [hostile[0], ""]
    assert [row["loss"] for row in rows] == ["0.1", ""]
    with pytest.raises(InputError, match=r"choose \.csv"):
        table.write(tmp_path / "t.cvs")
    with pytest.raises(InputError, match="cannot write"):
        table.write(tmp_path / "t.csv" / "t.csv")


def test_a_hundred_thousand_rows_come_back_as_they_were(tmp_path):
    generator = np.random.default_rng(0)
    losses = generator.random(100_000)
    cells = np.array(["lstm", "gru"])[generator.integers(0, 2, 100_000)]
    for batch, members in enumerate(np.array_split(generator.permutation(100_000), 25)):
        choices = {RATE: members / 1e5, "model.cell": cells[members]}
        write_part(tmp_path, batch, {**part(members.tolist(), choices=choices), "loss": losses[members]})
    table = Table(tmp_path)
    np.testing.assert_array_equal(table.column("loss"), losses)
    np.testing.assert_array_equal(table.column("model.cell"), cells)
    assert table.best()[0]["member"] == np.argmin(losses)


# -- curves


def curve_rows(members, steps, metric="loss"):
    pairs = list(itertools.product(members, steps))
    member, step = np.array(pairs).T
    return {"member": member, "step": step, metric: member + step / 1000}


def test_curves_of_some_members(tmp_path):
    write_curves(tmp_path, 0, curve_rows([1, 0], [10, 20]))
    write_curves(tmp_path, 1, {**curve_rows([2, 3], [10]), "accuracy": [0.5, np.nan]})
    curves = Curves(tmp_path)
    lines = curves.of()
    assert list(lines) == ["member", "step", "loss", "accuracy"]
    assert lines["member"].tolist() == [0, 0, 1, 1, 2, 3]
    assert lines["step"].tolist() == [10, 20, 10, 20, 10, 10]
    np.testing.assert_array_equal(lines["accuracy"], [np.nan] * 4 + [0.5, np.nan])
    some = curves.of([3, 1, 99], ["loss"])
    assert (some["member"].tolist(), some["loss"].tolist()) == ([1, 1, 3], [1.01, 1.02, 3.01])
    assert curves.of([99])["member"].tolist() == []
    assert Curves(tmp_path / "nowhere").of()["step"].tolist() == []


def test_a_grid_of_curves_has_a_row_a_member_as_asked(tmp_path):
    write_curves(tmp_path, 0, curve_rows([0, 1], [10, 20]))
    write_curves(tmp_path, 1, curve_rows([7], [20, 30]))
    steps, values = Curves(tmp_path).grid("loss", [7, 99, 0])
    assert steps.tolist() == [10, 20, 30]
    nan = np.nan
    np.testing.assert_allclose(values, [[nan, 7.02, 7.03], [nan] * 3, [0.01, 0.02, nan]])
    with pytest.raises(InputError, match=r"no curve of 'lss'(?s:.*)choose loss"):
        Curves(tmp_path).grid("lss", [0])


def test_a_line_that_is_there_twice_counts_once_the_later_file_wins(tmp_path):
    write_curves(tmp_path, 0, {"member": [0, 0], "step": [1, 2], "loss": [5.0, 6.0]})
    write_curves(tmp_path, 1, {"member": [0], "step": [2], "loss": [7.0]})
    assert Curves(tmp_path).of()["loss"].tolist() == [5, 7]


# -- importance


def ishigami(n, seed=0):
    x = np.random.default_rng(seed).uniform(-np.pi, np.pi, (3, n))
    return dict(zip("abc", x, strict=True)), np.sin(x[0]) + 7 * np.sin(x[1]) ** 2 + 0.1 * x[2] ** 4 * np.sin(x[0])


def test_shares_are_sobol_indices():
    """Ishigami's function has S1 = 0.3139, S2 = 0.4424, S3 = 0, S13 = 0.2437 (Saltelli et al. 2008)."""
    found = importance(*ishigami(10_000), ranks=False)
    shares = {each.keys: each.share for each in (*found.choices, *found.pairs)}
    expected = {("a",): 0.3139, ("b",): 0.4424, ("c",): 0, ("a", "b"): 0, ("a", "c"): 0.2437, ("b", "c"): 0}
    assert shares.keys() == expected.keys()
    for keys, share in expected.items():  # groups of members see a little less than all, along two axes less
        assert share - 0.04 <= shares[keys] <= share + 0.015, keys
    assert {each.keys for each in (*found.choices, *found.pairs) if each.clear} == {("a",), ("b",), ("a", "c")}
    assert found.choices[0].keys == ("b",)
    assert found.foremost() == ("b", "a")


def test_the_share_of_levels_is_epsilon_squared():
    generator = np.random.default_rng(1)
    levels = generator.integers(0, 4, 60)
    values = levels**2 + generator.normal(0, 3, 60)
    (found,) = importance({"x": levels}, values, ranks=False).choices
    within = sum(np.sum((values[levels == k] - values[levels == k].mean()) ** 2) for k in range(4))
    total = np.sum((values - values.mean()) ** 2)
    assert found.share == pytest.approx(1 - (within / (60 - 4)) / (total / (60 - 1)), abs=1e-12)


def test_a_pair_of_levels_explains_what_two_way_analysis_of_variance_says():
    generator = np.random.default_rng(2)
    a, b = np.tile(np.arange(3), 80), np.repeat(np.arange(2), 120)
    values = a + 2.0 * b + 1.5 * (a == 1) * (b == 0) + generator.normal(0, 1, 240)
    cell = {(i, j): values[(a == i) & (b == j)] for i in range(3) for j in range(2)}
    mean, of_a = values.mean(), [values[a == i].mean() for i in range(3)]
    of_b = [values[b == j].mean() for j in range(2)]
    both = sum(len(v) * (v.mean() - of_a[i] - of_b[j] + mean) ** 2 for (i, j), v in cell.items())  # balanced
    within = sum(np.sum((v - v.mean()) ** 2) for v in cell.values())
    (found,) = importance({"a": a, "b": b}, values, ranks=False).pairs
    assert found.share == pytest.approx((both - 2 * within / (240 - 6)) / np.sum((values - mean) ** 2), abs=1e-12)
    assert found.clear


def test_choices_without_effect_are_named_as_seldom_as_promised():
    false, below = 0, []
    for seed in range(60):
        generator = np.random.default_rng(seed)
        choices = {
            "number": generator.random(200),
            "levels": generator.integers(0, 5, 200),
            "text": np.array(["x", "y"])[generator.integers(0, 2, 200)],
        }
        found = importance(choices, generator.standard_cauchy(200), permutations=100, seed=seed)
        false += any(each.clear for each in (*found.choices, *found.pairs))
        below += [each.share < each.null for each in (*found.choices, *found.pairs)]
    assert false <= 12  # two tests at 5 %: 6 on average, more than 12 once in a hundred times
    assert 0.9 < np.mean(below) < 0.99  # and 95 % of shares are below their nulls


def test_a_pair_is_not_named_for_the_effects_of_its_choices():
    false = 0
    for seed in range(30):
        generator = np.random.default_rng(seed)
        a, b = generator.integers(0, 4, 300), generator.integers(0, 4, 300)
        false += importance({"a": a, "b": b}, 3 * a + 2 * b + generator.normal(0, 1, 300), ranks=False).pairs[0].clear
    assert false <= 5


def test_exploded_losses_do_not_decide_and_scales_do_not_matter():
    generator = np.random.default_rng(3)
    rate = 10 ** generator.uniform(-4, -1, 400)
    loss = (np.log10(rate) + 2) ** 2 + 0.1 * generator.random(400)
    one = importance({"rate": rate, "noise": generator.random(400)}, loss)
    assert one.choices[0].keys == ("rate",)
    assert one.choices[0].share > 0.9
    exploded = np.where(loss > np.quantile(loss, 0.97), 10 ** (30 * loss), loss)
    other = importance({"rate": np.log10(rate), "noise": generator.random(400)}, exploded)
    assert other.choices[0].share == pytest.approx(one.choices[0].share, abs=1e-9)


def test_infinite_values_rank_last_and_missing_ones_are_left_out():
    x = np.arange(100.0)
    values = np.where(x < 50, np.inf, 0.0)
    values[:10] = np.nan
    found = importance({"x": x}, values)
    assert (found.members, found.choices[0].clear) == (90, True)
    with pytest.raises(InputError, match="infinite"):
        importance({"x": x}, values, ranks=False)


def test_a_conditional_choice_is_judged_among_those_that_have_it():
    generator = np.random.default_rng(4)
    sgd = np.arange(400) % 2 == 0
    momentum = np.where(sgd, generator.random(400), np.nan)
    values = 5.0 * sgd + 0.1 * generator.random(400)
    kept = importance({"momentum": momentum}, values, conditional=["momentum"]).choices[0]
    assert (kept.members, kept.clear) == (200, False)
    assert importance({"momentum": momentum}, values).choices[0].clear  # where none is a choice like others
    with pytest.raises(InputError, match=r"no choice 'momntum'(?s:.*)momentum"):
        importance({"momentum": momentum}, values, conditional=["momntum"])


def test_what_cannot_be_judged_is_said():
    names = {"same": [1] * 30, "other": [f"run{k}" for k in range(30)], "x": list(range(30))}
    found = importance(names, np.random.default_rng(0).random(30))
    assert found.left_out == {"same": "all members have the same", "other": "hardly two members have the same"}
    assert [each.keys for each in found.choices] == [("x",)]
    assert found.foremost() is None
    with pytest.raises(InputError, match="3 members have a value"):
        importance({"x": range(4)}, [1.0, 2, 3, np.nan])
    with pytest.raises(InputError, match=r"'x' \[3\]"):
        importance({"x": range(3)}, [1.0, 2, 3, 4])


def test_members_that_all_do_the_same_show_no_effect():
    found = importance({"x": np.arange(50), "y": np.arange(50) % 2}, np.ones(50))
    assert [(each.share <= 0, each.clear) for each in (*found.choices, *found.pairs)] == [(True, False)] * 3
    assert found.rest == 1


def test_the_same_question_has_the_same_answer():
    choices, values = ishigami(300)
    assert importance(choices, values) == importance(choices, values)
    assert str(importance(choices, values).table()) == str(importance(choices, values).table())


def test_importance_of_a_table_counts_divergence_as_the_worst(tmp_path):
    generator = np.random.default_rng(5)
    rate = 10 ** generator.uniform(-4, 0, 120)
    status = np.where(rate > 0.1, "diverged", "finished")
    status[:5] = "running"
    losses = np.where(status == "diverged", np.nan, generator.random(120))
    rows = part(range(120), choices={RATE: rate, "seed": np.arange(120) % 3}, status=list(status))
    write_part(tmp_path, 0, {**rows, "loss": losses, "accuracy": -losses})
    for metric in (None, "accuracy"):
        found = importance_of(Table(tmp_path), metric)
        assert found.members == 115
        assert [(each.keys, each.clear) for each in found.choices] == [((RATE,), True), (("seed",), False)]
    assert "no clear effect" in str(found.table())
    with pytest.raises(InputError, match="no column 'los'"):
        importance_of(Table(tmp_path), "los")


@pytest.mark.slow
def test_ranking_agrees_with_the_functional_anova_of_a_random_forest():
    pytest.importorskip("sklearn")
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    generator = np.random.default_rng(6)
    x = {name: generator.random(240) for name in "abcd"}
    values = 4 * x["a"] + 2 * np.sin(6 * x["b"]) + x["c"] + 0.2 * generator.standard_normal(240)
    spread = {name: optuna.distributions.FloatDistribution(0, 1) for name in x}
    study = optuna.create_study()
    for k, value in enumerate(values):
        chosen = {name: float(column[k]) for name, column in x.items()}
        study.add_trial(optuna.trial.create_trial(params=chosen, distributions=spread, value=float(value)))
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    oracle = optuna.importance.get_param_importances(study, evaluator=evaluator)
    ours = {each.keys[0]: max(0.0, each.share) for each in importance(x, values, ranks=False).choices}
    total = sum(ours.values())
    assert list(ours)[:3] == list(oracle)[:3]
    for name, share in oracle.items():
        assert ours[name] / total == pytest.approx(share, abs=0.06)
