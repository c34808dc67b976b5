# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Delivered-volume maximum flow: ints in, ints out.

The same algorithm, in the same order, as `augment_in_python` of `cloud/ledger/delivery.py`, so the
two give every trade the same Wh; a test compares them. Nodes are the sellers, then the buyers;
arcs are trades. All amounts are Wh below 2**62.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free


cdef struct Flow:
    Py_ssize_t nodes
    Py_ssize_t trades
    Py_ssize_t first_buyer
    int64_t *left        # by node: supply or demand not yet used
    int64_t *room        # by trade: what it can still carry
    int64_t *flow        # by trade: what it carries
    Py_ssize_t *seller   # by trade
    Py_ssize_t *buyer    # by trade
    Py_ssize_t *start    # by node, one more than nodes: where its arcs begin
    Py_ssize_t *arcs     # trades, by node
    Py_ssize_t *level
    Py_ssize_t *next_arc
    Py_ssize_t *queue
    Py_ssize_t *chain


def augment(sellers, buyers, capacity_wh, delivered_wh, supply_wh, demand_wh):
    """Deliveries raised to a maximum flow from the supply left to the demand left.

    Raises ValueError where columns differ in length, a party has no number or an amount is out of
    range, and MemoryError.
    """
    cdef Flow net
    net.first_buyer = len(supply_wh)
    net.nodes = net.first_buyer + len(demand_wh)
    net.trades = len(sellers)
    if not len(buyers) == len(capacity_wh) == len(delivered_wh) == net.trades:
        raise ValueError("the columns of trades differ in length")
    if not _allocate(&net):
        _release(&net)
        raise MemoryError
    try:
        _load(&net, sellers, buyers, capacity_wh, delivered_wh, [*supply_wh, *demand_wh])
        with nogil:
            _maximise(&net)
        return [net.flow[trade] for trade in range(net.trades)]
    finally:
        _release(&net)


cdef bint _allocate(Flow *net) noexcept:
    cdef size_t nodes = net.nodes + 1, trades = net.trades + 1
    net.left = <int64_t *>calloc(nodes, sizeof(int64_t))
    net.room = <int64_t *>calloc(trades, sizeof(int64_t))
    net.flow = <int64_t *>calloc(trades, sizeof(int64_t))
    net.seller = <Py_ssize_t *>calloc(trades, sizeof(Py_ssize_t))
    net.buyer = <Py_ssize_t *>calloc(trades, sizeof(Py_ssize_t))
    net.start = <Py_ssize_t *>calloc(nodes + 1, sizeof(Py_ssize_t))
    net.arcs = <Py_ssize_t *>calloc(2 * trades, sizeof(Py_ssize_t))
    net.level = <Py_ssize_t *>calloc(nodes, sizeof(Py_ssize_t))
    net.next_arc = <Py_ssize_t *>calloc(nodes, sizeof(Py_ssize_t))
    net.queue = <Py_ssize_t *>calloc(nodes, sizeof(Py_ssize_t))
    net.chain = <Py_ssize_t *>calloc(nodes, sizeof(Py_ssize_t))
    return (
        net.left != NULL and net.room != NULL and net.flow != NULL and net.seller != NULL
        and net.buyer != NULL and net.start != NULL and net.arcs != NULL and net.level != NULL
        and net.next_arc != NULL and net.queue != NULL and net.chain != NULL
    )


cdef void _release(Flow *net) noexcept:
    free(net.left)
    free(net.room)
    free(net.flow)
    free(net.seller)
    free(net.buyer)
    free(net.start)
    free(net.arcs)
    free(net.level)
    free(net.next_arc)
    free(net.queue)
    free(net.chain)


cdef int64_t _wh(object amount) except -1:
    if not 0 <= amount < 1 << 62:
        raise ValueError(f"{amount} Wh is out of range")
    return amount


cdef int _load(Flow *net, sellers, buyers, capacity_wh, delivered_wh, left) except -1:
    """Fills the columns and lists each node's trades in trade order."""
    cdef Py_ssize_t trade, node
    cdef int64_t capacity
    for node in range(net.nodes):
        net.left[node] = _wh(left[node])
    for trade in range(net.trades):
        if not (0 <= sellers[trade] < net.first_buyer):
            raise ValueError(f"trade {trade} names a seller without supply")
        if not (0 <= buyers[trade] < net.nodes - net.first_buyer):
            raise ValueError(f"trade {trade} names a buyer without demand")
        net.seller[trade] = sellers[trade]
        net.buyer[trade] = net.first_buyer + <Py_ssize_t>buyers[trade]
        net.flow[trade] = _wh(delivered_wh[trade])
        capacity = _wh(capacity_wh[trade])
        net.room[trade] = capacity - net.flow[trade]
        if net.room[trade] < 0:
            raise ValueError(f"trade {trade} delivers more than was agreed")
        net.start[net.seller[trade] + 1] += 1
        net.start[net.buyer[trade] + 1] += 1
    for node in range(net.nodes):
        net.start[node + 1] += net.start[node]
        net.next_arc[node] = net.start[node]
    for trade in range(net.trades):
        net.arcs[net.next_arc[net.seller[trade]]] = trade
        net.next_arc[net.seller[trade]] += 1
        net.arcs[net.next_arc[net.buyer[trade]]] = trade
        net.next_arc[net.buyer[trade]] += 1
    return 0


cdef void _maximise(Flow *net) noexcept nogil:
    cdef Py_ssize_t node
    while _rank(net):
        for node in range(net.nodes):
            net.next_arc[node] = net.start[node]
        for node in range(net.first_buyer):
            while net.left[node] > 0 and _push_from(net, node):
                pass


cdef bint _rank(Flow *net) noexcept nogil:
    """Distances from sellers with supply left; whether a buyer in need is reached."""
    cdef Py_ssize_t head = 0, tail = 0, node, other, arc, trade, reached = -1
    cdef int64_t room
    for node in range(net.nodes):
        net.level[node] = -1
        if node < net.first_buyer and net.left[node] > 0:
            net.level[node] = 0
            net.queue[tail] = node
            tail += 1
    while head < tail:
        node = net.queue[head]
        head += 1
        if reached >= 0 and reached <= net.level[node]:
            break
        for arc in range(net.start[node], net.start[node + 1]):
            trade = net.arcs[arc]
            if node < net.first_buyer:
                other, room = net.buyer[trade], net.room[trade]
            else:
                other, room = net.seller[trade], net.flow[trade]
            if room > 0 and net.level[other] < 0:
                net.level[other] = net.level[node] + 1
                net.queue[tail] = other
                tail += 1
                if other >= net.first_buyer and net.left[other] > 0:
                    reached = net.level[other]
    return reached >= 0


cdef bint _push_from(Flow *net, Py_ssize_t seller) noexcept nogil:
    """Sends what one shortest chain can carry; false when none is left."""
    cdef Py_ssize_t length = 0, node = seller, other, trade
    cdef int64_t room
    while node < net.first_buyer or net.left[node] <= 0:
        if net.next_arc[node] == net.start[node + 1]:
            if length == 0:
                return False
            length -= 1
            trade = net.chain[length]
            node = net.seller[trade] if node >= net.first_buyer else net.buyer[trade]
            net.next_arc[node] += 1
            continue
        trade = net.arcs[net.next_arc[node]]
        if node < net.first_buyer:
            other, room = net.buyer[trade], net.room[trade]
        else:
            other, room = net.seller[trade], net.flow[trade]
        if room > 0 and net.level[other] == net.level[node] + 1:
            net.chain[length] = trade
            length += 1
            node = other
        else:
            net.next_arc[node] += 1
    _send(net, seller, node, length)
    return True


cdef void _send(Flow *net, Py_ssize_t seller, Py_ssize_t buyer, Py_ssize_t length) noexcept nogil:
    cdef int64_t amount = min(net.left[seller], net.left[buyer]), limit, signed_amount
    cdef Py_ssize_t step, trade
    for step in range(length):
        trade = net.chain[step]
        limit = net.flow[trade] if step & 1 else net.room[trade]
        amount = min(amount, limit)
    for step in range(length):
        trade = net.chain[step]
        signed_amount = -amount if step & 1 else amount
        net.flow[trade] += signed_amount
        net.room[trade] -= signed_amount
    net.left[seller] -= amount
    net.left[buyer] -= amount
