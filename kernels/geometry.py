"""Output sizes of sliding windows, shared by every backend and by `functional`. Integers only.

Python's integers have no end, those of kernels do. A stride beyond the padded image and the dilation of one tap change
nothing, so they are brought down to numbers that count in no loop (`least_stride`, `least_dilation`); a padding has no
such meaning, so there is a most (`MOST_PADDING`). Every offset in a padded image then fits into 64 bits.
"""

MOST_PADDING = 1 << 20  # pixels on one side of an image
MOST_POOL_PADDING = 1 << 16  # the tables of pooling have an entry for each cell of a window
MOST_CELLS = (1 << 31) - 1  # of a window of max-pooling, which are numbered in int32


def least_stride(stride: int, spare: int) -> int:
    """The stride, or the smallest with which there is but one window where `spare` pixels lie beyond it."""
    return min(stride, max(spare, 0) + 1)


def least_dilation(dilation: int, taps: int) -> int:
    """The dilation, or 1 where one tap has none beside it."""
    return dilation if taps > 1 else 1


def conv_output_size(size: int, kernel: int, stride: int, pad_before: int, pad_after: int, dilation: int) -> int:
    """Number of windows that fit along one axis; zero or less when the kernel is larger than the padded image.

    out = floor((size + pad_before + pad_after - dilation (kernel - 1) - 1) / stride) + 1
    """
    return (size + pad_before + pad_after - dilation * (kernel - 1) - 1) // stride + 1


def conv_transpose_output_size(size: int, kernel: int, stride: int, cut: int, dilation: int, extra: int) -> int:
    """Size of the image whose convolution has `size` windows: cut and extra are its padding and output_padding in all.

    out = (size - 1) stride - cut + dilation (kernel - 1) + extra + 1
    """
    return (size - 1) * stride - cut + dilation * (kernel - 1) + extra + 1


def pool_output_size(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> int:
    """Number of pooling windows along one axis; zero or less when the window is larger than the padded image.

    With ceil_mode a last, partial window counts as well, provided that it starts inside the image or its left
    padding, so every window reads at least the image's edge. Source: PyTorch, aten/src/ATen/native/Pool.h.
    """
    spare = stride - 1 if ceil_mode else 0
    out = conv_output_size(size + spare, kernel, stride, padding, padding, dilation)
    if ceil_mode and (out - 1) * stride >= size + padding:
        out -= 1
    return out
