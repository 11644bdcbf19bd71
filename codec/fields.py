"""Fields of a header: fixed bytes, and varints of 7 bits a byte."""

from __future__ import annotations

from lgcodec.errors import FormatError, TruncatedError


class Reader:
    """Fields of the header one after the other; never reads past its end."""

    def __init__(self, view: memoryview, place: int) -> None:
        self.view = view
        self.place = place

    def left(self) -> int:
        return len(self.view) - self.place

    def take(self, size: int) -> bytes:
        if size > self.left():
            raise TruncatedError("the header ends inside a field")
        self.place += size
        return bytes(self.view[self.place - size : self.place])

    def byte(self) -> int:
        return self.take(1)[0]

    def crc(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def varint(self, low: int = 0, high: int = (1 << 63) - 1) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
            if shift >= 63:
                raise FormatError("a number in the header takes more than 9 bytes")
        if shift > 7 and byte == 0:
            raise FormatError("a number in the header takes more bytes than it needs")
        if not low <= value <= high:
            raise FormatError(f"the header holds {value} where {low} to {high} is possible")
        return value


def varint(value: int) -> bytes:
    data = bytearray()
    while value > 127:
        data.append(value & 127 | 128)
        value >>= 7
    return bytes([*data, value])
