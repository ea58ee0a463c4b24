import pytest

from opensora_core import get_backend
from opensora_core.errors import InvalidInputError

pytest.importorskip("torch")


@pytest.mark.parametrize("device", ["cuda:93", "nonsense", "xla"])
def test_a_device_that_torch_lacks_is_an_input_error_at_once(device):
    with pytest.raises(InvalidInputError, match=f"device '{device}'"):
        get_backend("torch", device=device)
