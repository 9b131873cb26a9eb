"""Names and colours of labels in the formats that viewers read."""

import colorsys


def _colours(count: int) -> list[tuple[int, int, int]]:
    """Distinct colours: steps of the golden ratio round the hue circle; background black."""
    hues = [(i * 0.618034) % 1.0 for i in range(count - 1)]
    return [(0, 0, 0)] + [tuple(round(255 * c) for c in colorsys.hsv_to_rgb(h, 0.75, 1.0)) for h in hues]  # type: ignore[misc]


def itk_snap_table(classes: tuple[str, ...], note: str = "") -> str:
    """ITK-SNAP's label description: index, red, green, blue, opacity, visible, in 3D, name. note: a comment."""
    rows = [
        f'{i:5d} {r:5d} {g:4d} {b:4d} {float(i > 0):8.1f} {int(i > 0):2d} {int(i > 0):2d}    "{name}"'
        for i, (name, (r, g, b)) in enumerate(zip(classes, _colours(len(classes)), strict=True))
    ]
    head = "################################################\n# ITK-SnAP Label Description File\n"
    head += f"# {note}\n" if note else ""
    return head + "# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL\n" + "\n".join(rows) + "\n"


def slicer_table(classes: tuple[str, ...], note: str = "") -> str:
    """3D Slicer's colour table: index, name without spaces, red, green, blue, opacity. note: a comment."""
    rows = [
        f"{i} {name.replace(' ', '_')} {r} {g} {b} {255 * int(i > 0)}"
        for i, (name, (r, g, b)) in enumerate(zip(classes, _colours(len(classes)), strict=True))
    ]
    said = f"# {note}\n" if note else ""
    return f"# Color table\n{said}# {len(classes)} values\n" + "\n".join(rows) + "\n"
