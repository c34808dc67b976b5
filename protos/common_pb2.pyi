from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Refused(_message.Message):
    __slots__ = ("reason", "name", "advice")
    REASON_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADVICE_FIELD_NUMBER: _ClassVar[int]
    reason: int
    name: str
    advice: str
    def __init__(self, reason: _Optional[int] = ..., name: _Optional[str] = ..., advice: _Optional[str] = ...) -> None: ...
