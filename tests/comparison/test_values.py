"""What all values have in common although they differ, in exact arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from catnip2bids.comparison.values import (
    Calibrated,
    Calibration,
    ConstantDifference,
    EqualModulo,
    Rounded,
    ValueRule,
    calibration_of,
    count_other_bits,
    possible_rules,
)
from made_up import Array, some_image

NONE = (None, None)
SIGNED = some_image((7, 9, 11), "int16")
STORED = (SIGNED.astype("i4") + 2**15).astype("uint16")
IDS = np.array([[0, 1, 70_000], [2**24 + 1, 65_536, 3]], "uint32")


@pytest.mark.parametrize(
    ("one", "two", "rules"),
    [
        (STORED, SIGNED, [ConstantDifference(-(2**15))]),
        (SIGNED, STORED, [ConstantDifference(2**15)]),
        (STORED // 2, STORED // 2 + 100, [ConstantDifference(100)]),
        (STORED, STORED.view("int16"), [EqualModulo(16, None)]),
        (IDS, IDS.astype("uint16"), [EqualModulo(16, 2)]),
        (IDS.astype("uint16").astype("int64"), IDS, [EqualModulo(16, 1)]),
        (np.array([-1, 3], "int32"), np.array([255, 3], "uint8"), [EqualModulo(8, 2)]),
        (IDS, IDS.astype("float32"), [Rounded(2)]),
        (IDS.astype("float32").astype("uint32"), IDS, [Rounded(1)]),
        (IDS.astype("float64") + 2**-20, (IDS.astype("float64") + 2**-20).astype("float32"), [Rounded(2)]),
        (STORED, some_image(STORED.shape, seed=1), []),
        (np.array([2**63 + 2], "uint64"), np.array([2**63 + 1], "uint64"), []),  # int64 cannot tell
    ],
)
def test_rules_are_found(one: Array, two: Array, rules: list[ValueRule]) -> None:
    assert list(possible_rules(one, two, NONE)) == rules


def test_one_voxel_breaks_a_rule() -> None:
    for one, two in ((STORED, SIGNED), (IDS, IDS.astype("uint16")), (IDS, IDS.astype("float32"))):
        (rule,) = possible_rules(one, two, NONE)
        changed = two.copy()
        changed.flat[-1] += 1
        assert rule.holds(one, two)
        assert not rule.holds(one, changed)


@pytest.mark.parametrize(
    ("one", "two", "calibrations", "text"),
    [
        (STORED, SIGNED, (Calibration(-(2**15)), None), "value = stored - 32768"),
        (SIGNED, STORED, (None, Calibration(-(2**15))), "value = stored - 32768"),
        (STORED, SIGNED.astype("float32"), (Calibration(-(2**15)), None), "value = stored - 32768"),
        (np.arange(9), 2 * np.arange(9) + 5, (Calibration(5, 2), None), "value = 2 * stored + 5"),
        (
            np.arange(9) + 2,
            2 * np.arange(9),
            (Calibration(-4, 2), Calibration(0, 1)),
            None,  # 2 * (x + 2) - 4 is 2 x: one calibration is enough
        ),
    ],
)
def test_a_calibration_that_is_stated_is_applied(
    one: Array, two: Array, calibrations: tuple[Calibration | None, Calibration | None], text: str | None
) -> None:
    found = [rule for rule in possible_rules(one, two, calibrations) if isinstance(rule, Calibrated)]
    assert found
    assert text is None or str(found[0]) == text


def test_a_calibration_that_leaves_int64_is_never_claimed() -> None:
    large = np.array([2**62], "int64")
    assert not Calibrated(Calibration(0, 4), None).holds(large, np.array([0], "int64"))


@pytest.mark.parametrize(
    ("rule", "of_small_values"),
    [(ConstantDifference(1), False), (EqualModulo(8, 1), True), (Rounded(1), True), (Rounded(2), True)],
)
def test_equal_values_may_break_a_rule(rule: ValueRule, of_small_values: bool) -> None:
    assert not rule.holds(IDS, IDS)
    small = IDS % 200
    assert rule.holds(small, small) == of_small_values


@pytest.mark.parametrize(
    ("metadata", "calibration"),
    [
        ({"cf": 0, "c0": -32768.0, "c1": 1.0}, Calibration(-32768)),
        ({"c0": 5, "c1": -2}, Calibration(5, -2)),
        ({"cf": 0, "c0": 0.0, "c1": 1.0}, None),
        ({"cf": 0, "c0": 0.5, "c1": 1.0}, None),
        ({"cf": 0, "c0": 3.0, "c1": 0.1}, None),
        ({"cf": 0, "c0": float("nan"), "c1": 1.0}, None),
        ({"cf": 4, "c0": 1.0, "c1": 2.0}, None),
        ({"c0": 1.0}, None),
        ({}, None),
    ],
)
def test_only_straight_lines_of_whole_numbers_are_calibrations(
    metadata: dict[str, object], calibration: Calibration | None
) -> None:
    assert calibration_of(metadata) == calibration


def test_other_bits_are_nan_and_zero() -> None:
    one = np.array([np.nan, 0.0, 1.0, np.inf], "float32")
    two = np.array([0, -0.0, 2.0, np.inf], "float32")
    two[0] = np.array([0xFFC00001], "uint32").view("float32")[0]
    assert count_other_bits(one[:3], two[:3]) == 2
    assert count_other_bits(STORED[0, :1, :3], STORED[0, :1, :3]) == 0
