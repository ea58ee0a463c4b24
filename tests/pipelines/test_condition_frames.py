import pytest

from opensora_core.errors import InvalidInputError
from opensora_core.pipelines.windows import Window, plan_windows


def test_without_a_wish_a_window_is_given_five_frames_or_as_many_as_leave_room_for_one():
    assert plan_windows(20, 12, 17, None, group=4) == [Window(0, 17, 5)]
    assert plan_windows(20, 4, 5, None, group=4) == [Window(0, 5, 1)]


def test_a_single_window_needs_no_condition_frames_whatever_its_length():
    assert plan_windows(0, 1, 1, None, group=4) == [Window(0, 1, 0)]
    assert plan_windows(0, 5, 5, None, group=4) == [Window(0, 5, 0)]
    with pytest.raises(InvalidInputError, match="condition_frames=5 must be from 1 to 4"):
        plan_windows(0, 5, 5, 5, group=4)
