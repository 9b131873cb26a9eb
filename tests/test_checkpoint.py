"""Checkpoints: what was saved comes back to the bit, or is named as damaged and the one before it comes back."""

import logging
import shutil
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_bit_equal

from inr_jax import checkpoint, guard
from inr_jax.errors import InputError
from inr_jax.population import State, as_parts, outer_optimizer
from inr_jax.types import MetaParams


def state_of(step):
    """A state of a training in the making: no two steps share a number."""
    random = np.random.default_rng(step)

    def draw(*shape):
        return jnp.float32(random.normal(size=shape))

    params = MetaParams({"w": draw(3, 4), "b": draw(4)}, {"m": draw(5)}, {"m": draw(2, 5)})
    table = {"m": draw(6, 5)}
    return State(jnp.int32(step), params, table, outer_optimizer(1.0).init(as_parts(params, table)), guard.begin())


LIKE = state_of(0)


def save(folder, step, validation=0.0, keep=3):
    checkpoint.save(folder, state_of(step), step=step, validation=validation, keep=keep)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Checkpoints of steps 10 and 20: copy before damaging."""
    folder = tmp_path_factory.mktemp("two")
    save(folder, 10)
    save(folder, 20)
    return folder


@pytest.fixture
def copied(two, tmp_path):
    shutil.copytree(two, tmp_path / "copy")
    return tmp_path / "copy"


def kept(folder):
    return sorted(int(path.name) for path in (folder / checkpoint.FOLDER).iterdir() if path.name.isdigit())


def test_a_state_comes_back_to_the_bit(two):
    assert checkpoint.latest(two) == 20
    state, step = checkpoint.restore(two, LIKE)
    assert step == 20
    assert_bit_equal(state, state_of(20))


def test_a_state_comes_back_from_shapes_and_dtypes_alone(two):
    state, _ = checkpoint.restore(two, jax.eval_shape(lambda: state_of(0)))
    assert_bit_equal(state, state_of(20))


def test_a_restored_state_takes_the_program_of_one_that_was_never_saved(two):
    """JAX compiles anew for arrays that are bound to a device."""
    move = jax.jit(lambda state: jax.tree.map(lambda leaf: leaf + 1, state))
    state, _ = checkpoint.restore(two, LIKE)
    assert move.lower(state).as_text() == move.lower(LIKE).as_text()


def test_an_empty_folder_has_no_latest_and_cannot_be_restored(tmp_path):
    assert checkpoint.latest(tmp_path) is None
    with pytest.raises(InputError, match="found no checkpoint"):
        checkpoint.restore(tmp_path, LIKE)


def test_the_newest_n_and_the_best_are_kept(tmp_path):
    for step, validation in ((1, 5.0), (2, 9.0), (3, 1.0), (4, 2.0), (5, 3.0)):
        save(tmp_path, step, validation, keep=2)
    assert kept(tmp_path) == [2, 4, 5]
    assert checkpoint.restore(tmp_path, LIKE)[1] == 5
    state, step = checkpoint.restore(tmp_path, LIKE, best=True)
    assert step == 2
    assert_bit_equal(state, state_of(2))


def test_saving_again_after_a_step_back_replaces_what_came_after_it(copied):
    """A run that fell back from 20 to 10 writes 15: 20 belongs to a history that was left."""
    save(copied, 15)
    assert kept(copied) == [10, 15]
    save(copied, 20)
    assert_bit_equal(checkpoint.restore(copied, LIKE)[0], state_of(20))


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def delete(path):
    path.unlink()


def flip(path):
    data = np.frombuffer(path.read_bytes(), np.uint8).copy()
    data[:: max(1, len(data) // 7)] ^= 0xFF
    path.write_bytes(data.tobytes())


def files_of(folder, step):
    root = folder / checkpoint.FOLDER / str(step)
    return [path for path in sorted(root.rglob("*")) if path.is_file()]


@pytest.mark.parametrize("damage", [truncate, empty, delete, flip])
def test_whatever_file_is_damaged_the_state_is_right_and_a_fall_back_is_told(two, tmp_path, damage, caplog):
    """Every file of the newest checkpoint in turn: not needed, or named and the one before it used."""
    fallen = 0
    for number, file in enumerate(files_of(two, 20)):
        folder = tmp_path / str(number)
        shutil.copytree(two, folder)
        if file.stat().st_size == 0 and damage is not delete:
            continue
        damage(folder / file.relative_to(two))
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="inr_jax"):
            state, step = checkpoint.restore(folder, LIKE)
        assert_bit_equal(state, state_of(step))
        told = [r.getMessage() for r in caplog.records if r.name == "inr_jax.checkpoint"]
        if step == 10:
            fallen += 1
            assert len(told) == 1
            assert str(folder) in told[0]
            assert "checkpoint 20 is damaged" in told[0]
            assert "\n" not in told[0]
        else:
            assert told == []
        shutil.rmtree(folder)
    assert fallen > 0


def test_array_data_that_changed_is_noticed(copied, caplog):
    """One bit anywhere in the arrays' own files: never handed out as if it were the state."""
    data = [path for path in files_of(copied, 20) if path.parent.name == "d"]
    largest = max(data, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(bytes(content))
    with caplog.at_level(logging.WARNING):
        state, _ = checkpoint.restore(copied, LIKE)
    assert_bit_equal(state, state_of(int(state.step)))


def test_where_none_can_be_read_the_folder_is_named(copied):
    for step in (10, 20):
        for file in files_of(copied, step):
            if file.parent.name == "d":
                truncate(file)
    with pytest.raises(InputError, match="none of the 2 checkpoints could be read") as caught:
        checkpoint.restore(copied, LIKE)
    assert str(copied) in str(caught.value)


@pytest.mark.parametrize(
    "other",
    [
        lambda s: s._replace(table={"m": jnp.zeros((6, 6))}),
        lambda s: s._replace(table={"m": jnp.zeros((4, 5))}),
        lambda s: s._replace(table={"m": jnp.zeros((6, 5), jnp.bfloat16)}),
        lambda s: s._replace(step=jnp.float32(0)),
        lambda s: s._replace(table={"m": jnp.zeros((6, 5)), "n": jnp.zeros(1)}),
        lambda s: s._replace(table={"other": jnp.zeros((6, 5))}),
    ],
    ids=["wider", "fewer rows", "half precision", "float step", "one more", "another name"],
)
def test_a_state_of_another_shape_or_type_is_refused_not_cast(two, other):
    with pytest.raises(InputError, match="damaged or of another model"):
        checkpoint.restore(two, other(LIKE))


def test_a_temporary_folder_of_a_killed_save_is_not_taken_for_a_checkpoint(copied):
    root = copied / checkpoint.FOLDER
    shutil.copytree(root / "20", root / "30.orbax-checkpoint-tmp")
    assert checkpoint.latest(copied) == 20
    assert_bit_equal(checkpoint.restore(copied, LIKE)[0], state_of(20))
    save(copied, 30)
    assert kept(copied) == [10, 20, 30]
    assert not list(root.glob("*tmp*"))


def test_a_reader_leaves_another_s_unfinished_save_alone(copied):
    """A model can be used while its training goes on."""
    unfinished = copied / checkpoint.FOLDER / "30.orbax-checkpoint-tmp"
    unfinished.mkdir()
    (unfinished / "part").write_text("half")
    checkpoint.latest(copied)
    checkpoint.restore(copied, LIKE)
    assert (unfinished / "part").read_text() == "half"


def test_the_structure_sees_names_shapes_and_types_of_arrays_and_of_their_descriptions_alike():
    base = {"a": jnp.zeros((2, 3)), "b": jnp.ones(2, jnp.int32)}
    others = [
        base | {"a": jnp.zeros((3, 2))},
        base | {"b": jnp.ones(2, jnp.uint32)},
        {"c": base["a"], "b": base["b"]},
    ]
    assert len({tuple(checkpoint.structure(tree)) for tree in [base, *others]}) == 4
    assert checkpoint.structure(jax.eval_shape(lambda: base)) == checkpoint.structure(base)


def test_a_checkpoint_without_its_seal_was_not_finished(copied, caplog):
    """The process died between the arrays and the seal."""
    (copied / checkpoint.FOLDER / "20" / checkpoint.SEAL).unlink()
    with caplog.at_level(logging.WARNING):
        assert checkpoint.restore(copied, LIKE)[1] == 10
    assert "checkpoint 20 is damaged or does not fit (it was not finished)" in caplog.text


def test_a_damaged_checkpoint_is_told_in_one_line_and_nothing_else(copied, capfd):
    for file in files_of(copied, 20):
        if file.parent.name == "d":
            truncate(file)
    assert checkpoint.restore(copied, LIKE)[1] == 10
    said = capfd.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) <= 1


def test_a_save_that_fails_leaves_nothing_although_its_writers_end_late(copied, monkeypatch):
    before = sorted(copied.rglob("*"))
    late = []

    def write(place):
        for _ in range(40):  # 0.2 s
            for name in ("state", "state/ocdbt"):
                (place.with_name(f"{place.name}.orbax-checkpoint-tmp") / name).mkdir(parents=True, exist_ok=True)
            time.sleep(0.005)

    def fail(place, state):
        late.append(threading.Thread(target=write, args=(place,)))
        late[0].start()
        raise ValueError("No space left on device")

    monkeypatch.setattr(checkpoint.ocp, "save", fail)
    with pytest.raises(InputError, match=r"expected room for a checkpoint.*No space left on device"):
        save(copied, 30)
    late[0].join()
    assert sorted(copied.rglob("*")) == before
