"""The dossier's colours, light and dark, kept here so that their contrast can be computed."""

from __future__ import annotations

Colours = dict[str, str]

LIGHT: Colours = {
    "paper": "#fbfaf7",
    "surface": "#ffffff",
    "line": "#dcd8ce",
    "ink": "#1c2430",
    "quiet": "#565f6d",
    "accent": "#1f5673",
    "accent-soft": "#e6eef2",
    "pass": "#1e6b43",
    "pass-soft": "#e4f1e9",
    "fail": "#a32a22",
    "fail-soft": "#fae8e5",
    "unknown": "#845300",
    "unknown-soft": "#fbf0da",
    "idle": "#5d6673",
    "idle-soft": "#efede7",
}
DARK: Colours = {
    "paper": "#12161c",
    "surface": "#191f27",
    "line": "#323b47",
    "ink": "#e7e5df",
    "quiet": "#a5adb8",
    "accent": "#8cc0da",
    "accent-soft": "#1d2f3a",
    "pass": "#7fcf9f",
    "pass-soft": "#183226",
    "fail": "#f2968c",
    "fail-soft": "#3d1f1d",
    "unknown": "#e8b860",
    "unknown-soft": "#372a12",
    "idle": "#a5adb8",
    "idle-soft": "#232a33",
}
LEVELS = 10
HEAT_ENDS = {"light": ("#ffffff", "#123e56"), "dark": ("#191f27", "#a8d5ea")}
HEAT_TEXTS = ("#000000", "#ffffff")  # of these two, one always reaches 4.58 to 1


def luminance(colour: str) -> float:
    """Return the relative luminance of `#rrggbb`, 0 to 1 (WCAG 2.2)."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours, 1 to 21 (WCAG 2.2); text needs 4.5."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def heat(mode: str) -> list[tuple[str, str]]:
    """Return background and text colour of each shade, 0 to 9, in `light` or `dark` mode."""
    start, end = HEAT_ENDS[mode]
    shades = []
    for level in range(LEVELS):
        background = _mix(start, end, level / (LEVELS - 1))
        _, text = max((contrast(candidate, background), candidate) for candidate in HEAT_TEXTS)
        shades.append((background, text))
    return shades


def _mix(start: str, end: str, share: float) -> str:
    parts = [(int(start[place : place + 2], 16), int(end[place : place + 2], 16)) for place in (1, 3, 5)]
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in parts)


def stylesheet() -> str:
    """Return the custom properties of both modes as CSS; printing uses the light ones."""
    light, dark = _properties(LIGHT, "light"), _properties(DARK, "dark")
    return f":root {{ {light} }}\n@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}"


def _properties(colours: Colours, mode: str) -> str:
    plain = [f"--{name}: {colour};" for name, colour in colours.items()]
    shades = [f"--h{level}: {under}; --t{level}: {text};" for level, (under, text) in enumerate(heat(mode))]
    return " ".join(plain + shades)
