"""Programs of one model, made once for scans of one shape: the next scan of it compiles nothing."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import jax

Made = TypeVar("Made")
MOST = 24  # that are kept, those of some five shapes: the least recently used go


class Programs:
    """What was made before, by all that it depends on but the model and its settings."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()

    def kept(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What `make` made when this key was first seen."""
        if key not in self._kept:
            self._kept[key] = make()
        self._kept.move_to_end(key)
        while len(self._kept) > MOST:
            self._kept.popitem(last=False)
        return self._kept[key]

    def compiled(self, key: Hashable, make: Callable[[], Callable], *arguments: Any) -> Callable:
        """The function that `make` makes, compiled for arguments of these shapes.

        key: all that it depends on besides. It must not hold data of a scan, which would be kept with it.
        """
        shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(arguments))
        whole = (key, jax.tree.structure(arguments), shapes)
        return self.kept(whole, lambda: jax.jit(make()).lower(*arguments).compile())
