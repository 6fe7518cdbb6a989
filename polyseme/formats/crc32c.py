"""CRC-32C (Castagnoli), the checksum of TensorFlow's files, at hundreds of megabytes a second in numpy alone.

A CRC is linear over GF(2), so a long input can be cut into lanes whose registers advance side by side, and two
neighbours join by pushing the left register through as many zero bytes as the right lane holds. The published register
starts at all ones, which is the same as starting at zero with the first four bytes complemented; from zero, zero
bytes put in FRONT of the data change nothing, so that every lane can be full.

Polynomial and test vectors: RFC 3720, appendix B.4.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]

POLYNOMIAL = 0x82F63B78
LANE = 32  # words of four bytes in one lane, a power of two
MAX_LANES = 8192  # lanes side by side: 1 MB of data, which stay in the cache from column to column
SHORT = 2048  # bytes up to which a plain loop is faster


def crc32c(data: npt.NDArray[np.uint8]) -> int:
    """The checksum of `data`. *Shape:* (n,)."""
    if data.size <= SHORT:
        return _plain(data.tobytes())
    block = MAX_LANES * LANE * 4
    head = (data.size - 4) % block + 4  # at least the four bytes to complement
    lanes = 1 << (-(-head // (LANE * 4)) - 1).bit_length()
    padded = np.zeros(lanes * LANE * 4, dtype=np.uint8)
    padded[-head:] = data[:head]
    padded[-head:][:4] ^= 0xFF
    register = _register(padded)
    for start in range(head, data.size, block):
        after = _push(np.asarray([register], dtype=np.uint32), _shift(MAX_LANES * LANE))
        register = int(after[0]) ^ _register(data[start : start + block])
    return register ^ 0xFFFFFFFF


def unmask(stored: int) -> int:
    """TensorFlow stores a checksum rotated and shifted (tensorflow `core/lib/hash/crc32c.h`): the plain one."""
    rotated = (stored - 0xA282EAD8) & 0xFFFFFFFF
    return ((rotated >> 17) | (rotated << 15)) & 0xFFFFFFFF


def mask(plain: int) -> int:
    """The inverse of `unmask`."""
    return (((plain >> 15) | (plain << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _plain(data: bytes) -> int:
    table, register = _byte_table(), 0xFFFFFFFF
    for byte in data:
        register = table[(register ^ byte) & 0xFF] ^ (register >> 8)
    return register ^ 0xFFFFFFFF


def _register(block: npt.NDArray[np.uint8]) -> int:
    """The register after `block`, begun at zero; the block holds a power of two of full lanes."""
    lanes = block.view("<u4").reshape(-1, LANE)
    low, high = _shift(1)
    registers, part = np.zeros((2, len(lanes)), dtype="<u4")
    index = np.empty(len(lanes), dtype=np.intp)
    lower, upper = registers.view("<u2")[0::2], registers.view("<u2")[1::2]
    for column in range(LANE):
        registers ^= lanes[:, column]
        # The plain form is `registers = _push(registers, (low, high))`; without new arrays it is half as fast again.
        index[:] = lower
        low.take(index, out=part, mode="clip")
        index[:] = upper
        high.take(index, out=registers, mode="clip")
        registers ^= part
    words = LANE
    while registers.size > 1:
        registers = _push(registers[0::2], _shift(words)) ^ registers[1::2]
        words *= 2
    return int(registers[0])


def _push(registers: Words, shift: tuple[Words, Words]) -> Words:
    pushed: Words = shift[0][registers & 0xFFFF] ^ shift[1][registers >> 16]
    return pushed


@cache
def _shift(words: int) -> tuple[Words, Words]:
    """What `words` (a power of two) zero words do to a register: tables for its lower and its upper half."""
    if words > 1:
        half = _shift(words // 2)
        return _push(half[0], half), _push(half[1], half)
    return _zero_bits(np.arange(1 << 16, dtype=np.uint32), 32), _zero_bits(
        np.arange(1 << 16, dtype=np.uint32) << np.uint32(16), 32
    )


@cache
def _byte_table() -> tuple[int, ...]:
    return tuple(_zero_bits(np.arange(256, dtype=np.uint32), 8).tolist())


def _zero_bits(registers: Words, count: int) -> Words:
    for _ in range(count):
        registers = (registers >> np.uint32(1)) ^ np.where(registers & 1, np.uint32(POLYNOMIAL), np.uint32(0))
    return registers
