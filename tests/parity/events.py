"""TensorBoard's own files, for the test of our event writer.

    python tests/parity/events.py               writes tests/data/events/tensorboard.tfevents with
                                                the records that tests/framework/io makes
    python tests/parity/events.py --check DIR   what TensorBoard reads from a run's folder
"""
import argparse
import pathlib

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

HERE = pathlib.Path(__file__).resolve().parent
PICTURE = bytes(range(256)) * 2  # any bytes: only its length matters to the format


def scalar(step: int, wall_time: float, tag: str, value: float) -> Event:
    return Event(wall_time=wall_time, step=step,
                 summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)]))


def records() -> list[Event]:
    image = Summary.Image(height=12, width=300, colorspace=3, encoded_image_string=PICTURE)
    return [
        Event(wall_time=1000.25, file_version="brain.Event:2"),
        scalar(1, 1001.5, "loss", 0.6931471805599453),
        scalar(1, 1001.5, "decode_head.loss_ce", -1.5),
        scalar(300, 1002.75, "val.miou", float("nan")),
        Event(wall_time=1003.0, step=250,
              summary=Summary(value=[Summary.Value(tag="val/0004", image=image)])),
        Event(wall_time=1004.0, step=301, session_log=SessionLog(status=SessionLog.START)),
        scalar(301, 1005.0, "loss", 0.0),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", type=pathlib.Path, metavar="DIR")
    folder = parser.parse_args().check
    if folder is None:
        path = HERE.parent / "data" / "events" / "tensorboard.tfevents"
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            writer = RecordWriter(file)
            for event in records():
                writer.write(event.SerializeToString())
            writer.flush()
        folder = path.parent
    seen = EventAccumulator(str(folder), size_guidance=dict(scalars=0, images=0)).Reload()
    for tag in sorted(seen.Tags()["scalars"]):
        for one in seen.Scalars(tag):
            print(f"{one.step} {tag} {one.value:.9g}")
    for tag in sorted(seen.Tags()["images"]):
        for one in seen.Images(tag):
            print(f"{one.step} {tag} {one.height}x{one.width} {len(one.encoded_image_string)} bytes")


if __name__ == "__main__":
    main()
