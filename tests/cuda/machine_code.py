"""What is asked of the machine code of kernels, and how it is read."""

import re
import subprocess
import sysconfig
from collections import Counter
from pathlib import Path
from tempfile import NamedTemporaryFile

from dlfast.kernels.cuda import dialect

REGISTERS = 64  # of a thread: blocks of 256 then fill a multiprocessor four times
TILED = 128  # of those that keep sums of a tile in registers: two blocks of 256
TILES = {"gemm_product", "conv_forward", "conv_dx", "conv_dweight", "depthwise_dx"} | {
    *(f"attention_{name}{drawn}" for name in ("forward", "dq", "dkv") for drawn in ("", "_drawn")),
    *("sequence_loop_forward", "sequence_loop_backward"),
}
ANGLES = {"array_function", "array_whole_function"}  # sine and cosine of large angles need memory
NVDISASM = Path(sysconfig.get_paths()["purelib"]) / "nvidia" / "cu13" / "bin" / "nvdisasm"


def accesses(cubin) -> Counter:
    """How often each instruction that accesses memory stands in the machine code."""
    with NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin.code)
        file.flush()
        listing = subprocess.run([NVDISASM, "-c", file.name], capture_output=True, text=True, check=True).stdout
    return Counter(re.findall(r"\b(?:LD|ST)[GS][.\w]*", listing))


def reads_shared_widely(cubin) -> bool:
    """Whether there are loads of 16 bytes from shared memory."""
    return any(re.match(r"LDS.*\.128", each) for each in accesses(cubin))


def should_read_shared_widely(kernel) -> bool:
    """Whether a kernel has shared memory and loads four numbers at once: those of its tiles then."""
    return "'load4'" in words_of(kernel) and "'shared'" in words_of(kernel)


def words_of(kernel) -> str:
    """The code of a kernel and of what it calls, with the names in it."""
    return " ".join(dialect.made_of(kernel.function))
