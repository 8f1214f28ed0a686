"""Networks of the zoo in the words of a space: exactly where it can say them, else the nearest that it can."""

from nas.errors import UserError
from search_spaces.space import Code, Space
from search_spaces.zoo import ZOO


def expressed(space: Space) -> dict[str, Code]:
    """By name: valid codes, for the networks that work on images of the space's size and are not far from it."""
    found = {name: _code(space, name) for name in ZOO}
    return {name: code for name, code in found.items() if code is not None}


def _code(space: Space, name: str) -> Code | None:
    try:
        return space.nearest(ZOO[name].build(space.image_size))
    except UserError:  # too small an image
        return None
