"""Kernels of Snakes and depthwise convolutions: every signal is read once and every result written once.

On a GPU these layers cost what they move through memory. In the library's operations a Snake reads and writes its
signal ten times in float32; here a program has a stretch of one channel, widens it to float32 in registers, and rounds
once at the end. With r = 1 / (a + 1e-9)

    y = x + r sin(ax)^2,  dy/dx = 1 + 2 a r sin(ax) cos(ax),  dy/da = 2 r x sin(ax) cos(ax) - r^2 sin(ax)^2.

Gradients of parameters are sums over batch and time: a program writes those of its stretch, one row of `partial_ptr`
for each sum, and the caller adds them in a fixed order, so that equal runs give equal bits.

Signals are (rows, length), contiguous, a row being a channel of an item; samples beyond their ends count as zero.
Program p has stretch p % num_tiles of row p // num_tiles.
"""

import triton
import triton.language as tl


@triton.jit
def _reduced(angle):
    """The angle minus the nearest multiple of pi; right to 1e-7 up to 2 * 10^5 radians, never beyond pi / 2.

    pi in three parts: the first two so short that their products with the number of turns are exact. tl.sin needs a
    stack in local memory.
    """
    turns = tl.floor(angle * 0.3183098861837907 + 0.5)
    r = angle - turns * 3.140625
    r = r - turns * 0.000965118408203125
    r = r - turns * 2.5351816930196946e-06
    # Comparisons, not a minimum: what is no number must stay visible.
    r = tl.where(r > 1.5707964, 1.5707964, r)
    return tl.where(r < -1.5707964, -1.5707964, r)


@triton.jit
def _sine(r):
    """sin of |r| <= pi / 2, minimax."""
    q = r * r
    return r + r * q * (-0.16666667 + q * (0.008333332 + q * (-0.000198409 + q * (2.7525562e-06 - q * 2.3889859e-08))))


@triton.jit
def _cosine(r):
    """cos of |r| <= pi / 2, minimax."""
    q = r * r
    tail = -0.0013888889 + q * (2.48015873e-05 + q * (-2.7557319e-07 + q * 2.0876757e-09))
    return 1.0 + q * (-0.5 + q * (0.041666667 + q * tail))


@triton.jit
def snake(x, alpha):
    sine = _sine(_reduced(alpha * x))
    return x + sine * sine * (1.0 / (alpha + 1e-9))


@triton.jit
def snake_slopes(x, alpha):
    """Slopes by x and by alpha."""
    reciprocal = 1.0 / (alpha + 1e-9)
    r = _reduced(alpha * x)
    sine = _sine(r)
    product = 2.0 * reciprocal * sine * _cosine(r)
    scaled = reciprocal * sine
    return 1.0 + alpha * product, x * product - scaled * scaled


@triton.jit
def snake_forward(x_ptr, alpha_ptr, y_ptr, length, channels, num_tiles, TILE: tl.constexpr):
    """Snake of x."""
    program = tl.program_id(0)
    row = program // num_tiles
    t = program % num_tiles * TILE + tl.arange(0, TILE)
    inside = t < length
    at = row.to(tl.int64) * length + t
    alpha = tl.load(alpha_ptr + row % channels).to(tl.float32)
    x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(y_ptr + at, snake(x, alpha).to(y_ptr.dtype.element_ty), mask=inside)


@triton.jit
def snake_backward(
    grad_ptr, x_ptr, alpha_ptr, grad_x_ptr, partial_ptr, length, channels, num_tiles, TILE: tl.constexpr
):
    """Gradient of x, and one sum: the gradient of alpha."""
    program = tl.program_id(0)
    row = program // num_tiles
    t = program % num_tiles * TILE + tl.arange(0, TILE)
    inside = t < length
    at = row.to(tl.int64) * length + t
    alpha = tl.load(alpha_ptr + row % channels).to(tl.float32)
    x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
    grad = tl.load(grad_ptr + at, mask=inside, other=0.0).to(tl.float32)
    by_x, by_alpha = snake_slopes(x, alpha)
    tl.store(grad_x_ptr + at, (grad * by_x).to(grad_x_ptr.dtype.element_ty), mask=inside)
    tl.store(partial_ptr + program, tl.sum(grad * by_alpha, 0))


@triton.jit
def snake_depthwise_forward(
    x_ptr, alpha_ptr, taps_ptr, bias_ptr, y_ptr, length, channels, num_tiles,
    DILATION: tl.constexpr, TAPS: tl.constexpr, HALO: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Depthwise convolution of the Snake of x; of WIDE samples HALO on both sides belong to the neighbours."""
    program = tl.program_id(0)
    row = program // num_tiles
    channel = row % channels
    column = tl.arange(0, WIDE)
    t = program % num_tiles * (WIDE - 2 * HALO) - HALO + column
    inside = (t >= 0) & (t < length)
    at = row.to(tl.int64) * length + t
    x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
    # Once per sample; the taps then read the activated stretch shifted. The Snake of zero is zero, as is the padding.
    activated = snake(x, tl.load(alpha_ptr + channel).to(tl.float32))
    y = tl.zeros((WIDE,), tl.float32) + tl.load(bias_ptr + channel).to(tl.float32)
    for k in tl.static_range(TAPS):
        shifted = tl.minimum(tl.maximum(column + (k - TAPS // 2) * DILATION, 0), WIDE - 1)
        y += tl.load(taps_ptr + channel * TAPS + k).to(tl.float32) * tl.gather(activated, shifted, 0)
    own = inside & (column >= HALO) & (column < WIDE - HALO)
    tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), mask=own)


@triton.jit
def snake_depthwise_backward(
    grad_ptr, x_ptr, skip_ptr, alpha_ptr, taps_ptr, grad_x_ptr, partial_ptr, length, channels, num_tiles,
    DILATION: tl.constexpr, TAPS: tl.constexpr, HALO: tl.constexpr, WIDE: tl.constexpr, SKIP: tl.constexpr,
):  # fmt: skip
    """Gradient of x, to which `skip` is added where SKIP says so, and TAPS + 2 sums: those of taps, bias and alpha.

    Of WIDE samples HALO on both sides belong to the neighbours, who add them up.
    """
    program = tl.program_id(0)
    programs = tl.num_programs(0)
    row = program // num_tiles
    channel = row % channels
    column = tl.arange(0, WIDE)
    t = program % num_tiles * (WIDE - 2 * HALO) - HALO + column
    inside = (t >= 0) & (t < length)
    own = inside & (column >= HALO) & (column < WIDE - HALO)
    at = row.to(tl.int64) * length + t
    alpha = tl.load(alpha_ptr + channel).to(tl.float32)
    grad = tl.load(grad_ptr + at, mask=inside, other=0.0).to(tl.float32)
    # Where x is zero its Snake is, and its slope by alpha: what is not of the program adds nothing.
    x = tl.load(x_ptr + at, mask=own, other=0.0).to(tl.float32)
    activated = snake(x, alpha)
    back = tl.zeros((WIDE,), tl.float32)
    for k in tl.static_range(TAPS):
        # What the tap k of the outputs around made of sample t, and the gradient of that tap. Only columns that are not
        # the program's own meet the other end.
        shifted = (column + (WIDE - (k - TAPS // 2) * DILATION)) % WIDE
        moved = tl.gather(grad, shifted, 0)
        back += tl.load(taps_ptr + channel * TAPS + k).to(tl.float32) * moved
        tl.store(partial_ptr + k * programs + program, tl.sum(activated * moved, 0))
    tl.store(partial_ptr + TAPS * programs + program, tl.sum(tl.where(own, grad, 0.0), 0))
    by_x, by_alpha = snake_slopes(x, alpha)
    tl.store(partial_ptr + (TAPS + 1) * programs + program, tl.sum(back * by_alpha, 0))
    result = back * by_x
    if SKIP:
        result += tl.load(skip_ptr + at, mask=own, other=0.0).to(tl.float32)
    tl.store(grad_x_ptr + at, result.to(grad_x_ptr.dtype.element_ty), mask=own)
