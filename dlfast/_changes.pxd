cdef long long count
