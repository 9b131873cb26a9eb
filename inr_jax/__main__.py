"""python -m inr_jax"""

from inr_jax.main import run

run()
