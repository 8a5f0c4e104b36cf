"""The message classes and the service of `inference.proto`, without generated code.

`inference.binpb` is the proto as protoc describes it; a test holds the two equal and says how to write it anew.
A pool of its own keeps these messages apart from those that other clients in a process register as `inference.*`.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE = "inference.GRPCInferenceService"

_description = descriptor_pb2.FileDescriptorSet.FromString(files(__name__).joinpath("inference.binpb").read_bytes())
_pool = descriptor_pool.DescriptorPool()
for _file in _description.file:
    _pool.Add(_file)
service = _pool.FindServiceByName(SERVICE)


def message(name: str) -> Any:
    """Return the class of a message of the package, such as `ModelInferRequest`."""
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"inference.{name}"))
