"""The page of the state machines: a drawing and tables of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum

from generator.markdown import table
from kvsproducer.client.states import CLIENT_STATES, STREAM_STATES, Input, On, Rule

__all__ = ["states"]

INTRO = """\
# States of the client and of a stream

The core of the package (`kvsproducer.client`) has two state machines. The client's leads to
credentials. A stream's leads to an upload, and back to one after a lost connection. Both are tables
in `src/kvsproducer/client/states.py`, from which this page is written.

Most states make a service call when they are entered. The status of its result, or another event,
leads to the next state. A status without a row cannot be cured by another attempt: the machine ends
in FAILED.

A row that leads from a state to itself repeats the call after a pause. Pauses grow (100 ms x 2^n up
to 10 s, and as much again at random). The second table gives the number of attempts. When they are
used up, the error of the state is raised or reported. Once a stream has been ready, the error is
only reported, and the attempts continue.

In the drawings, arrows on the right lead down and arrows on the left lead up. FAILED, which can
follow on every state, is left out.
"""
STOPPED_NOTE = """\
In STOPPED, the status is that of the lost upload's result. With any other status the stream starts
over. Media without an acknowledgement is sent again.
"""
ROW, BOX, TOP = 46, 130, 8  # heights and widths of the drawing, in its own units


def states() -> str:
    """Return the page: for each machine a drawing, its transitions, its attempts."""
    lines = [INTRO]
    for heading, machine in (("Client", CLIENT_STATES), ("Stream", STREAM_STATES)):
        rules = list(machine.values())
        everywhere = [on for on in rules[0].following if all(on in r.following for r in rules)]
        steps = {state: _steps(rule, everywhere) for state, rule in machine.items()}
        lines += [f"## {heading}", "", _drawing(steps), ""]
        rows = [
            (state.name, "; ".join(map(_text, inputs)), to.name)
            for state, ways in steps.items()
            for to, inputs in ways.items()
        ]
        rows += [("any state", on.value, rules[0].following[on].name) for on in everywhere]
        lines += [*table(("State", "What happens", "Next state"), rows), ""]
        attempts = (
            (state.name, str(1 + rule.retries), f"`STATUS_{rule.failure.name}`")
            for state, rule in machine.items()
            if rule.retries
        )
        lines += [*table(("State", "Attempts", "Error when they are used up"), attempts), ""]
    return "\n".join([*lines, STOPPED_NOTE])


def _steps(rule: Rule, everywhere: list[Input]) -> Mapping[Enum, list[Input]]:
    """Return where a state leads, with the inputs that lead there."""
    ways: dict[Enum, list[Input]] = {}
    for on, to in rule.following.items():
        if on not in everywhere:
            ways.setdefault(to, []).append(on)
    return ways


def _text(on: Input) -> str:
    return on.value if isinstance(on, On) else f"`STATUS_{on.name}`"


def _drawing(steps: Mapping[Enum, Mapping[Enum, object]]) -> str:
    """Return an SVG: the states one below the other, an arc for each transition between two."""
    shown = [state for state in steps if state.name != "FAILED"]
    place = {state: TOP + 14 + ROW * number for number, state in enumerate(shown)}
    reach = max(
        (abs(shown.index(a) - shown.index(b)) for a in shown for b in steps[a] if b in place),
        default=1,
    )
    margin = 30 + 24 * reach
    shapes = [
        shape
        for state in shown
        for to in steps[state]
        if to in place and to is not state
        for shape in _arc(place[state], place[to], margin)
    ]
    boxes = [
        f'<rect x="{margin}" y="{y - 14}" width="{BOX}" height="28" rx="6"/>'
        f'<text x="{margin + BOX / 2:g}" y="{y + 5}" text-anchor="middle">{state.name}</text>'
        for state, y in place.items()
    ]
    width, height = 2 * margin + BOX, TOP * 2 + ROW * len(shown) - 10
    return "".join(
        [
            f'<svg class="states" xmlns="http://www.w3.org/2000/svg" role="img" width="{width}"'
            f' viewBox="0 0 {width} {height}" aria-label="Transitions; the table below has all">',
            *shapes,
            *boxes,
            "</svg>",
        ]
    )


def _arc(y: int, to: int, margin: int) -> Iterator[str]:
    """Yield the shapes of an arrow: on the right side downwards, on the left side upwards."""
    down = to > y
    side, out = (margin + BOX, 1) if down else (margin, -1)
    bulge = side + out * (12 + 24 * abs(to - y) / ROW)
    start, end = y + (5 if down else -5), to - (5 if down else -5)
    yield f'<path d="M{side} {start}C{bulge:g} {start} {bulge:g} {end} {side + 6 * out} {end}"/>'
    tip = f"M{side} {end}l{8 * out} -4v8z"
    yield f'<path class="arrow" d="{tip}"/>'
