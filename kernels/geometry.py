"""Output sizes of sliding windows, shared by every backend and by `functional`. Integers only."""


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


def pool_bins(size: int, count: int) -> list[tuple[int, int]]:
    """The bins that adaptive pooling divides an axis into, each with its first pixel and the one behind its last.

    Bin i of P begins at floor(i size / P) and ends before ceil((i + 1) size / P), so neighbours may share a pixel.
    """
    return [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]
