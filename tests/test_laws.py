"""Laws of the engine over every cell and executor: values, gradients, compilations, refusals."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.test_util import check_grads

import oracles
from rnnjax import sequence
from rnnjax.cells import CELLS, LinearCell, Structure
from rnnjax.config import InputError
from rnnjax.executors import EXECUTORS, Plan, fused
from rnnjax.sequence import clamp, scale
from rnnjax.unroll import Embedded, dropout_mask, unroll

STEPS, ROWS, INPUTS, UNITS = 7, 3, 3, 4
LENGTHS = np.array([4, 0, STEPS], np.int32)
DROPOUT, ZONEOUT = 0.4, 0.3

served = [
    (cell, run) for cell in CELLS for run in EXECUTORS if run != "associative" or issubclass(CELLS[cell], LinearCell)
]


def known_here(options: dict[str, Any]) -> dict[str, Any]:
    """Those of XLA's options that this version of it has."""

    def is_known(option: tuple[str, Any]) -> bool:
        try:
            jax.jit(lambda: 0, compiler_options=dict([option])).lower().compile()
        except jax.errors.JaxRuntimeError:
            return False
        return True

    return dict(filter(is_known, options.items()))


# XLA's default is to spend seconds on programs that run for microseconds.
CHEAP = known_here({"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False})
quick = partial(jax.jit, compiler_options=CHEAP)
every_cell = pytest.mark.parametrize("name", CELLS)


def slow_but_for(*quick_cells, pairs=served):
    """Every cell and executor; the tests of all but these cells are slow."""
    marked = [pytest.param(*pair, marks=() if pair[0] in quick_cells else pytest.mark.slow) for pair in pairs]
    return pytest.mark.parametrize(("name", "executor"), marked)


every_served = pytest.mark.parametrize(("name", "executor"), served)
# Gates side by side, a product that needs another, and a cell that is linear.
FEW = ("lstm", "gru_before", "min_gru")

FACTORS: dict[str, tuple] = {
    "cell": tuple(CELLS),
    "source": ("numbers", "tokens", "few embedded", "many embedded"),
    "zoneout": (None, "training", "evaluation"),
    "edit": (None, "clamp", "scale"),
    "remat": (None, "step", 3),
    "lengths": (False, True),
    "mask": (False, True),
    "reset": (False, True),
    "reverse": (False, True),
    "start": (False, True),
    "dropout": (False, True),
    "truncate": (None, 3),
    "unroll": (1, 2),
    "time_major": (False, True),
}


def all_pairs(factors: Mapping[str, tuple]) -> list[dict[str, Any]]:
    """Few rows in which any two levels of any two factors meet."""

    def pairs(levels):
        return {frozenset(two) for two in itertools.combinations(levels, 2)}

    missing = {
        frozenset(((f, a), (g, b)))
        for f, g in itertools.combinations(factors, 2)
        for a in factors[f]
        for b in factors[g]
    }
    rows = []
    while missing:
        levels = list(min(missing, key=lambda pair: sorted(map(repr, pair))))
        for factor in (f for f in factors if f not in dict(levels)):
            gains = {v: len(missing & {frozenset(((factor, v), set_)) for set_ in levels}) for v in factors[factor]}
            levels.append((factor, max(gains, key=gains.__getitem__)))
        missing -= pairs(levels)
        rows.append({factor: dict(levels)[factor] for factor in factors})
    return rows


PAIRWISE = all_pairs(FACTORS)
QUICK_ROWS = (1, 8, 9, 16, 24, 28, 30, 40)  # a cell each, but for the two that take longest to compile


def pairwise_case(k, case):
    """A test's parameter; most rows are left to the slow tests."""
    return pytest.param(case, id=f"{k}-{case['cell']}", marks=() if k in QUICK_ROWS else pytest.mark.slow)


def random_weights(name, seed=0):
    return oracles.random_weights(name, INPUTS, UNITS, np.random.default_rng(seed))


def make(name, *, dtype=jnp.float64, param_dtype=None, seed=0):
    """A cell with random weights."""
    param_dtype = param_dtype or dtype
    options: dict[str, Any] = {"projection": UNITS - 1} if name == "projected_lstm" else {}
    weights = random_weights(name, seed)
    options["initializers"] = dict.fromkeys(weights, "zeros")
    cell = CELLS[name](INPUTS, UNITS, rngs=nnx.Rngs(0), dtype=dtype, param_dtype=param_dtype, **options)
    for key, value in weights.items():
        getattr(cell, key)[...] = jnp.asarray(value, param_dtype)
    return cell


def random_state(cell, rng):
    return {field: jnp.asarray(rng.normal(size=(ROWS, width))) for field, width in cell.widths.items()}


def random_inputs(seed=0, dtype=jnp.float64):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(ROWS, STEPS, INPUTS)), dtype)


class Problem:
    """One row of `PAIRWISE`, with data: what to ask of `unroll`, and what the oracle says to it."""

    def __init__(self, case: dict[str, Any]):
        rng = np.random.default_rng(3)
        self.case, self.cell = case, make(case["cell"])
        self.graph, variables = nnx.split(self.cell)
        vocab = {"tokens": INPUTS, "few embedded": 5, "many embedded": 40}.get(case["source"], 1)
        numbers, table = rng.normal(size=(ROWS, STEPS, INPUTS)), rng.normal(size=(vocab, INPUTS))
        self.tokens = rng.integers(0, vocab, (ROWS, STEPS))
        self.mask = rng.random((ROWS, STEPS)) < 0.7 if case["mask"] else None
        self.reset = rng.random((ROWS, STEPS)) < 0.3 if case["reset"] else None
        self.lengths = LENGTHS if case["lengths"] else None
        rates = {field: ZONEOUT + k / 10 for k, field in enumerate(self.cell.widths)}
        self.rates = rates if case["zoneout"] else None
        noisy = case["zoneout"] == "training" or (case["dropout"] and case["zoneout"] is None)
        self.key = jax.random.key(5) if noisy else None
        source = {"numbers": numbers, "tokens": None}.get(case["source"], table)
        self.traced = {
            "variables": variables,
            "source": None if source is None else jnp.asarray(source),
            "state": random_state(self.cell, rng) if case["start"] else None,
            "initial": random_state(self.cell, rng) if case["start"] else None,
        }

    @property
    def edits(self):
        first, last = self.cell.fields[0], self.cell.fields[-1]
        return {
            None: (),
            "clamp": (clamp(first, 0.3, units=[0, 2], time=slice(1, 5)),),
            "scale": (scale(last, -0.5, units=1), scale(first, 1.5, time=[0, 3])),
        }[self.case["edit"]]

    def runs(self, executor):
        """Whether `executor` says that it can do this."""
        if executor != "associative":
            return True
        edited = any(edit.field in self.cell.state for edit in self.edits)
        return isinstance(self.cell, LinearCell) and not (edited or self.rates or self.case["truncate"])

    def unrolled(self, traced, *, executor, **options):
        """What the engine says, batch-major."""
        case = self.case
        flip = partial(jnp.swapaxes, axis1=0, axis2=1) if case["time_major"] else jnp.asarray
        source, tokens = traced["source"], flip(self.tokens)
        inputs = {"numbers": lambda: flip(source), "tokens": lambda: tokens}.get(
            case["source"], lambda: Embedded(tokens, source)
        )()
        options = {name: case[name] for name in ("remat", "unroll")} | options
        result = unroll(
            nnx.merge(self.graph, traced["variables"]),
            inputs,
            state=traced["state"],
            initial=traced["initial"],
            lengths=self.lengths,
            mask=None if self.mask is None else flip(self.mask),
            reset=None if self.reset is None else flip(self.reset),
            reverse=case["reverse"],
            record=self.cell.fields,
            edit=self.edits,
            key=self.key,
            recurrent_dropout=DROPOUT if case["dropout"] else None,
            zoneout=self.rates,
            truncate=case["truncate"],
            time_major=case["time_major"],
            executor=executor,
            **options,
        )
        recorded = {name: flip(value) for name, value in result.recorded.items()}
        return {"outputs": flip(result.outputs), "state": result.state, "recorded": recorded}

    def loss(self, traced, *, executor, **options):
        found = self.unrolled(traced, executor=executor, **options)
        parts = [jnp.sum(jnp.sin(found["outputs"])), *(jnp.sum(jnp.cos(v)) for v in found["state"].values())]
        return sum(parts), found

    def expected(self, monkeypatch):
        """What the oracle says, given the noise that the engine drew."""
        case, widths = self.case, self.cell.widths
        numbers = {"numbers": lambda: self.traced["source"], "tokens": lambda: np.eye(INPUTS)[self.tokens]}.get(
            case["source"], lambda: self.traced["source"][self.tokens]
        )()
        dropped = zones = None
        if self.key is not None:
            dropout_key, zone_key = jax.random.split(self.key)
            if case["dropout"]:
                dropped = np.asarray(dropout_mask(dropout_key, DROPOUT, (ROWS, widths["h"]), jnp.float64))
            zones = {
                field: jax.random.bernoulli(jax.random.fold_in(zone_key, k), rate, (STEPS, ROWS, widths[field]))
                for k, (field, rate) in enumerate(sorted((self.rates or {}).items()))
            }
            zones = {field: np.swapaxes(zone, 0, 1) for field, zone in zones.items()}
        elif self.rates:
            expect_zoneout(monkeypatch, case["cell"], self.rates)
        return oracles.unroll(
            case["cell"],
            random_weights(case["cell"]),
            np.asarray(numbers),
            state=self.traced["state"],
            initial=self.traced["initial"],
            mask=self.mask,
            lengths=self.lengths,
            reset=self.reset,
            reverse=case["reverse"],
            recurrent_dropout=dropped,
            zoneout=zones,
            edits=[(e.field, e.kind, selected(e, self.cell), e.value) for e in self.edits],
        )


def selected(edit, cell):
    """Where an edit acts: [time, batch, width]."""
    where = np.zeros((STEPS, ROWS, cell.widths.get(edit.field, cell.units)), bool)
    time = np.arange(STEPS) if edit.time is None else np.arange(STEPS)[edit.time]
    units = np.arange(where.shape[2]) if edit.units is None else np.atleast_1d(edit.units)
    where[np.ix_(time, np.arange(ROWS), units)] = True
    return where


def expect_zoneout(monkeypatch, name, rates):
    """Makes the oracle's step keep the expected share of the old state."""
    oracle = oracles.CELLS[name]

    def step(w, s, u, d, at):
        new = oracle.step(w, s, u, d, at)
        return {field: rates[field] * s[field] + (1 - rates[field]) * value for field, value in new.items()}

    monkeypatch.setitem(oracles.CELLS, name, oracle._replace(step=step))


def assert_same(actual, expected, tolerance=1e-12):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for (path, a), b in zip(jax.tree.leaves_with_path(actual), jax.tree.leaves(expected), strict=True):
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=name)


def assert_zero(tree):
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(tree))


def value_and_gradient(loss):
    return quick(jax.value_and_grad(loss, has_aux=True))


def plain_loss(graph, variables, inputs, start, executor, **options):
    """A number that depends on everything, for laws that need no more than a cell, inputs and a state."""
    result = unroll(nnx.merge(graph, variables), inputs, state=start, executor=executor, **options)
    return jnp.sum(jnp.sin(result.outputs)) + sum(jnp.sum(jnp.cos(v)) for v in result.state.values())


# Values and gradients


@pytest.mark.parametrize("case", [pairwise_case(*item) for item in enumerate(PAIRWISE)])
def test_every_executor_computes_the_oracles_numbers_and_the_gradient_of_the_scan(case, x64, monkeypatch):
    problem = Problem(case)
    expected = problem.expected(monkeypatch)
    plain = value_and_gradient(partial(problem.loss, executor="scan", remat=None, unroll=1))
    (_, found), gradient = plain(problem.traced)
    assert_same(found, expected)
    for executor in EXECUTORS:
        if not problem.runs(executor):
            with pytest.raises(InputError, match="cannot run"):
                jax.eval_shape(partial(problem.unrolled, executor=executor), problem.traced)
        elif executor != "scan" or case["remat"]:
            (_, found), other = value_and_gradient(partial(problem.loss, executor=executor))(problem.traced)
            assert_same(found, expected)
            assert_same(other, gradient)
            if executor == "fused":  # without a gradient it stores less: another program
                assert_same(quick(partial(problem.unrolled, executor=executor))(problem.traced), expected)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in FEW else pytest.mark.slow) for name in CELLS])
def test_an_input_part_made_in_pieces_is_the_one_made_at_once(name, reverse, x64, monkeypatch):
    plain: dict[str, Any] = {factor: levels[0] for factor, levels in FACTORS.items()}
    problem = Problem({**plain, "cell": name, "mask": True, "reset": True, "start": True, "reverse": reverse})
    every = f"f64[{STEPS * ROWS},{sum(problem.cell.gate_widths('input').values())}] = dot_general"

    def computed():
        values, loss = (partial(call, executor="fused") for call in (problem.unrolled, problem.loss))
        (_, found), gradient = value_and_gradient(loss)(problem.traced)
        return quick(values)(problem.traced), found, gradient, every in str(jax.make_jaxpr(values)(problem.traced))

    *whole, at_once = computed()
    monkeypatch.setattr(fused, "LARGE", 0)
    monkeypatch.setattr(fused, "PIECE", 3 * ROWS * UNITS * len(problem.cell.gates) * 8)  # of seven steps: 3, 3 and 1
    *pieces, still = computed()
    assert at_once and not still
    assert_same(pieces, whole)


@slow_but_for("gru_before", "min_gru")
def test_gradients_agree_with_finite_differences(name, executor, x64):
    cell = make(name)
    graph, variables = nnx.split(cell)

    @jax.jit
    def loss(variables, inputs, start, key):
        noise = {"recurrent_dropout": DROPOUT, "lengths": LENGTHS, "key": key}
        return plain_loss(graph, variables, inputs, start, executor, **noise)

    modes = ("fwd", "rev") if executor == "scan" else ("rev",)
    for seed in range(8):
        arguments = (variables, random_inputs(seed), random_state(cell, np.random.default_rng(seed)))
        f = partial(loss, key=jax.random.key(seed))
        check_grads(f, arguments, order=1, modes=modes, rtol=1e-6, atol=1e-6, eps=1e-5)


@pytest.mark.parametrize("name", ["lstm", "gru_before", "ctrnn", "min_gru"])
def test_gradients_by_edits_and_by_the_rate_of_zoneout(name, x64):
    cell, inputs = make(name), random_inputs()
    first, last = cell.fields[0], cell.fields[-1]

    def loss(numbers, executor):
        edits = clamp(first, numbers[0], units=1, time=2), scale(last, numbers[1], time=slice(3, 6))
        rates = dict.fromkeys(cell.state, numbers[2])
        result = unroll(cell, inputs, edit=edits, zoneout=rates, lengths=LENGTHS, executor=executor)
        return jnp.sum(jnp.sin(result.outputs))

    gradient = {
        run: quick(jax.grad(partial(loss, executor=run)))(jnp.array([0.3, 1.2, 0.4])) for run in ("scan", "fused")
    }
    assert_same(gradient["fused"], gradient["scan"])
    assert np.all(gradient["scan"])


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in FEW else pytest.mark.slow) for name in CELLS])
def test_second_derivatives(name, x64):
    cell, inputs = make(name), random_inputs()
    graph, variables = nnx.split(cell)
    start = random_state(cell, np.random.default_rng(1))
    traced = (variables, inputs, start)
    direction = jax.tree.map(lambda v: jnp.cos(jnp.arange(v.size, dtype=v.dtype)).reshape(v.shape), traced)

    def along(traced, executor):
        gradient = jax.grad(lambda traced: plain_loss(graph, *traced, executor=executor, lengths=LENGTHS))(traced)
        return sum(jnp.vdot(g, d) for g, d in zip(*map(jax.tree.leaves, (gradient, direction)), strict=True))

    product = {run: quick(jax.grad(partial(along, executor=run)))(traced) for run in ("scan", "fused")}
    assert_same(product["fused"], product["scan"])


@every_served
def test_forward_mode_is_the_scans(name, executor, x64):
    cell, inputs = make(name), random_inputs()
    graph, variables = nnx.split(cell)

    def loss(inputs):
        return plain_loss(graph, variables, inputs, None, executor)

    if executor == "fused":
        with pytest.raises(TypeError, match="forward-mode"):
            jax.jvp(loss, (inputs,), (inputs,))
    else:
        _, tangent = quick(lambda v: jax.jvp(loss, (v,), (v,)))(inputs)
        np.testing.assert_allclose(tangent, jnp.vdot(quick(jax.grad(loss))(inputs), inputs), rtol=1e-10)


@pytest.mark.parametrize(
    ("name", "executor", "reverse"),
    [
        pytest.param(name, executor, reverse, marks=() if reverse == bool(k % 2) else pytest.mark.slow)
        for k, name in enumerate(CELLS)
        for executor in ("fused", "scan")
        for reverse in (False, True)
    ],
)
def test_truncation_cuts_the_gradient_and_nothing_else(name, executor, reverse, x64):
    cell, inputs = make(name), random_inputs()
    last = slice(0, STEPS % 3) if reverse else slice(STEPS - STEPS % 3, STEPS)

    @quick
    def both(inputs):
        def shown(inputs):
            result = unroll(cell, inputs, truncate=3, executor=executor, reverse=reverse)
            return jnp.sum(result.outputs[:, last]), result.outputs

        whole = unroll(cell, inputs, executor=executor, reverse=reverse).outputs
        return whole, jax.grad(shown, has_aux=True)(inputs)

    whole, (gradient, outputs) = both(inputs)
    np.testing.assert_allclose(outputs, whole, rtol=1e-13, atol=1e-15)  # two programs: their last bits may differ
    inside = np.zeros(STEPS, bool)
    inside[last] = True
    assert_zero(gradient[:, ~inside])
    assert np.all(np.any(gradient[:, inside], axis=2))


def test_a_lookup_of_many_symbols_has_the_gradient_of_few(x64, monkeypatch):
    tokens = jnp.array([[0, 3, 3], [1, 0, 4]])
    gradient = jnp.arange(12.0).reshape(2, 3, 2)
    few = sequence.lookup_gradient(tokens, gradient, 5)
    monkeypatch.setattr(sequence, "ONE_HOT_LIMIT", 4)
    np.testing.assert_array_equal(sequence.lookup_gradient(tokens, gradient, 5), few)
    assert_zero(few[2])


# Records, padding, types, members


@slow_but_for(*FEW)
def test_recording_changes_nothing(name, executor):
    cell, inputs = make(name, dtype=jnp.float32), random_inputs(dtype=jnp.float32)
    graph, variables = nnx.split(cell)

    @partial(jax.jit, static_argnums=1)
    def run(inputs, record):
        result = unroll(cell, inputs, record=record, lengths=LENGTHS, executor=executor)
        return result.outputs, result.recorded

    silent, _ = run(inputs, ())
    outputs, recorded = run(inputs, tuple(sequence.recordable(cell)))
    assert set(recorded) == set(sequence.recordable(cell))
    np.testing.assert_array_max_ulp(outputs, silent, maxulp=2)
    np.testing.assert_array_equal(np.where(recorded["h"] == outputs, 0, outputs), 0)

    def through_records(variables, inputs):
        found = unroll(nnx.merge(graph, variables), inputs, record=tuple(sequence.recordable(cell)), executor=executor)
        return sum(jnp.sum(value) for value in found.recorded.values())

    assert_zero(quick(jax.grad(through_records, argnums=(0, 1)))(variables, inputs))


@every_served
def test_padding_is_never_seen(name, executor, x64):
    cell, inputs = make(name), random_inputs()
    graph, variables = nnx.split(cell)
    start = random_state(cell, np.random.default_rng(1))

    def loss(traced):
        variables, inputs, start = traced
        asked = {"state": start, "lengths": LENGTHS, "executor": executor, "record": ("h",)}
        result = unroll(nnx.merge(graph, variables), inputs, **asked)
        return jnp.sum(jnp.sin(result.outputs)) + sum(jnp.sum(jnp.cos(v)) for v in result.state.values()), result

    padding = (np.arange(STEPS) >= LENGTHS[:, None])[..., None]
    run = quick(jax.value_and_grad(loss, has_aux=True))
    clean = run((variables, inputs, start))
    dirty = run((variables, jnp.where(padding, jnp.nan, inputs), start))
    for a, b in zip(jax.tree.leaves(dirty), jax.tree.leaves(clean), strict=True):
        np.testing.assert_array_equal(a, b)
    (_, result), (_, by_inputs, _) = dirty
    assert_zero((result.outputs[1], np.where(padding, result.outputs, 0), np.where(padding, by_inputs, 0)))
    for field, value in result.state.items():
        np.testing.assert_array_equal(value[1], start[field][1])


@every_served
def test_half_precision_products_keep_states_whole(name, executor):
    inputs = random_inputs(dtype=jnp.float32)

    def run(dtype):
        cell = make(name, dtype=dtype, param_dtype=jnp.float32)
        return quick(lambda v: unroll(cell, v, record=cell.fields, executor=executor))(inputs)

    half, whole = run(jnp.bfloat16), run(jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(half)} == {jnp.dtype(jnp.float32)}
    np.testing.assert_allclose(half.outputs, whole.outputs, atol=0.03, rtol=0.03)
    assert np.any(half.outputs != whole.outputs)


@every_served
def test_gradients_have_the_type_of_what_they_are_by(name, executor):
    dtype = jnp.bfloat16
    cell = make(name, dtype=dtype)
    graph, variables = nnx.split(cell)
    traced = (variables, random_inputs(dtype=dtype), cell.initial_state(ROWS))

    def loss(traced):
        return plain_loss(graph, *traced, executor=executor)

    value, gradient = jax.eval_shape(jax.value_and_grad(loss), traced)
    assert value.dtype == jnp.float32
    assert jax.tree.map(lambda v: v.dtype, gradient) == jax.tree.map(lambda v: v.dtype, traced)


@slow_but_for(*FEW, pairs=[pair for pair in served if pair[1] != "scan"])
def test_members_side_by_side_are_members_alone(name, executor, x64):
    graph, _ = nnx.split(make(name))
    members = [nnx.split(make(name, seed=seed))[1] for seed in range(3)]
    inputs = random_inputs()

    def run(variables):
        return plain_loss(graph, variables, inputs, None, executor, lengths=LENGTHS, remat="step")

    both = jax.value_and_grad(run)
    together = quick(jax.vmap(both))(jax.tree.map(lambda *v: jnp.stack(v), *members))
    alone = quick(both)
    for k, member in enumerate(members):
        assert_same(jax.tree.map(lambda v, k=k: v[k], together), alone(member))


# Compilations


@slow_but_for(*FEW)
def test_other_numbers_need_no_other_program(name, executor, caplog):
    inputs, traced = random_inputs(dtype=jnp.float32), []

    @partial(quick, static_argnums=0)
    def run(graph, variables, rate, value):
        traced.append(graph)
        cell = nnx.merge(graph, variables)
        noise = {"recurrent_dropout": rate, "key": jax.random.key(0)}
        return unroll(cell, inputs, edit=clamp(cell.fields[0], value, units=0), executor=executor, **noise).outputs

    cells = [make(name, dtype=jnp.float32, seed=seed) for seed in range(2)]
    assert len({Structure(cell) for cell in cells}) == 1
    (graph, before), (other, after) = (nnx.split(cell) for cell in cells)
    first = run(graph, before, jnp.float32(0.1), jnp.float32(0.2))
    rate, value = jnp.float32(0.5), jnp.float32(0.4)
    with jax.log_compiles():
        second = run(other, after, rate, value)
    assert len(traced) == 1
    assert not [record for record in caplog.records if "Compiling" in record.getMessage()]
    assert np.any(first != second)


def test_cells_of_other_structure_are_other_programs():
    structures = [Structure(make("lstm", dtype=jnp.float32)), Structure(make("lstm", dtype=jnp.bfloat16))]
    for activation, use_bias in (("sine", True), (None, False)):
        cell = CELLS["lstm"](INPUTS, UNITS, activation=activation, use_bias=use_bias, rngs=nnx.Rngs(0))
        structures.append(Structure(cell))
    structures += [Structure(make(name, dtype=jnp.float32)) for name in CELLS if name != "lstm"]
    assert len(set(structures)) == len(structures)


# Refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": np.zeros((2, 5))}, "inputs of shape"),
        ({"inputs": np.zeros((2, 5, 7))}, "inputs of 7 features"),
        ({"inputs": Embedded(jnp.zeros((2, 5), int), jnp.zeros((9, 4)))}, "inputs of 4 features"),
        ({"inputs": np.zeros((2, 5, 3), int)}, "inputs of shape"),
        ({"lengths": np.ones(3, int)}, "lengths of shape"),
        ({"mask": np.ones((5, 2), bool)}, "mask for"),
        ({"reset": np.ones((2, 4), bool)}, "reset for"),
        ({"state": {"h": np.zeros((2, 4))}}, "a state of"),
        ({"state": {"h": np.zeros((2, 4)), "c": np.zeros((2, 5))}}, "a state of"),
        ({"initial": {"h": np.zeros((3, 4)), "c": np.zeros((3, 4))}}, "a state of"),
        ({"record": ("recurent.i",)}, "did you mean 'recurrent.i'"),
        ({"record": ("H",)}, "did you mean 'h'"),
        ({"edit": clamp("hh", 0.0)}, "did you mean 'h'"),
        ({"edit": clamp("recurrent.i", 0.0)}, "unknown quantity"),
        ({"zoneout": {"cc": 0.1}}, "did you mean 'c'"),
        ({"truncate": 0}, "truncate=0"),
        ({"executor": "fussed"}, "did you mean 'fused'"),
        ({"executor": "associative"}, "not affine"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_fix(options: dict[str, Any], message: str):
    cell = CELLS["lstm"](3, 4, rngs=nnx.Rngs(0))
    options = {"inputs": np.zeros((2, 5, 3), np.float32)} | options
    with pytest.raises(InputError, match=message):
        unroll(cell, options.pop("inputs"), **options)


@pytest.mark.parametrize(("where", "size"), [({"units": 4}, 4), ({"time": [5]}, 5)])
def test_an_edit_beyond_units_or_steps_is_refused(where, size):
    cell = CELLS["lstm"](3, 4, rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match=f"there are {size}"):
        unroll(cell, np.zeros((2, 5, 3), np.float32), edit=clamp("h", 0.0, **where))


@every_cell
def test_the_choice_of_an_executor_is_explained(name):
    plan = unroll(make(name, dtype=jnp.float32), random_inputs(dtype=jnp.float32)).plan
    assert isinstance(plan, Plan)
    assert plan.executor in EXECUTORS
    assert {plan.executor, *(other for other, _ in plan.others)} == set(EXECUTORS)
    assert str(plan).startswith(f"{plan.executor}: ")
