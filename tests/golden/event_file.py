"""Events as TensorBoard's own record writer and messages make them: tests/golden/event_file.bin."""
import pathlib

from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, tensor_shape_pb2, types_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

TIME = 1700000000.25
here = pathlib.Path(__file__).parent
values = [0.5, 1.0, 1.5, 8.0]
width = (8.0 - 0.5) / 30
counts = [0.0] * 30
for v in values:
    counts[min(29, int((v - 0.5) / width))] += 1
histogram = summary_pb2.HistogramProto(
    min=0.5, max=8.0, num=4, sum=sum(values), sum_squares=sum(v * v for v in values),
    bucket_limit=[0.5 + width * (i + 1) for i in range(30)], bucket=counts)
image = summary_pb2.Summary.Image(height=2, width=300, colorspace=3, encoded_image_string=b"\x89PNG\x00\xff")
value = summary_pb2.Summary.Value
text = tensor_pb2.TensorProto(
    dtype=types_pb2.DT_STRING, string_val=[b"| a | b |\n|---|---|\n"],
    tensor_shape=tensor_shape_pb2.TensorShapeProto(dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=1)]))
is_text = summary_pb2.SummaryMetadata(plugin_data=summary_pb2.SummaryMetadata.PluginData(plugin_name="text"))
events = [event_pb2.Event(wall_time=TIME, file_version="brain.Event:2"),
          event_pb2.Event(wall_time=TIME, step=40,
                          session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))]
for step, v in [(40, value(tag="train/loss", simple_value=1.375)), (300, value(tag="norms", histo=histogram)),
                (70000, value(tag="answers/\u00e4", image=image)),
                (70001, value(tag="answers/1", tensor=text, metadata=is_text))]:
    events.append(event_pb2.Event(wall_time=TIME, step=step, summary=summary_pb2.Summary(value=[v])))
with open(here / "event_file.bin", "wb") as out:
    writer = RecordWriter(out)
    for event in events:
        writer.write(event.SerializeToString())
    writer.flush()
