"""How far a phantom's A-scans lie from where they are said to be on the SLO, before and after registration.

    python benchmarks/slo_placement.py

All eyes of the validation people of configs/oct.py, by their measured B-scans.
"""

import time

import numpy as np

from configs import oct
from inr_jax import slo_registration
from inr_jax.data.phantom_oct import only_measured, scan_of
from inr_jax.phantom import make_eye


def main() -> None:
    options = oct.get_config().data.phantom_oct
    train, validation, _ = options.people
    measured = np.arange(options.shape[0]) % options.fitted_every == 0
    rows = []
    for person in range(train, train + validation):
        for laterality in "RL"[: options.eyes]:
            eye = make_eye(person=person, laterality=laterality, shape=tuple(options.shape))
            scan = scan_of(eye)
            began = time.perf_counter()
            placement = slo_registration.find(only_measured(scan, measured))
            took = time.perf_counter() - began
            middle = (np.array(eye.slo.shape) - 1) / 2 * np.asarray(eye.slo_spacing)
            turn, shift = eye.slo_to_retina[:, :2], eye.slo_to_retina[:, 2]
            true = (eye.ascans_on_slo - middle - shift) @ np.linalg.inv(turn).T + middle
            errors = [np.linalg.norm(places - true, axis=-1).mean() * 1000
                      for places in (eye.ascans_on_slo, placement.of(eye.ascans_on_slo))]  # fmt: skip
            rows.append([*errors, placement.correlation, took])
    mean, worst = np.mean(rows, axis=0), np.max(rows, axis=0)
    print(f"{len(rows)} eyes; mean distance of an A-scan from its place on the SLO, um: mean (worst eye)")
    print(f"as said     {mean[0]:6.1f} ({worst[0]:.1f})")
    print(f"registered  {mean[1]:6.1f} ({worst[1]:.1f})   correlation {mean[2]:.2f}, {mean[3]:.3f} s a scan")


if __name__ == "__main__":
    main()
