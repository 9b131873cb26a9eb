"""When a training that counts in epochs has its best state, and when it stops: by its own mean loss."""

from typing import Any, NamedTuple


class Course(NamedTuple):
    """How far it is. Written to the log with every checkpoint, so that a resumed training goes on to the same end."""

    epoch: int = 0  # how many are complete
    total: float = 0.0  # sum of the losses of the unfinished epoch's steps
    best: float = float("inf")  # least mean loss of an epoch
    watched: float = float("inf")  # least one since stopping is thought of
    waited: int = 0  # epochs since then that were not better by `min_delta`


def after_epoch(course: Course, loss: float, stop: Any) -> Course:
    """The course after an epoch of mean loss `loss`. stop: `patience`, `min_delta` and `first_epoch`."""
    epoch, best = course.epoch + 1, min(course.best, loss)
    if epoch < stop.first_epoch:
        return Course(epoch, 0.0, best)
    better = loss < course.watched - stop.min_delta
    return Course(epoch, 0.0, best, loss if better else course.watched, 0 if better else course.waited + 1)


def is_over(course: Course, stop: Any) -> bool:
    """After `epochs` of them, or `patience` in which nothing became better. 0: never."""
    return 0 < stop.epochs <= course.epoch or 0 < stop.patience <= course.waited
