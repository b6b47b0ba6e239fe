"""The other libraries, imported when a test first asks for one, and an account of how far from them rnnjax is."""

from __future__ import annotations

import os
from collections import defaultdict

import jax
import pytest
from peers import largest_difference

DIFFERENCE = "largest difference"


@pytest.fixture(scope="session")
def keras(tmp_path_factory):
    """Keras 3 on the JAX backend; its settings file is not written into the home directory."""
    os.environ |= {"KERAS_BACKEND": "jax", "KERAS_HOME": str(tmp_path_factory.mktemp("keras"))}
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    module = pytest.importorskip("keras")
    assert module.backend.backend() == "jax"
    return module


@pytest.fixture(scope="session")
def torch():
    """PyTorch."""
    return pytest.importorskip("torch")


@pytest.fixture
def as_installed():
    """Leaves broadcasting as JAX has it by default: the other libraries rely on it."""
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture
def close(record_property):
    """Asserts that two arrays agree within `tolerance`, of the largest value expected or of one, and notes how well."""
    seen = [0.0]

    def check(actual, expected, tolerance, what=""):
        difference = largest_difference(actual, expected)
        assert difference <= tolerance, f"{what}: {difference:.2g} apart, where {tolerance:.2g} is allowed"
        seen.append(difference)

    yield check
    record_property(DIFFERENCE, max(seen))


@pytest.fixture
def agree(close):
    """Asserts that two answers agree in outputs, final state and gradients."""

    def check(answer, expected, tolerance):
        close(answer.outputs, expected.outputs, tolerance, "outputs")
        for part, other in ((answer.state, expected.state), (answer.gradients, expected.gradients)):
            assert part.keys() == other.keys()
            for name, value in other.items():
                close(part[name], value, tolerance, name)

    return check


def pytest_terminal_summary(terminalreporter):
    """Of every file: tests passed, and the largest difference seen."""
    found = defaultdict(list)
    for report in terminalreporter.stats.get("passed", ()):
        if report.when == "call" and "conformance" in report.nodeid:
            found[report.nodeid.partition("::")[0]].append(report)
    for report in terminalreporter.stats.get("", ()):
        if report.when == "teardown" and report.nodeid.partition("::")[0] in found:
            found[report.nodeid.partition("::")[0]].append(report)
    for file, reports in sorted(found.items()):
        noted = [value for report in reports for name, value in report.user_properties if name == DIFFERENCE]
        passed = sum(report.when == "call" for report in reports)
        far = f", {DIFFERENCE} {max(noted):.2g}" if noted else ""
        terminalreporter.write_line(f"{file}: {passed} passed{far}")
