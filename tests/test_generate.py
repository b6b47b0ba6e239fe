"""Laws of sampling, judged by softmax and argmax written out by hand."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal

from rnnjax.config import InputError
from rnnjax.generate import _generate, choose, generate
from rnnjax.layers import ModelConfig

VOCAB = 6
ROWS = 3000
LONGEST = 16


@cache
def model() -> Any:
    built = ModelConfig(cell="lstm", units=5, embedding=3).build(
        VOCAB, VOCAB, read="every", symbols=True, rngs=nnx.Rngs(0)
    )
    built.readout.kernel[...] = built.readout.kernel[...] * 20  # far from uniform
    return built


@cache
def forward() -> Any:
    graph, variables = nnx.split(model())
    compiled = jax.jit(lambda variables, tokens: nnx.merge(graph, variables).unroll(tokens).outputs)
    return partial(compiled, variables)


def logits_after(tokens: Any) -> np.ndarray:
    """Logits of the symbol after `tokens`, from the initial state; one shape for any length, so one compilation."""
    padded = np.zeros((1, LONGEST), np.int32)
    padded[0, : len(tokens)] = tokens
    return np.asarray(forward()(padded))[0, len(tokens) - 1]


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(np.asarray(logits, np.float64) - logits.max())
    return powers / powers.sum()


def prompts(*texts: list[int]) -> list[np.ndarray]:
    return [np.asarray(text, np.int32) for text in texts]


PROMPTS = prompts([1], [0, 2, 4], [5, 5, 1, 3])


def test_temperature_zero_takes_the_likeliest():
    found = generate(model(), PROMPTS, jax.random.key(0), length=8, temperature=0.0)
    assert found.tokens.shape == found.log_probability.shape == (3, 8)
    for prompt, row in zip(PROMPTS, np.asarray(found.tokens), strict=True):
        tokens = prompt.tolist()
        for _ in range(8):
            tokens.append(int(logits_after(tokens).argmax()))
        assert row.tolist() == tokens[len(prompt) :]
    assert len(set(np.asarray(found.tokens).ravel().tolist())) > 1


@pytest.mark.parametrize("temperature", [0.0, 1.0, 1.7])
def test_log_probability_is_that_of_the_model_at_temperature_one(temperature):
    found = generate(model(), PROMPTS, jax.random.key(1), length=8, temperature=temperature, top_k=4)
    for k, prompt in enumerate(PROMPTS):
        tokens = prompt.tolist()
        for token, value in zip(np.asarray(found.tokens)[k], np.asarray(found.log_probability)[k], strict=True):
            assert_allclose(value, np.log(softmax(logits_after(tokens))[token]), rtol=1e-4, atol=1e-5)
            tokens.append(int(token))


def test_prompts_in_one_batch_are_prompts_alone():
    together = generate(model(), PROMPTS, jax.random.key(2), length=8, temperature=0.0)
    for k, prompt in enumerate(PROMPTS):
        alone = generate(model(), [prompt], jax.random.key(2), length=8, temperature=0.0)
        assert_array_equal(alone.tokens[0], together.tokens[k])
        assert_allclose(alone.log_probability[0], together.log_probability[k], rtol=1e-4, atol=1e-5)


def test_a_draw_depends_on_key_place_and_prompt_alone():
    drawn = generate(model(), PROMPTS, jax.random.key(2), length=8, temperature=1.3).tokens
    beside = generate(model(), [PROMPTS[1], *PROMPTS[1:]], jax.random.key(2), length=8, temperature=1.3).tokens
    assert_array_equal(beside[1:], drawn[1:])
    assert (np.asarray(beside[0]) != np.asarray(beside[1])).any()
    other = generate(model(), PROMPTS, jax.random.key(3), length=8, temperature=1.3).tokens
    assert (np.asarray(other) != np.asarray(drawn)).any()


def test_rows_do_not_depend_on_how_many_there_are_and_differ():
    many = generate(model(), PROMPTS[2:] * 9, jax.random.key(3), length=8).tokens
    few = generate(model(), PROMPTS[2:] * 3, jax.random.key(3), length=8).tokens
    assert_array_equal(many[:3], few)
    assert len({tuple(row) for row in np.asarray(many).tolist()}) > 4


def test_a_longer_draw_begins_as_a_shorter_one():
    long, short = (generate(model(), PROMPTS, jax.random.key(5), length=n) for n in (8, 3))
    assert_array_equal(long.tokens[:, :3], short.tokens)


def counts_of(**settings: Any) -> np.ndarray:
    found = generate(model(), prompts([1, 4]) * ROWS, jax.random.key(7), length=1, **settings)
    return np.bincount(np.asarray(found.tokens)[:, 0], minlength=VOCAB)


def chi_square(counts: np.ndarray, shares: np.ndarray) -> float:
    """Pearson's sum over symbols with an expected count of five or more, the others pooled."""
    expected = shares * ROWS
    rare = expected < 5
    seen = np.append(counts[~rare], counts[rare].sum())
    wanted = np.append(expected[~rare], expected[rare].sum())
    return float(((seen - wanted) ** 2 / np.maximum(wanted, 1)).sum())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_first_draws_are_distributed_as_softmax(temperature):
    shares = softmax(logits_after([1, 4]) / temperature)
    assert (shares * ROWS > 5).sum() >= 2
    assert chi_square(counts_of(temperature=temperature), shares) < 25  # 0.9999 of chi-square with 5 degrees: 25.7


@pytest.mark.parametrize("k", [1, 2, 4])
def test_top_k_draws_from_the_likeliest(k):
    logits = logits_after([1, 4])
    likeliest = np.argsort(-logits)[:k]
    shares = np.zeros(VOCAB)
    shares[likeliest] = softmax(logits[likeliest] / 3)
    counts = counts_of(temperature=3.0, top_k=k)
    assert set(np.flatnonzero(counts)) == set(likeliest.tolist())
    assert chi_square(counts, shares) < 25


def nucleus(logits: np.ndarray, p: float) -> set[int]:
    """The fewest likeliest symbols that together have probability `p`."""
    shares, kept, total = softmax(logits), set(), 0.0
    for symbol in np.argsort(-shares):
        kept.add(int(symbol))
        total += shares[symbol]
        if total >= p:
            return kept
    return kept


@pytest.mark.parametrize("p", [0.05, 0.5, 0.8, 1.0])
def test_top_p_draws_from_the_nucleus(p):
    counts = counts_of(temperature=4.0, top_p=p)
    assert set(np.flatnonzero(counts)) == nucleus(logits_after([1, 4]) / 4, p)


def test_supports_of_choices_over_many_logits():
    rng = np.random.default_rng(0)
    logits = (2 * rng.normal(size=(12, 9))).astype(np.float32)
    keys = jax.random.split(jax.random.key(0), 800)
    draws = jax.jit(lambda row, settings: jax.vmap(lambda key: choose(row, key, settings))(keys))
    for row in logits:
        k, p, temperature = int(rng.integers(1, 10)), float(rng.uniform(0.2, 0.95)), float(rng.uniform(0.7, 2))
        settings = (np.float32(temperature), np.int32(k), np.float32(p))
        allowed = nucleus(row / temperature, p) & set(np.argsort(-row)[:k].tolist())
        seen = set(np.asarray(draws(row, settings)).tolist())
        shares = softmax(row / temperature)
        assert seen <= allowed
        assert {symbol for symbol in allowed if shares[symbol] > 0.03} <= seen
        assert set(np.asarray(draws(row, (np.float32(0), np.int32(k), np.float32(p)))).tolist()) == {int(row.argmax())}


def test_more_likeliest_symbols_than_there_are_is_all():
    assert_array_equal(counts_of(temperature=3.0, top_k=VOCAB + 90), counts_of(temperature=3.0))


def test_one_program_serves_all_settings_keys_and_lengths_of_prompts():
    generate(model(), PROMPTS, jax.random.key(0), length=8)
    program: Any = _generate
    before = program._cache_size()
    for seed, temperature in enumerate((0.0, 0.3, 2)):
        for top_k, top_p in ((0, 1.0), (3, 0.5), (5, 1)):
            generate(
                model(), PROMPTS, jax.random.key(seed), length=8, temperature=temperature, top_k=top_k, top_p=top_p
            )
    generate(model(), prompts([1, 2, 3], [4], [0, 0]), jax.random.key(0), length=8)
    other = nnx.merge(*nnx.split(model()))
    other.readout.kernel[...] = other.readout.kernel[...] + 1
    generate(other, PROMPTS, jax.random.key(0), length=8)
    assert program._cache_size() == before


@pytest.mark.parametrize("given", [[], prompts([]), prompts([1], [])])
def test_empty_prompts(given):
    with pytest.raises(InputError, match="an empty prompt"):
        generate(model(), given, jax.random.key(0), length=3)


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_k": -1},
        {"length": 0},
    ],
)
def test_numbers_out_of_range(settings):
    with pytest.raises(InputError, match="temperature"):
        generate(model(), PROMPTS, jax.random.key(0), **{"length": 3, **settings})


@pytest.mark.parametrize("symbol", [-1, VOCAB + 1])
def test_symbols_that_the_model_does_not_have(symbol):
    with pytest.raises(InputError, match="symbol"):
        generate(model(), prompts([1], [0, symbol]), jax.random.key(0), length=3)
    for known in (VOCAB - 1, VOCAB):  # the last symbol, and none
        assert jnp.isfinite(generate(model(), prompts([known]), jax.random.key(0), length=8).log_probability).all()
