"""What was recorded, as labelled arrays: observed on one batch, streamed from a long sequence, or filmed in training.

A `Recording` is a set of arrays by field (`0.h`, `0.i`, `logits`, `gradient.0.h`, ...) whose axes have names, and whose
places along an axis have coordinates. Examples are joined along the axis `step`, without padding: the coordinates
`example` and `time` tell which is which. What a decoder does lies on an axis of its own, `answer_step`, with
`answer_example` and `answer_time`; and so do fields with a longer stride than others (`step_by_10`, `time_by_10`).
On disk a recording is a Zarr v3 group, which plain zarr and xarray read, and it is opened lazily: what is not selected
is not read.
"""

from rnnjax.recording.films import Film
from rnnjax.recording.labelled import EXPORTS, STATISTICS, Recording
from rnnjax.recording.observing import GRADIENT, observe, observe_members
from rnnjax.recording.streaming import stream

__all__ = ["EXPORTS", "GRADIENT", "STATISTICS", "Film", "Recording", "observe", "observe_members", "stream"]
