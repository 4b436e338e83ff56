"""What all files have in common: CRCs, little-endian numbers, varints. Written from `docs/format.md` alone."""


def _table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


_TABLE = _table()


def crc(so_far: int, data: bytes) -> int:
    """CRC-32C, continued."""
    value = so_far ^ 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def u64(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")


class Input:
    """Varints, and bytes behind their length."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def number(self) -> int:
        number = shift = 0
        while True:
            byte = self.byte()
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    def bytes(self) -> bytes:
        size = self.number()
        self.at += size
        assert self.at <= len(self.data)
        return self.data[self.at - size : self.at]

    def text(self) -> str:
        return self.bytes().decode()

    def end(self) -> None:
        assert self.at == len(self.data), "bytes left over"
