"""Drawings of many thousand boxes that stay smooth: only what can be seen is painted.

The plotting library paints every box of a drawing each time its range moves, also those outside of it. Here a
filter leaves out those, and of boxes thinner than a pixel all but one at each place; it is set anew in the browser
whenever the range or the width changes, so everything is there again as soon as it is zoomed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bokeh.models import CDSView, CustomJS, IndexFilter, Range1d

_CODE = """
const wide = drawn.inner_width / (time.end - time.start);
const high = drawn.inner_height / Math.abs(drawn.y_range.end - drawn.y_range.start);
if (drawn.inner_width > 1) {
  filters.forEach((filter, k) => {
    const {left, right, bottom} = sources[k].data, taken = new Set(), seen = [];
    for (let i = 0; i < left.length; i++) {
      if (right[i] < time.start || left[i] > time.end) { continue; }
      if ((right[i] - left[i]) * wide < 1) {
        const place = Math.floor(left[i] * wide) * 10000 + Math.round(bottom[i] * high);
        if (taken.has(place)) { continue; }
        taken.add(place);
      }
      seen.push(i);
    }
    filter.indices = seen;
  });
}
"""


def paint_only_what_is_seen(drawn: Any, time: Range1d, boxes: Sequence[Any]) -> None:
    """Filter the renderers ``boxes`` of a figure, whose sources have ``left``, ``right`` and ``bottom``."""
    for box in boxes:
        box.view = CDSView(filter=IndexFilter())
    arguments = {
        "drawn": drawn,
        "time": time,
        "sources": [box.data_source for box in boxes],
        "filters": [box.view.filter for box in boxes],
    }
    again = CustomJS(args=arguments, code=_CODE)
    time.js_on_change("start", again)
    time.js_on_change("end", again)
    drawn.js_on_change("inner_width", again)
