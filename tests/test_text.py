from __future__ import annotations

import pytest

from zinbtools._words.numbers import percent, with_error


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (185.5721, 0.0213, "185.572 ± 0.021"),
        (1300.4, 12.3, "1,300 ± 12"),
        (0.5, 0.0, "0.5 ± 0"),
        (-2.345, 0.99, "-2.35 ± 0.99"),
        (5.0, float("nan"), "5 ± nan"),
    ],
)
def test_as_many_digits_as_the_error_leaves(value: float, error: float, text: str) -> None:
    assert with_error(value, error) == text


@pytest.mark.parametrize(
    ("share", "text"), [(0.5, "50.0 %"), (1.0, "100.0 %"), (0.0001, "0.010 %"), (0.9995, "99.950 %")]
)
def test_a_share_is_not_rounded_to_nothing_or_all(share: float, text: str) -> None:
    assert percent(share) == text
