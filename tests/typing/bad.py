"""What every type checker has to refuse: each line that is marked, and no other."""

from __future__ import annotations

import kvsproducer as kvs

kvs.StreamInfo.video("vp9")  # refused
kvs.StreamInfo.video("h264", retension=86_400)  # refused
kvs.StreamInfo.video("h264", retention=[86_400])  # refused
kvs.StreamInfo.video("h264", streaming_type="offline")  # refused
kvs.StreamInfo.video("h264", frame_rate=29.97)  # refused
kvs.StreamInfo.audio("mp3")  # refused
kvs.StreamInfo.audio_video("h264", "aac", adaptive=True)  # refused
kvs.ClientInfo(log_metric=True)  # refused
kvs.ClientInfo(stop_stream_timeout=None)  # refused
kvs.Frame("text", 0)  # refused
kvs.Frame(b"data", 1.5)  # refused
kvs.Frame(b"data", 0, time_base=90_000)  # refused
seconds: int = kvs.StreamInfo().buffer_duration  # refused
