"""What a stream holds, from its put until it is stored or reported: one owner of all of it."""

from kvsproducer.client.buffer.admission import Admission, WouldBlock
from kvsproducer.client.buffer.buffer import Buffer, Outbox
from kvsproducer.client.buffer.ledger import FrameAccount
from kvsproducer.client.buffer.resume import anything_to_send, resume_index, skip_refused

__all__ = [
    "Admission",
    "Buffer",
    "FrameAccount",
    "Outbox",
    "WouldBlock",
    "anything_to_send",
    "resume_index",
    "skip_refused",
]
