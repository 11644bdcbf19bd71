"""What skeletons are made of: the preset dictionary that rests are packed with (FORMAT.md, JPEG files)."""

from __future__ import annotations

import functools

import numpy as np

from lgcodec.jpeg.scans import ZIGZAG

# ITU-T T.81, tables K.1 and K.2, natural order
LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
CHROMA = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99,
    *(99,) * 32,
)  # fmt: skip
# tables K.3 to K.6, as DHT segments hold them: counts, symbols
DC_LUMA = bytes.fromhex("00010501010101010100000000000000" "000102030405060708090a0b")
DC_CHROMA = bytes.fromhex("00030101010101010101010000000000" "000102030405060708090a0b")
AC_LUMA = bytes.fromhex(
    "0002010303020403050504040000017d"
    "01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a25262728292a3435363738393a"
    "434445464748494a535455565758595a636465666768696a737475767778797a838485868788898a92939495969798999aa2a3a4a5a6a7a8a9"
    "aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9fa"
)
AC_CHROMA = bytes.fromhex(
    "00020102040403040705040400010277"
    "000102031104052131061241510761711322328108144291a1b1c109233352f0156272d10a162434e125f11718191a262728292a3536373839"
    "3a434445464748494a535455565758595a636465666768696a737475767778797a82838485868788898a92939495969798999aa2a3a4a5a6a7"
    "a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae2e3e4e5e6e7e8e9eaf2f3f4f5f6f7f8f9fa"
)
STANDARD = {0x00: DC_LUMA, 0x10: AC_LUMA, 0x01: DC_CHROMA, 0x11: AC_CHROMA}


def steps(quality: int, of: tuple[int, ...]) -> bytes:
    """LUMA or CHROMA as libjpeg scales them, in a scan's order."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    scaled = np.clip((np.array(of, np.int64) * scale + 50) // 100, 1, 255)
    return scaled[list(ZIGZAG)].astype(np.uint8).tobytes()


def _scan(components: str, band: str) -> bytes:
    """A scan's header. components: pairs of name and tables; band: first, last, high and low."""
    content = bytes.fromhex(components)
    return b"\xff\xda" + bytes([0, 6 + len(content), len(content) // 2]) + content + bytes.fromhex(band)


def _optimal(*keys: int) -> bytes:
    return b"".join(b"\xff\xc4\x01" + bytes([0x80 | key]) for key in keys)


@functools.cache
def dictionary() -> bytes:
    """What is rare first."""
    tables = [
        b"\xff\xdb\0\x43\0" + steps(quality, LUMA) + b"\xff\xdb\0\x43\1" + steps(quality, CHROMA)
        for quality in (*range(1, 50), 100, *range(50, 100))
    ]
    progressive = [
        _optimal(0, 1) + _scan("010002110311", "000001"),
        *(
            _optimal(0x10 + (component > 1)) + _scan(f"{component:02x}{int(component > 1):02x}", band)
            for component, band in ((1, "010502"), (3, "013f01"), (2, "013f01"), (1, "063f02"), (1, "013f21"))
        ),
        _scan("010002110311", "000010"),
        *(
            _optimal(0x10 + (component > 1)) + _scan(f"{component:02x}{int(component > 1):02x}", "013f10")
            for component in (3, 2, 1)
        ),
    ]
    grey = b"\xff\xc0\0\x0b\x08\0\0\0\0\1\1\x11\0" + _optimal(0, 0x10) + _scan("0100", "003f00") + b"\xff\xd9"
    camera = b"\xff\xc4\4" + b"".join(bytes([key]) + STANDARD[key] for key in (0, 1, 0x10, 0x11))
    plain = b"".join(b"\xff\xc4\1" + bytes([key]) + table for key, table in STANDARD.items())
    head = bytes.fromhex("ffd8ffe000104a46494600010101004800480000ffd8ffe000104a46494600010100000100010000")
    ends = _optimal(0, 0x10, 1, 0x11) + _scan("010002110311", "003f00") + b"\xff\xd9"
    colours = [
        bytes.fromhex(f"ff{kind:02x}0011080000000003{first}02{others}03{others}")
        for kind in (0xC2, 0xC0)
        for first, others in (("012100", "1101"), ("011100", "1101"), ("012200", "1101"))
    ]
    return b"".join([*tables, grey, *progressive, b"\xff\xd9", camera, *colours, plain, ends, head])
