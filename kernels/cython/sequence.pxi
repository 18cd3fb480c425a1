# The loops of sequence.h as an object that fills in their fields; after affine.pxi.
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport int64_t

from ..sequences import shares


cdef extern from "sequence/sequence.h" nogil:
    ctypedef struct dl_sequence:
        int dtype, kind, reverse, within
        long steps, batch, hidden, stride, rows, features, ld, start
        const void* x
        const void* weight_ih
        const int64_t* offset
        const int64_t* count
        void* y
        void* gates
        void* extra
        const void* bias
        const void* inner_bias
        const void* h0
        const void* c0
        const void* dy
        void* dz
        void* dh
        void* dc
        void* dx
        void* beside
        const void* weight
    ctypedef struct dl_sequences:
        dl_sequence* loops
        long count, jobs, threads
        const int64_t* cut
        int stack
    enum:
        DL_SEQUENCE_RNN
        DL_SEQUENCE_RELU
        DL_SEQUENCE_LSTM
        DL_SEQUENCE_GRU
    long dl_sequence_gates(int kind)
    long dl_sequence_first_column(const dl_sequence* s, bint stack)
    long dl_sequence_dz(int kind)
    double DL_SEQUENCE_SERIAL
    long DL_SEQUENCE_ROWS
    long DL_SEQUENCE_JOIN
    long DL_SEQUENCE_STACK
    int dl_sequence_forward(dl_sequences* loops)
    int dl_sequence_backward(dl_sequences* loops)
    int dl_sequence_join(dl_sequence* s)


cdef object _zeros = _memory.zeros


cdef tuple biases(int kind, object bias_ih, object bias_hh, long hidden, object like):
    """What the input's part of the gates begins with, and what the GRU's W_hn h does, which has its bias inside the
    product with r, or None."""
    inner = None
    if bias_hh is not None and kind == DL_SEQUENCE_GRU:
        inner, bias_hh = contiguous(bias_hh[2 * hidden :]), _np.array(bias_hh)
        bias_hh[2 * hidden :] = 0
    bias = contiguous(both(bias_ih, bias_hh))
    return _zeros(dl_sequence_gates(kind) * hidden, like.dtype) if bias is None else bias, inner


cdef class Loops:
    """The loops that run side by side: their fields, and the arrays that they point into."""

    cdef dl_sequences all
    cdef long ways
    cdef list kept, dz, x

    def __cinit__(self, int kind, int dtype, long hidden, tuple steps, object launch):
        cdef dl_sequence* s
        cdef long ways = len(steps), count = len(launch), threads = _threads.get_num_threads(), n
        self.kept, self.dz, self.x, self.ways = [], [None] * count, [None] * count, ways
        self.all.loops = <dl_sequence*>PyMem_Calloc(count, sizeof(dl_sequence))
        if self.all.loops == NULL:
            raise MemoryError("no memory for the loops of a recurrent layer")
        if <double>steps[0].rows * count * dl_sequence_gates(kind) * hidden * hidden < DL_SEQUENCE_SERIAL:
            threads = 1
        cuts = shares(steps[0], threads // ways if threads % ways == 0 else threads)
        self.all.count, self.all.threads, self.all.stack = count, threads, count > ways
        self.all.jobs, self.all.cut = cuts.shape[0] - 1, <int64_t*>self.keep(cuts)
        for n in range(count):
            s, each = self.all.loops + n, steps[n % ways]
            s.kind, s.dtype, s.hidden, s.ld = kind, dtype, hidden, ways * hidden
            s.steps, s.batch, s.rows = each.offsets.shape[0], each.lengths.shape[0], each.rows
            s.stride, s.reverse = each.stride, each.reverse
            s.offset, s.count = <int64_t*>self.keep(each.offsets), <int64_t*>self.keep(each.counts)

    def __dealloc__(self):
        PyMem_Free(self.all.loops)

    cdef void* keep(self, object array, long first=0) except? NULL:
        """The address of the array, or of its rows' parts from column `first` on."""
        self.kept.append(array)
        return NULL if array is None else <char*>pointer(array) + first * (8 if is_double(array) else 4)

    cdef int run(self, bint forward) except -1:
        cdef int status
        with nogil:
            status = dl_sequence_forward(&self.all) if forward else dl_sequence_backward(&self.all)
        if status != 0:
            raise MemoryError("no memory for the packed weights of a recurrent layer")
        return 0

    cdef int begin_forward(self, long n, object x, tuple parameters, object y, tuple kept, list states) except -1:
        """The fields of loop n: x, y and the others are rows, states its own."""
        cdef dl_sequence* s = self.all.loops + n
        weight_ih, weight_hh, bias_ih, bias_hh = parameters
        bias, inner = biases(s.kind, bias_ih, bias_hh, s.hidden, x)
        weight_ih, s.weight = contiguous(weight_ih), self.keep(contiguous(weight_hh))
        s.within = s.batch >= DL_SEQUENCE_ROWS
        if s.within or self.all.stack:
            s.x, s.features, s.weight_ih = self.keep(x), x.shape[1], self.keep(weight_ih)
        else:
            affine(x, weight_ih, bias, kept[0], s.rows, x.shape[1], weight_ih.shape[0], 0, False)
        s.bias, s.inner_bias = self.keep(bias), self.keep(inner)
        s.gates, s.extra = self.keep(kept[0]), self.keep(kept[1])
        s.y = self.keep(y, n % self.ways * s.hidden)
        s.h0 = self.keep(states[0])
        if s.kind == DL_SEQUENCE_LSTM:
            s.c0 = self.keep(states[1])
        return 0

    cdef int begin_backward(self, long n, object dy, object y, tuple kept, list states, list last) except -1:
        """states: what the loop began with; last: the gradients of those that it ended with, which it writes over."""
        cdef dl_sequence* s = self.all.loops + n
        cdef long first = n % self.ways * s.hidden
        self.dz[n] = _empty((s.rows, dl_sequence_dz(s.kind) * s.hidden), dy.dtype)
        s.dy, s.y, s.dz = self.keep(dy, first), self.keep(contiguous(y), first), self.keep(self.dz[n])
        s.gates, s.extra = self.keep(contiguous(kept[0])), self.keep(contiguous(kept[1]))
        s.h0, s.dh = self.keep(states[0]), self.keep(last[0])
        if s.kind == DL_SEQUENCE_LSTM:
            s.c0, s.dc = self.keep(states[1]), self.keep(last[1])
        return 0

    cdef int begin_inputs(self, long n, object x, object weight_ih, object weight_hh, object dx) except -1:
        """The weights, and where dx goes, None where it is not wanted."""
        cdef dl_sequence* s = self.all.loops + n
        self.x[n], s.weight, s.start = x, self.keep(contiguous(weight_hh)), s.hidden
        if dx is None:
            return 0
        s.features = dx.shape[1]
        s.within = s.batch >= DL_SEQUENCE_ROWS and weight_hh.shape[0] * (s.features + s.hidden) <= DL_SEQUENCE_JOIN
        if s.within or self.all.stack:
            s.weight_ih, s.dx = self.keep(contiguous(weight_ih)), self.keep(dx)
            s.start = dl_sequence_first_column(s, self.all.stack)
        else:
            s.features = 0
        return 0

    cdef object beside(self, long n, object x, long features):
        """(R, features + Hd): the rows of x, of which so many features are wanted, beside the states before each."""
        cdef int status
        cdef dl_sequence* s = self.all.loops + n
        rows = _empty((x.shape[0], features + s.hidden), x.dtype)
        s.x, s.features, s.beside = self.keep(x), features, pointer(rows)
        with nogil:
            status = dl_sequence_join(s)
        if status != 0:
            raise MemoryError("no memory for the rows of a recurrent layer")
        return rows
